// Steps a second, over the last few seconds, so that it neither flickers nor lags.

const WINDOW = 5; // s; at the usual one step a second, still a handful of them
const SPACING = 0.1; // s between the points kept, so that a fast game does not pile them up

export class Rate {
  #points = []; // [time in s, step], oldest first

  /** Note that `step` was reached at time `now`, in seconds of any clock that only goes forward. */
  note(step, now) {
    const last = this.#points.at(-1);
    if (last && step < last[1]) this.reset(); // another game
    if (last && step === last[1]) return;
    const before = this.#points.at(-2);
    if (before && now - before[0] < SPACING) this.#points.pop();
    this.#points.push([now, step]);
    while (this.#points.length > 2 && now - this.#points[1][0] > WINDOW) this.#points.shift();
  }

  reset() {
    this.#points = [];
  }

  /** Steps a second, null while there is too little to tell; falls to 0 when the steps stop. */
  perSecond(now) {
    if (this.#points.length < 2) return null;
    const [since, first] = this.#points[0];
    const [until, last] = this.#points.at(-1);
    if (now - until > WINDOW) return 0;
    // The step under way counts only once it is late: else the figure would sag between steps.
    const usual = (until - since) / (last - first);
    const span = Math.max(until - since, now - since - 2 * usual);
    return (last - first) / span;
  }
}
