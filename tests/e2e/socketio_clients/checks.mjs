// What each client must find at the server, by each transport. Runs in Node and in browsers.
//
// `run(io, url, options, report)` runs all checks one after another. The server is
// tests/e2e/socketio_server_site.py, or reference.mjs.

import { Clients, Collected, TRANSPORTS, call, next, within } from "./client.mjs";

const BURST = 200;
const AGAIN = 50; // times that something is sent which may be dropped

let unique = 0;

/** A name of a room or a client that no other check uses. */
function named(what) {
  unique += 1;
  return `${what}-${Math.random().toString(36).slice(2)}-${unique}`;
}

/** Throws unless both are the same as JSON; binary data is compared by its bytes. */
function same(found, expected, what = "") {
  const [left, right] = [shown(found), shown(expected)];
  if (left !== right) throw new Error(`${what} found ${left}, expected ${right}`.trim());
}

function shown(value) {
  return JSON.stringify(plain(value));
}

function plain(value) {
  if (value instanceof ArrayBuffer) return { bytes: [...new Uint8Array(value)] };
  if (ArrayBuffer.isView(value)) {
    return { bytes: [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)] };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, plain(value[key])]));
  }
  return value;
}

/** Lets the client's other callbacks run. */
const moment = () => new Promise((resolve) => setTimeout(resolve));

const numbers = (count) => Array.from({ length: count }, (_, number) => [number]);

const NESTED = {
  file: new Uint8Array([0, 255, 10, 13, 30]),
  list: [1, { deep: new Uint8Array([1, 2, 3]), none: null }, new Uint8Array(0)],
  text: "café 🦆 \u2028\u0000\u001e",
};

export const CHECKS = {
  async connect(clients) {
    const socket = await clients.open({ name: "anna" }, { query: { colour: "blue" } });
    same(socket.connected, true);
    same(socket.welcome.sid, socket.id);
    same(socket.welcome.auth, { name: "anna" });
    same(socket.welcome.query, "blue");
    same(await call(socket, "rooms"), [[socket.id]]);
  },

  async "order during the upgrade"(clients) {
    const manager = clients.manager();
    const upgraded = new Promise((resolve) => {
      manager.once("open", () => manager.engine.once("upgrade", resolve));
    });
    const socket = manager.socket("/");
    const back = new Collected(socket, "back");
    const burst = new Collected(socket, "numbered");
    socket.emit("burst", BURST);
    for (let number = 0; number < BURST; number++) {
      socket.emit("emit_back", "back", number);
      if (number % 10 === 0) await moment();
    }
    same(await back.until(BURST), numbers(BURST));
    same(await burst.until(BURST), numbers(BURST));
    if (clients.transport === "upgrade") {
      await within(upgraded, "upgrade");
      same(manager.engine.transport.name, "websocket");
    }
    const last = clients.transport === "polling" ? "polling" : "websocket";
    same(await call(socket, "transport"), [last]);
  },

  async pings(clients) {
    const manager = clients.manager();
    const pings = new Promise((resolve) => {
      let count = 0;
      manager.engine.on("packet", ({ type }) => {
        count += type === "ping";
        if (count === 3) resolve();
      });
    });
    const socket = manager.socket("/");
    await within(pings, "three pings");
    same(await call(socket, "echo", "still there"), ["still there"]);
  },

  async namespaces(clients) {
    const manager = clients.manager();
    const main = manager.socket("/", { auth: { name: "main" } });
    const admin = manager.socket("/admin", { auth: { name: "admin", token: "secret" } });
    same(await call(admin, "who"), ["admin"]);
    same(await call(main, "echo", 1), [1]);
    if (main.id === admin.id) throw new Error("two namespaces have the same id");
    admin.disconnect();
    same(await call(main, "echo", 2), [2]);
    admin.connect();
    same(await call(admin, "who"), ["admin"]);
  },

  async "auth by a function"(clients) {
    const auth = (done) => setTimeout(() => done({ name: "bob", list: [1, "two"] }));
    const socket = clients.manager().socket("/", { auth });
    const [welcome] = await next(socket, "welcome");
    same(welcome.auth, { name: "bob", list: [1, "two"] });
  },

  async "refused connects"(clients) {
    const manager = clients.manager();
    const main = manager.socket("/", { auth: { refuse: true } });
    const [refused] = await next(main, "connect_error");
    same([refused.message, refused.data], ["refused", { code: 42, why: ["you asked"] }]);
    same(main.connected, false);
    const admin = manager.socket("/admin", { auth: { token: "wrong" } });
    const [error] = await next(admin, "connect_error");
    same([error.message, error.data], ["not authorized", { token: "wrong" }]);
    const unknown = manager.socket("/unknown");
    const [invalid] = await next(unknown, "connect_error");
    same(invalid.message, "Invalid namespace");
    // The connection is still there for other namespaces, and for the next attempt.
    admin.auth = { token: "secret", name: "later" };
    admin.connect();
    same(await call(admin, "who"), ["later"]);
  },

  async "acknowledgements of the server"(clients) {
    const socket = await clients.open();
    for (const data of [[], [null], [1, "two", [3], { four: 4.5 }], ["𝄞 \u2029"], [[]]]) {
      same(await call(socket, "echo", ...data), data);
    }
    const many = numbers(BURST).map(([number]) => call(socket, "echo", number));
    same(await Promise.all(many), numbers(BURST));
  },

  async "acknowledgements of the client"(clients) {
    const socket = await clients.open();
    socket.on("question", (...data) => data.pop()(data.length, ...data));
    same(await call(socket, "ask"), [[0]]);
    same(await call(socket, "ask", "how", { many: 2 }), [[2, "how", { many: 2 }]]);
    same(await call(socket, "ask", NESTED), [[1, NESTED]]);
  },

  async binary(clients) {
    const socket = await clients.open();
    same(await call(socket, "echo", NESTED, new Uint8Array([9])), [NESTED, new Uint8Array([9])]);
    const back = next(socket, "back");
    socket.emit("emit_back", "back", NESTED, "text", NESTED.file);
    same(await back, [NESTED, "text", NESTED.file]);
    const large = new Uint8Array(40_000).map((_, at) => at % 251);
    same(await call(socket, "echo", { large }), [{ large }]);
  },

  async volatile(clients) {
    const socket = await clients.open();
    const answers = [];
    for (let number = 0; number < AGAIN && !answers.length; number++) {
      while (!socket.io.engine.transport.writable) await moment();
      socket.volatile.emit("echo", number, (answer) => answers.push(answer));
      await call(socket, "echo");
    }
    if (!answers.length) throw new Error("no volatile event reached the server");
    const received = new Collected(socket, "numbered");
    for (let number = 0; number < AGAIN && !received.all.length; number++) {
      await call(socket, "volatile_burst", 5);
    }
    if (!received.all.length) throw new Error("no volatile event of the server arrived");
  },

  async timeouts(clients) {
    const socket = await clients.open();
    same(await call(socket, "ask_unanswered"), ["timed out"]);
    if (!socket.timeout) return; // since 4.4
    const error = await within(
      new Promise((resolve) => socket.timeout(100).emit("unanswered", resolve)),
      "timeout",
    );
    same(error instanceof Error, true);
    const answered = new Promise((resolve, reject) => {
      const take = (error, ...data) => (error ? reject(error) : resolve(data));
      socket.timeout(60_000).emit("echo", 1, 2, take);
    });
    same(await within(answered, "acknowledgement"), [1, 2]);
  },

  async "rooms across nodes"(clients, { nodes }) {
    const room = named("room");
    const all = await clients.inRoom(room, nodes);
    const stranger = await clients.open();
    const [first, second, ...others] = all;
    const heard = [...all, stranger].map((socket) => new Collected(socket, "said"));
    const count = (await call(first, "count", room))[0];
    same(count, all.length, "sockets in the room");
    for (let number = 0; number < BURST; number++) first.emit("say", room, number);
    for (const each of heard.slice(1, -1)) same(await each.until(BURST), numbers(BURST));
    await call(second, "say_to_all", room, "everybody");
    for (const [at, each] of heard.slice(0, -1).entries()) {
      same((await each.until(at ? BURST + 1 : 1)).at(-1), ["everybody"]);
    }
    // To all in the room but those in another one, and to one socket by its id.
    const without = named("without");
    await call(second, "join", without);
    await call(first, "say_except", room, without, "some");
    await call(first, "tell", stranger.id, "you");
    same(await heard.at(-1).until(1), [["you"]]);
    for (const each of heard.slice(2, -1)) same((await each.until(BURST + 2)).at(-1), ["some"]);
    // Who has left receives nothing more.
    same((await call(second, "leave", room))[0].includes(room), false);
    await call(first, "say", room, "the rest");
    for (const each of heard.slice(2, -1)) same((await each.until(BURST + 3)).at(-1), ["the rest"]);
    await call(first, "tell", second.id, "last");
    same((await heard[1].until(BURST + 2)).slice(BURST), [["everybody"], ["last"]]);
    same((await call(first, "count", room))[0], others.length + 1);
  },

  async broadcast(clients, { nodes }) {
    const all = await clients.inRoom(named("room"), nodes);
    const heard = all.map((socket) => new Collected(socket, "to_all"));
    const text = named("text");
    await call(all[0], "broadcast", text);
    for (const each of heard.slice(1)) same(await each.until(1), [[text]]);
    same(heard[0].all, []);
  },

  async "disconnect reasons"(clients) {
    const watcher = await clients.open();
    const left = new Collected(watcher, "left");
    const ends = [
      [(socket) => socket.disconnect(), "io client disconnect", "client namespace disconnect"],
      [(socket) => socket.emit("kick", false), "io server disconnect", "server namespace disconnect"],
      [(socket) => socket.emit("kick", true), "io server disconnect", "server namespace disconnect"],
      [(socket) => socket.io.engine.close(), "forced close", "transport close"],
    ];
    for (const [at, [end, ours, theirs]] of ends.entries()) {
      const name = named("client");
      await call(watcher, "join", `watch ${name}`);
      const socket = await clients.open({ name }, { reconnection: false });
      const [reason] = await Promise.all([next(socket, "disconnect"), end(socket)]);
      same(reason[0], ours);
      same((await left.until(at + 1))[at], [name, theirs]);
    }
  },

  async reconnect(clients) {
    const manager = clients.manager();
    const main = manager.socket("/");
    const admin = manager.socket("/admin", { auth: { name: "again", token: "secret" } });
    await Promise.all([next(main, "welcome"), call(admin, "who")]);
    const before = main.id;
    const gone = next(main, "disconnect");
    manager.engine.close();
    await gone;
    const again = next(main, "connect");
    const buffered = call(main, "echo", "buffered");
    await again;
    same(await buffered, ["buffered"]);
    same(await call(admin, "who"), ["again"]);
    if (main.id === before) throw new Error("the id is the same after a reconnect");
  },

  async "killed node"(clients, { kill }) {
    if (!kill) return;
    const socket = await clients.open();
    const again = next(socket, "connect");
    socket.emit("crash");
    await next(socket, "disconnect");
    await again;
    same(await call(socket, "echo", "alive"), ["alive"]);
  },
};

/**
 * Runs the checks; calls `report({transport, check, ok, error})` after each.
 *
 * options: `transports`, names in TRANSPORTS; `nodes`, how many nodes the server has; `kill`, whether
 * nodes may be killed; `only`, a part of a check's name. Returns whether all checks passed.
 */
export async function run(io, url, options, report) {
  let passed = true;
  for (const transport of options.transports ?? Object.keys(TRANSPORTS)) {
    for (const [check, body] of Object.entries(CHECKS)) {
      if (!check.includes(options.only ?? "")) continue;
      const clients = new Clients(io, url, transport);
      let error = null;
      try {
        await body(clients, { nodes: 1, kill: false, ...options });
      } catch (caught) {
        error = String(caught?.stack ?? caught);
        passed = false;
      } finally {
        clients.close();
      }
      report({ transport, check, ok: error === null, error });
    }
  }
  return passed;
}
