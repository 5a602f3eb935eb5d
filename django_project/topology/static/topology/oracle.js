// Computes the game itself, and compares: the cells that the clients computed must be equal.

const BEHIND = 2000; // steps that are computed at once to reach a board; more begin again

/** The next generation of a board on a torus: a cell is alive with 3 neighbours, or 2 if it was. */
export function next(states, size) {
  const result = new Uint8Array(states.length);
  for (let row = 0; row < size; row++) {
    const above = ((row + size - 1) % size) * size;
    const below = ((row + 1) % size) * size;
    const here = row * size;
    for (let column = 0; column < size; column++) {
      const left = (column + size - 1) % size;
      const right = (column + 1) % size;
      const neighbours =
        states[above + left] + states[above + column] + states[above + right] +
        states[here + left] + states[here + right] +
        states[below + left] + states[below + column] + states[below + right];
      result[here + column] = neighbours === 3 || (neighbours === 2 && states[here + column]) ? 1 : 0;
    }
  }
  return result;
}

export class Oracle {
  #size = 0;
  #step = 0;
  #states = null;
  compared = 0; // generations
  wrong = 0; // cells, in all of them

  /** Compare a board with what follows from the boards before. */
  compare({ size, step, states }) {
    const begins = this.#states === null || size !== this.#size || step < this.#step;
    if (begins || step - this.#step > BEHIND) {
      if (begins) this.compared = this.wrong = 0;
      this.#size = size;
      this.#step = step;
      this.#states = states.slice();
      return;
    }
    if (step === this.#step) {
      if (step === 0) this.#states = states.slice(); // a new game begins with an empty board
      return;
    }
    for (; this.#step < step; this.#step++) this.#states = next(this.#states, size);
    this.compared += 1;
    for (let cell = 0; cell < states.length; cell++) {
      if (states[cell] !== this.#states[cell]) this.wrong += 1;
    }
    this.#states = states.slice(); // count each wrong cell once
  }
}
