// The messages of a room that this page knows. This module knows neither the WebSocket nor the screen.
//
// A message of our own is pending until the server sends it back: then the room's history has it. After
// a reconnect the server sends the room's newest messages, and the pending ones that are not among them
// are sent again, however many others were sent meanwhile. The id of a message, which the sender's page
// generated, shows whether it is known already: one that arrived but was never confirmed is shown once.
// Programs may omit the id; then name and text identify the message.

export const DEPTH = 15; // messages that a room keeps
const KNOWN = 5000; // messages that a page remembers

export class Transcript {
  #known = new Set(); // keys, oldest first
  #pending = new Map(); // id → our own message

  /** Our own messages that are not confirmed. */
  get pending() {
    return [...this.#pending.values()];
  }

  /**
   * Add a message that the server sent.
   * @returns {{fresh: boolean, confirmed: boolean}} whether it is new, and whether it is the
   *   confirmation of a pending one
   */
  take(message) {
    const confirmed = this.#pending.delete(message.id);
    return { fresh: this.#add(message), confirmed };
  }

  /** Add a message of our own, which will be sent now or later. */
  say(message) {
    this.#add(message);
    this.#pending.set(message.id, message);
  }

  /**
   * Add the room's newest messages.
   * @returns {{fresh: object[], confirmed: object[], unsent: object[], gap: boolean}} messages that are
   *   new, messages that confirm pending ones, messages of our own to be sent (again), and whether
   *   others may have been missed
   */
  merge(buffer) {
    const others = this.#known.size > this.#pending.size;
    const some = buffer.some((message) => this.#known.has(keyOf(message)));
    const gap = others && !some && buffer.length >= DEPTH;
    const taken = buffer.map((message) => ({ message, ...this.take(message) }));
    return {
      fresh: taken.filter(({ fresh }) => fresh).map(({ message }) => message),
      confirmed: taken.filter(({ confirmed }) => confirmed).map(({ message }) => message),
      unsent: this.pending,
      gap,
    };
  }

  #add(message) {
    const key = keyOf(message);
    if (this.#known.has(key)) return false;
    this.#known.add(key);
    if (this.#known.size > KNOWN) this.#known.delete(this.#known.values().next().value);
    return true;
  }
}

function keyOf({ id, name, text }) {
  return id === undefined ? `text ${name}\n${text}` : `id ${id}`;
}

/** Read a frame of the WebSocket; null for frames that only other versions know. */
export function parse(frame) {
  try {
    return read(JSON.parse(frame) ?? {});
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Read what a frame contains, or the argument of an event of Socket.IO. */
export function read(said) {
  if (said.buffer) return { kind: "buffer", messages: said.buffer.map(messageOf) };
  if (Array.isArray(said.message)) return { kind: "message", message: messageOf(said) };
  if (said.announcement) {
    return { kind: "announcement", text: said.announcement, joined: said.joined, left: said.left };
  }
  if (Array.isArray(said.members)) return { kind: "members", names: said.members, count: said.count };
  return null;
}

function messageOf({ message: [name, text], id, at }) {
  return { name, text, id, at };
}
