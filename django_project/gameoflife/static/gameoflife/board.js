// The board, as received from the server, and the step in which each cell last changed.

import { MalformedFrame } from "./decode.js";

/** Steps over which draw.js fades a change; the exact age of older changes does not matter. */
export const OLD = 24;

export class Board {
  constructor() {
    this.size = 0; // cells along one side; 0 while there is no game
    this.step = 0;
    this.alive = 0;
    this.states = new Uint8Array(0); // 1 alive, 0 dead; row by row
    this.stamps = new Uint32Array(0); // the step in which each cell last changed, modulo 2**32
  }

  /**
   * Apply a message that decode() returned.
   * @throws {MalformedFrame} for a delta that does not fit this board; nothing is changed then
   */
  apply(message) {
    if (message.kind === "snapshot") this.#replace(message);
    else this.#update(message);
  }

  #replace({ size, step, states }) {
    if (size === this.size && step > this.step) {
      // The same game at a later step: assume that cells with the same state did not change.
      for (let cell = 0; cell < states.length; cell++) {
        if (states[cell] !== this.states[cell]) this.stamps[cell] = step;
      }
    } else {
      // A snapshot does not contain when its cells changed; treat the changes as old.
      this.stamps = new Uint32Array(states.length).fill(step - OLD);
    }
    this.size = size;
    this.step = step;
    this.states = states;
    this.alive = states.reduce((sum, state) => sum + state, 0);
  }

  #update({ step, cells, states }) {
    const count = this.states.length;
    if (cells.some((cell) => cell >= count)) throw new MalformedFrame("a cell outside the board");
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i];
      this.alive += states[i] - this.states[cell];
      this.states[cell] = states[i];
      this.stamps[cell] = step;
    }
    this.step = step;
  }
}
