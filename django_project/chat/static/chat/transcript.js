// The messages of a room that this page knows. This module knows neither the WebSocket nor the screen.
//
// After a reconnect the server sends the room's newest messages again. The id of a message, which the
// sender's page generated, shows whether it is known already. Programs may omit the id; then name and
// text identify the message. If a message of our own is missing in the buffer, it was lost.

export const DEPTH = 15; // messages that a room keeps

export class Transcript {
  #known = new Map(); // key → when it was added
  #sent = new Map(); // id → our own message, until a buffer shows that it arrived
  #count = 0;

  /** Add a message of another client; returns false if it is known. */
  take(message) {
    const key = keyOf(message);
    if (this.#known.has(key)) return false;
    this.#known.set(key, this.#count++);
    return true;
  }

  /** Add a message of our own, which will be sent now or later. */
  say(message) {
    this.take(message);
    this.#sent.set(message.id, message);
  }

  /**
   * Add the room's newest messages.
   * @returns {{fresh: object[], unsent: object[], gap: boolean}} messages that are new, messages of
   *   our own to be sent (again), and whether others may have been missed
   */
  merge(buffer) {
    const seen = buffer.map((message) => this.#known.get(keyOf(message)));
    const known = seen.filter((when) => when !== undefined);
    const gap = this.#known.size > this.#sent.size && !known.length && buffer.length >= DEPTH;
    const arrived = new Set(buffer.map((message) => message.id));
    const unsent = [];
    for (const [id, message] of this.#sent) {
      // Newer messages may also have displaced it from the buffer, but not if older ones are there.
      const when = this.#known.get(keyOf(message));
      const complete = buffer.length < DEPTH || known.some((other) => other < when);
      if (!arrived.has(id) && complete) unsent.push(message);
      else this.#sent.delete(id);
    }
    return { fresh: buffer.filter((message) => this.take(message)), unsent, gap };
  }
}

function keyOf({ id, name, text }) {
  return id === undefined ? `text ${name}\n${text}` : `id ${id}`;
}

/** Read a frame of the WebSocket; null for frames that only other versions know. */
export function parse(frame) {
  let said = null;
  try {
    said = JSON.parse(frame) ?? {};
  } catch {
    return null;
  }
  if (said.buffer) return { kind: "buffer", messages: said.buffer.map(messageOf) };
  if (Array.isArray(said.message)) return { kind: "message", message: messageOf(said) };
  if (said.announcement) return { kind: "announcement", text: said.announcement };
  return null;
}

function messageOf({ message: [name, text], id }) {
  return { name, text, id };
}
