// A client of the suite: one connection, with any number of namespaces, by socket.io-client.
// Runs in Node and in browsers, so it imports nothing.

export const TRANSPORTS = {
  websocket: ["websocket"],
  polling: ["polling"],
  upgrade: ["polling", "websocket"],
};

const PATIENCE_MS = 90_000; // until an event that was expected counts as missing

/** Rejects if the promise is not settled in time. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`no ${what} within ${PATIENCE_MS / 1000} s`);
    timer = setTimeout(() => reject(error), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next event. */
export function next(emitter, event) {
  return within(new Promise((resolve) => emitter.once(event, (...data) => resolve(data))), event);
}

/** The arguments of the acknowledgement of an event. */
export function call(socket, event, ...data) {
  const answered = new Promise((resolve) => socket.emit(event, ...data, (...answer) => resolve(answer)));
  return within(answered, `acknowledgement of ${event}`);
}

/** Collects the arguments of every event of a name; `until(count)` waits for so many. */
export class Collected {
  constructor(socket, event) {
    this.all = [];
    this._woken = () => {};
    socket.on(event, (...data) => {
      this.all.push(data);
      this._woken();
    });
  }

  until(count) {
    const enough = async () => {
      while (this.all.length < count) {
        await new Promise((resolve) => (this._woken = resolve));
      }
    };
    return within(enough(), `${count} events`).then(() => this.all);
  }
}

/** Opens clients at one URL with one transport; `close` closes all of them. */
export class Clients {
  constructor(io, url, transport) {
    this.io = io;
    this.url = url;
    this.transport = transport;
    this._managers = [];
  }

  manager(options = {}) {
    const manager = new this.io.Manager(this.url, {
      transports: TRANSPORTS[this.transport],
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      ...options,
    });
    this._managers.push(manager);
    return manager;
  }

  /** A socket of the main namespace that has been welcomed; `socket.welcome` is what it received. */
  async open(auth = {}, options = {}) {
    const socket = this.manager(options).socket("/", { auth });
    const refused = new Promise((_, reject) => socket.once("connect_error", reject));
    [socket.welcome] = await Promise.race([next(socket, "welcome"), refused]);
    return socket;
  }

  /** A client of each node, all in a room. */
  async inRoom(room, nodes) {
    const found = [];
    while (found.length < 3 || new Set(found.map((socket) => socket.welcome.node)).size < nodes) {
      if (found.length === 100) throw new Error(`100 clients did not reach ${nodes} nodes`);
      const socket = await this.open();
      await call(socket, "join", room);
      found.push(socket);
    }
    return found;
  }

  close() {
    for (const manager of this._managers) {
      manager.reconnection(false);
      manager._close ? manager._close() : manager.engine?.close();
    }
  }
}
