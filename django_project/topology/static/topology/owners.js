// Which node holds the client of each cell, from the messages of all nodes.

export const NOBODY = 255;

export class Owners {
  #game = "";
  #of = new Uint8Array(0); // cell → index of the node
  names = []; // the names of the nodes, by index

  /** The index of a node's name. */
  index(name) {
    if (!this.names.includes(name)) this.names.push(name);
    return this.names.indexOf(name);
  }

  /** Apply a message of a node. */
  take({ game, node, cells }) {
    const bytes = Uint8Array.from(atob(cells), (letter) => letter.charCodeAt(0));
    if (game !== this.#game || this.#of.length !== bytes.length * 8) {
      this.#game = game;
      this.#of = new Uint8Array(bytes.length * 8).fill(NOBODY);
    }
    const index = this.index(node);
    for (let cell = 0; cell < this.#of.length; cell++) {
      if ((bytes[cell >> 3] >> (cell & 7)) & 1) this.#of[cell] = index;
      else if (this.#of[cell] === index) this.#of[cell] = NOBODY;
    }
  }

  /** A node is gone: nobody holds its cells. Returns how many they were. */
  lose(node) {
    const index = this.names.indexOf(node);
    let count = 0;
    for (let cell = 0; cell < this.#of.length; cell++) {
      if (this.#of[cell] !== index) continue;
      this.#of[cell] = NOBODY;
      count += 1;
    }
    return index < 0 ? 0 : count;
  }

  /** The index of the node of a cell; NOBODY if it is not known. */
  of(cell) {
    return this.#of[cell] ?? NOBODY;
  }
}
