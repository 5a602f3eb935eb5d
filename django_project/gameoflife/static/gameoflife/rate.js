// Steps per second, averaged over the last few seconds.

const WINDOW = 5; // s; at one step per second, still a handful of steps
const SPACING = 0.1; // s between two kept points, which bounds their number in a fast game

export class Rate {
  #points = []; // [time in s, step], oldest first

  /** Record that `step` was reached at time `now`, in seconds of any monotonic clock. */
  note(step, now) {
    if (step === 0) {
      this.reset(); // the game gathers its clients; the time until its first step does not count
      return;
    }
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

  /** Steps per second; null before the second step, and falling to 0 when the steps stop. */
  perSecond(now) {
    if (this.#points.length < 2) return null;
    const [since, first] = this.#points[0];
    const [until, last] = this.#points.at(-1);
    if (now - until > WINDOW) return 0;
    // Count the time since the last step only once the next step is late; otherwise the rate would
    // drop between two steps.
    const usual = (until - since) / (last - first);
    const span = Math.max(until - since, now - since - 2 * usual);
    return (last - first) / span;
  }
}
