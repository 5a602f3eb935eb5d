// What was said in a room, as far as this page knows. It knows neither socket nor screen.
//
// After a pause the server sends the room's newest messages again. Those seen before are told from
// new ones by their id, which the sender's page made up; programs need not give one, and then name
// and text stand for it. A message of our own that is missing there was lost on its way.

export const DEPTH = 15; // how many messages a room remembers

export class Transcript {
  #known = new Map(); // key → when it was added
  #sent = new Map(); // id → our own message, until a buffer shows that it arrived
  #count = 0;

  /** Take a message from somebody else: false if it is known. */
  take(message) {
    const key = keyOf(message);
    if (this.#known.has(key)) return false;
    this.#known.set(key, this.#count++);
    return true;
  }

  /** Take a message of our own, to be sent now or later. */
  say(message) {
    this.take(message);
    this.#sent.set(message.id, message);
  }

  /**
   * Take the room's newest messages.
   * @returns {{fresh: object[], unsent: object[], gap: boolean}} what is new to us, what of our own
   *   has to be sent (again), and whether there may be more that was missed
   */
  merge(buffer) {
    const seen = buffer.map((message) => this.#known.get(keyOf(message)));
    const known = seen.filter((when) => when !== undefined);
    const gap = this.#known.size > this.#sent.size && !known.length && buffer.length >= DEPTH;
    const arrived = new Set(buffer.map((message) => message.id));
    const unsent = [];
    for (const [id, message] of this.#sent) {
      // One that is missing may also have been pushed out by newer ones. Not if older ones are there.
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

/** Frame of the socket → what happened; null for what a later version, or somebody else, may send. */
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
