// c10k.js with fakes of the clock, random numbers, the network and WebSockets.

import "../../cluster/django/static/c10k/c10k.js";

export const { Feed, Socket, feed, socket } = globalThis.c10k;

/** Run the callbacks of settled promises, also chains of several. */
export async function settle() {
  for (let i = 0; i < 5; i++) await new Promise((go) => setImmediate(go));
}

/** The response to one fetch; the test sends its body in pieces. */
class Exchange {
  constructor(url, init, settled) {
    Object.assign(this, { url: new URL(url), init, settled });
    this.headers = init.headers;
    init.signal.addEventListener("abort", () => settled.reject(new Error("aborted")));
  }

  get aborted() {
    return this.init.signal.aborted;
  }

  /** Send the head of the response; `write` and `end` send the rest. */
  async answer(status, type, headers = {}) {
    const body = new ReadableStream({ start: (control) => (this._body = control) });
    this.settled.resolve(
      new Response(body, { status, headers: { "Content-Type": type, ...headers } }),
    );
    await settle();
  }

  async write(text) {
    this._body.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async end() {
    this._body.close();
    await settle();
  }

  async json(value) {
    await this.answer(200, "application/json");
    await this.write(JSON.stringify(value));
    await this.end();
  }

  async fail() {
    this.settled.reject(new TypeError("network error"));
    await settle();
  }
}

/**
 * A connection with its fakes. `make` is feed or socket.
 *
 * `wait()` advances the clock to the next timer, and returns the seconds.
 */
export async function rig(make, options = {}, { random = 1 } = {}) {
  const rig = { sockets: [], exchanges: [], events: [], time: 0, random, online: true, timers: [] };
  const window = new EventTarget();

  class FakeSocket {
    constructor(url, protocols) {
      Object.assign(this, { url: new URL(url), protocols, closed: null, sent: [] });
      rig.sockets.push(this);
    }
    send(data) {
      this.sent.push(data);
    }
    close(code, reason) {
      this.closed = [code, reason];
    }
  }

  const environment = {
    WebSocket: FakeSocket,
    fetch: (url, init) =>
      new Promise((resolve, reject) => {
        rig.exchanges.push(new Exchange(url, init, { resolve, reject }));
      }),
    window,
    setTimeout: (call, ms) => {
      const timer = { call, at: rig.time + ms / 1000 };
      rig.timers.push(timer);
      return timer;
    },
    clearTimeout: (timer) => {
      const index = rig.timers.indexOf(timer);
      if (index >= 0) rig.timers.splice(index, 1);
    },
    random: () => rig.random,
    now: () => rig.time,
    online: () => rig.online,
    base: "https://here.example/page/",
    ...options.environment,
  };
  const note = (event) => {
    const members = Object.keys(event).filter((name) => name !== "isTrusted");
    rig.events.push([event.type, Object.fromEntries(members.map((name) => [name, event[name]]))]);
  };

  rig.connection = make(options.url ?? "/live/", { ...options, environment });
  for (const type of ["state", "message", "recovered", "error"]) {
    rig.connection.addEventListener(type, note);
  }
  rig.window = window;
  rig.socket = () => rig.sockets.at(-1);
  rig.exchange = () => rig.exchanges.at(-1);
  rig.accept = () => rig.socket().onopen();
  rig.say = (value) =>
    rig.socket().onmessage({ data: typeof value === "string" ? value : JSON.stringify(value) });
  rig.lose = (code, reason = "") => rig.socket().onclose({ code, reason });
  rig.wait = async () => {
    const next = rig.timers.reduce((first, other) => (other.at < first.at ? other : first));
    const passed = next.at - rig.time;
    rig.time = next.at;
    environment.clearTimeout(next);
    next.call();
    await settle();
    return passed;
  };
  rig.states = () => rig.events.filter(([type]) => type === "state").map(([, { state }]) => state);
  rig.take = (type) => {
    const taken = rig.events.filter((event) => event[0] === type).map((event) => event[1]);
    rig.events = rig.events.filter((event) => event[0] !== type);
    return taken;
  };
  await settle();
  return rig;
}
