// Who is in the room: a list of names that the server sends at first, and then changes of it. The server
// limits the list, so the count may be larger.

export class Members {
  #names = new Set();
  #count = 0;

  /** Replace the list. */
  replace(names, count) {
    this.#names = new Set(names);
    this.#count = count;
  }

  joined(name) {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    this.#count += 1;
  }

  left(name) {
    this.#names.delete(name);
    this.#count = Math.max(this.#names.size, this.#count - 1);
  }

  get count() {
    return this.#count;
  }

  /** As text: the names, and how many others there are. */
  toString() {
    const others = this.#count - this.#names.size;
    return [...this.#names].join(", ") + (others > 0 ? ` and ${others} others` : "");
  }
}
