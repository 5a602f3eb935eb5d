// What happens after a process was lost: it is back, its clients are back, and nothing is wrong. The
// module knows neither the network nor the screen; times are seconds of any monotonic clock.

export class Incidents {
  #open = new Map(); // name of the process → {at, pid, cells, ready}

  /** @param {(text: string, level: string) => void} report */
  constructor(report) {
    this.report = report;
  }

  /** A process is gone; `cells` of its clients were in the game. Ignored for one that is known. */
  lost(name, pid, cells, now) {
    if (this.#open.get(name)?.pid === pid) return;
    this.#open.set(name, { at: now, pid, cells, ready: null });
    const what = cells ? `: ${cells.toLocaleString("en")} cells have lost their connection` : "";
    this.report(`${name} is dead${what}`, "bad");
  }

  /** A process serves; ignored if it is still the one that was lost. */
  ready(name, pid, now) {
    const incident = this.#open.get(name);
    if (!incident || incident.ready !== null || incident.pid === pid) return;
    incident.ready = now;
    this.report(`${name} is back after ${(now - incident.at).toFixed(1)} s`, "good");
  }

  /** All clients are connected, and the game has gone on; `wrong` cells in all. */
  complete(wrong, step, now) {
    for (const [name, { at, cells, ready }] of this.#open) {
      if (ready === null) continue;
      this.#open.delete(name);
      if (!cells) continue;
      const seconds = (now - at).toFixed(1);
      const clients = `${cells.toLocaleString("en")} clients reconnected within ${seconds} s`;
      this.report(`${clients}; step ${step.toLocaleString("en")}, ${wrong} wrong cells`, wrong ? "bad" : "good");
    }
  }
}
