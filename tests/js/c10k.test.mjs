// c10k.js: the common parts of WebSockets and feeds, and the WebSockets of ordinary handlers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { rig, settle, socket } from "./client.mjs";
import * as module from "../../cluster/django/static/c10k/c10k.mjs";

test("the module exports the properties of the global", () => {
  assert.deepEqual(Object.keys(module).sort(), Object.keys(globalThis.c10k).sort());
  for (const name of Object.keys(module)) assert.equal(module[name], globalThis.c10k[name]);
});

test("connects to the page's own site by WebSocket", async () => {
  for (const [url, expected] of Object.entries({
    "/chat/ws/": "wss://here.example/chat/ws/",
    "ws/?a=1#top": "wss://here.example/page/ws/?a=1",
    "http://there.example:81/x": "ws://there.example:81/x",
    "wss://there.example/": "wss://there.example/",
  })) {
    const { socket: open } = await rig(socket, { url, protocols: ["v2"] });
    assert.equal(open().url.href, expected);
    assert.deepEqual(open().protocols, ["v2"]);
    assert.equal(open().binaryType, "arraybuffer");
  }
});

test("messages are sent and received", async () => {
  const { connection, accept, say, socket: open, events, states } = await rig(socket);
  assert.equal(connection.send("too early"), false);
  accept();
  say("hello");
  const binary = new ArrayBuffer(2);
  open().onmessage({ data: binary });
  assert.equal(connection.send("hi"), true);
  assert.deepEqual(open().sent, ["hi"]);
  assert.deepEqual(events.slice(-2), [
    ["message", { data: "hello" }],
    ["message", { data: binary }],
  ]);
  assert.deepEqual(states(), ["connecting", "open"]);
});

test("json() parses a message", async () => {
  let parsed = null;
  const { accept, say } = await rig(socket, { onmessage: (event) => (parsed = event.json()) });
  accept();
  say({ a: [1] });
  assert.deepEqual(parsed, { a: [1] });
});

async function delays(lost, failures) {
  const delays = [];
  for (let i = 0; i < failures; i++) {
    lost.lose(1006);
    delays.push(await lost.wait());
  }
  return delays;
}

test("waits longer with each failure, up to half a minute", async () => {
  const lost = await rig(socket);
  lost.accept();
  assert.deepEqual(await delays(lost, 8), [1, 2, 4, 8, 16, 30, 30, 30]);
});

test("a client that is never accepted tries less and less often, up to a limit", async () => {
  const refused = await rig(socket);
  assert.deepEqual(await delays(refused, 10), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
  refused.accept();
  assert.deepEqual(await delays(refused, 2), [30, 30]); // it did not hold

  const withdrawn = await rig(socket);
  withdrawn.accept();
  assert.deepEqual((await delays(withdrawn, 24)).slice(19), [30, 30, 300, 300, 300]);
});

test("reports the number of failures, so that a page can tell its user", async () => {
  const { lose, wait, take } = await rig(socket);
  lose(1006);
  await wait();
  lose(1006);
  const failures = take("state").map((event) => event.failures);
  assert.deepEqual(failures, [undefined, 1, undefined, 2]);
});

test("the delay is random, from 0 to the limit", async () => {
  const { lose, wait, take } = await rig(socket, {}, { random: 0.25 });
  lose(1006, "why");
  assert.deepEqual(take("state").at(-1), {
    state: "waiting",
    delay: 0.25,
    failures: 1,
    code: 1006,
    reason: "why",
  });
  assert.equal(await wait(), 0.25);
});

test("a steady connection resets the wait, one that is lost at once does not", async () => {
  const held = await rig(socket);
  held.lose(1006);
  await held.wait();
  held.accept();
  held.time += 60;
  held.lose(1006);
  assert.equal(await held.wait(), 1);
  held.accept();
  held.lose(1006);
  assert.equal(await held.wait(), 2);
});

test("after an announced restart it reconnects within half a second, the first time", async () => {
  for (const code of [1001, 1012]) {
    const restarted = await rig(socket);
    restarted.accept();
    restarted.time += 60;
    restarted.lose(code);
    assert.equal(await restarted.wait(), 0.5);
    restarted.lose(code);
    assert.equal(await restarted.wait(), 2);
  }
});

test("does not reconnect after an error of the client or a refusal", async () => {
  for (const code of [1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4499]) {
    const { connection, accept, lose, timers, take } = await rig(socket);
    accept();
    lose(code, "no");
    assert.deepEqual(take("state").at(-1), { state: "refused", code, reason: "no" });
    assert.equal(connection.state, "refused");
    assert.deepEqual(timers, []);
  }
});

test("is closed when the handler ends", async () => {
  const { connection, accept, lose, sockets } = await rig(socket);
  accept();
  lose(1000, "bye");
  assert.equal(connection.state, "closed");
  connection.retry();
  assert.equal(sockets.length, 2);
});

test("reconnects after all other codes, with increasing waits", async () => {
  for (const code of [1005, 1006, 1011, 1013, 3000, 4000, 4500]) {
    const { lose, wait } = await rig(socket);
    lose(code);
    assert.equal(await wait(), 1, String(code));
  }
});

test("an attempt without an answer ends after a timeout", async () => {
  const { connection, wait, sockets } = await rig(socket);
  assert.equal(await wait(), 10);
  assert.equal(connection.state, "waiting");
  assert.deepEqual(sockets[0].closed, [4000, ""]);
  sockets[0].onopen(); // too late
  assert.equal(connection.state, "waiting");
});

test("retry() connects at once, and only once", async () => {
  const { connection, lose, sockets, accept, timers } = await rig(socket);
  lose(1006);
  connection.retry();
  assert.equal(sockets.length, 2);
  connection.retry();
  accept();
  connection.retry();
  assert.equal(sockets.length, 2);
  assert.deepEqual(timers, []);
});

test("it reconnects at once when the network is back", async () => {
  const { connection, lose, sockets, window } = await rig(socket);
  lose(1006);
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 2);
  connection.close();
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 2);
});

test("it notices at once that the network is gone, and reconnects when it is back", async () => {
  const { connection, accept, take, sockets, window } = await rig(socket);
  accept();
  window.dispatchEvent(new Event("offline"));
  assert.equal(connection.state, "waiting");
  assert.equal(take("state").at(-1).reason, "offline");
  assert.equal(connection.send("lost?"), false);
  window.dispatchEvent(new Event("offline"));
  assert.equal(connection.state, "waiting");
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 2);
  connection.close();
  window.dispatchEvent(new Event("offline"));
  assert.equal(connection.state, "closed");
});

test("when the page is visible again it reconnects, or sends a ping", async () => {
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const { connection, lose, sockets, accept, window, say } = await rig(socket, {
    heartbeat: "still there?",
    environment: { document },
  });
  const look = (state) => {
    document.visibilityState = state;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  lose(1006);
  look("hidden");
  assert.equal(sockets.length, 1);
  look("visible");
  assert.equal(sockets.length, 2);
  accept();
  look("visible");
  assert.deepEqual(sockets[1].sent, ["still there?"]);
  window.dispatchEvent(new Event("online")); // asked already
  assert.deepEqual(sockets[1].sent, ["still there?"]);
  say("yes");
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets[1].sent.length, 2);
  connection.close();
  look("visible");
  assert.equal(sockets.length, 2);
});

test("a connection without an answer to a ping is closed", async () => {
  const { connection, accept, window, wait } = await rig(socket, { heartbeat: "?" });
  accept();
  window.dispatchEvent(new Event("online"));
  assert.equal(await wait(), 10);
  assert.equal(connection.state, "waiting");
});

test("a connection without a heartbeat is not checked", async () => {
  const { connection, accept, window, sockets, timers } = await rig(socket);
  accept();
  window.dispatchEvent(new Event("online"));
  assert.equal(connection.state, "open");
  assert.deepEqual([sockets[0].sent, timers], [[], []]);
});

test("close() with a code that browsers refuse to send", async () => {
  const { connection, accept, socket: open, timers } = await rig(socket);
  accept();
  const closes = [];
  open().close = (...how) => {
    closes.push(how);
    if (how[0] === 1001) throw new RangeError("1001");
  };
  assert.throws(() => connection.close(1001), RangeError);
  assert.deepEqual(closes, [[1001, ""], []]);
  assert.equal(connection.state, "closed");
  assert.deepEqual(timers, []);
});

test("close() ends the connection, and later events are ignored", async () => {
  const { connection, accept, sockets, say, take, lose, timers } = await rig(socket);
  accept();
  connection.close(1000, "enough");
  assert.deepEqual(sockets[0].closed, [1000, "enough"]);
  take("state");
  say("late");
  lose(1006);
  connection.close();
  assert.deepEqual(take("message"), []);
  assert.deepEqual(take("state"), []);
  assert.deepEqual(timers, []);
});

test("close() before the first attempt", async () => {
  let made = 0;
  const connection = socket("/x/", { environment: { WebSocket: class { constructor() { made++; } } } });
  connection.close();
  await settle();
  assert.equal(made, 0);
  assert.equal(connection.state, "closed");
});

test("close() in a listener of the state event", async () => {
  const { connection, sockets, lose, wait } = await rig(socket);
  connection.addEventListener("state", ({ state }) => state === "connecting" && connection.close());
  lose(1006);
  await wait();
  assert.equal(connection.state, "closed");
  assert.equal(sockets.length, 1);
});

test("an invalid URL is not tried again", async () => {
  const { connection } = await rig(socket, { url: "http://[" });
  assert.equal(connection.state, "refused");
});

test("without a heartbeat, silence does not end a connection", async () => {
  const { accept, timers } = await rig(socket);
  accept();
  assert.deepEqual(timers, []);
});

test("with a heartbeat, it sends one after silence and closes without an answer", async () => {
  const alive = await rig(socket, { heartbeat: "are you there?" });
  alive.accept();
  assert.equal(await alive.wait(), 25);
  assert.deepEqual(alive.socket().sent, ["are you there?"]);
  alive.time += 3;
  alive.say("yes");
  assert.equal(await alive.wait(), 7); // when no answer would have been too late
  assert.equal(await alive.wait(), 18); // 25 s after the answer
  assert.deepEqual(alive.socket().sent.length, 2);
  assert.equal(await alive.wait(), 10);
  assert.equal(alive.connection.state, "waiting");
  assert.deepEqual(alive.socket().closed, [4000, ""]);
  assert.equal(alive.take("state").at(-1).reason, "no answer");
});
