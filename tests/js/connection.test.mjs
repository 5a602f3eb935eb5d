import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection } from "./page.mjs";

/** A connection with fakes of the clock, random numbers and WebSockets. */
function rig({ random = 1 } = {}) {
  const rig = { sockets: [], timers: [], states: [], messages: [], time: 0, random };
  class FakeSocket {
    constructor(url, protocols) {
      Object.assign(this, { url, protocols, closed: null });
      rig.sockets.push(this);
    }
    close(code, reason) {
      this.closed = [code, reason];
    }
  }
  rig.connection = new Connection({
    url: "ws://here/watcher/",
    protocol: "life.v2.bin",
    onMessage: (value) => rig.messages.push(value),
    onState: (state, details) => rig.states.push([state, details]),
    WebSocket: FakeSocket,
    setTimeout: (call, delay) => rig.timers.push({ call, delay }),
    clearTimeout: (id) => (rig.timers[id - 1].call = null),
    random: () => rig.random,
    now: () => rig.time,
  });
  rig.socket = () => rig.sockets.at(-1);
  rig.accept = () => rig.socket().onopen();
  rig.lose = (code, reason = "") => rig.socket().onclose({ code, reason });
  rig.wait = () => rig.timers.at(-1).call();
  rig.delay = () => rig.timers.at(-1).delay;
  rig.connection.open();
  return rig;
}

test("connects with its subprotocol and passes messages to onMessage", () => {
  const { connection, socket, accept, states, messages } = rig();
  assert.equal(connection.state, "connecting");
  accept();
  assert.equal(connection.state, "open");
  assert.deepEqual(socket().protocols, ["life.v2.bin"]);
  assert.equal(socket().binaryType, "arraybuffer");
  socket().onmessage({ data: "hello" });
  assert.deepEqual(messages, ["hello"]);
  assert.deepEqual(states.map(([state]) => state), ["connecting", "open"]);
});

test("waits longer with each failure, up to half a minute", () => {
  const { lose, wait, delay } = rig();
  const delays = [];
  for (let i = 0; i < 8; i++) {
    lose(1006);
    delays.push(delay());
    wait();
  }
  assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
});

test("the delay is random, from 0 to the limit", () => {
  const loser = rig({ random: 0.25 });
  loser.lose(1006);
  assert.equal(loser.delay(), 250);
});

test("after a steady connection the shortest delay is used again", () => {
  const held = rig();
  held.lose(1006);
  held.wait();
  held.accept();
  held.time = 60;
  held.lose(1006);
  assert.equal(held.delay(), 1000);
});

test("a connection that is lost at once does not reset the delay", () => {
  const { lose, wait, accept, delay } = rig();
  for (let i = 0; i < 3; i++) {
    accept();
    lose(1006);
    wait();
  }
  assert.equal(delay(), 4000);
});

test("after an announced restart it reconnects within half a second, the first time", () => {
  for (const code of [1001, 1012]) {
    const restarted = rig();
    restarted.accept();
    restarted.time = 60;
    restarted.lose(code);
    assert.equal(restarted.delay(), 500);
    restarted.wait();
    restarted.lose(code);
    assert.equal(restarted.delay(), 2000);
  }
});

test("does not reconnect after a close code for an error of the page", () => {
  for (const code of [1002, 1003, 1007, 1008, 1009, 1010]) {
    const { connection, lose, timers, states } = rig();
    lose(code, "no");
    assert.equal(connection.state, "refused");
    assert.equal(timers.length, 0);
    assert.deepEqual(states.at(-1)[1], { code, reason: "no" });
  }
});

test("reconnects after 1011 and 1013 with the usual delay", () => {
  for (const code of [1011, 1013]) {
    const { connection, lose, delay } = rig();
    lose(code);
    assert.equal(connection.state, "waiting");
    assert.equal(delay(), 1000);
  }
});

test("retry() connects at once, and only once", () => {
  const { connection, lose, timers, sockets, accept } = rig();
  lose(1006);
  connection.retry();
  assert.equal(timers[0].call, null);
  assert.equal(sockets.length, 2);
  connection.retry();
  accept();
  connection.retry();
  assert.equal(sockets.length, 2);
});

test("resync() reconnects after a delay, and ignores the old WebSocket", () => {
  const { connection, accept, sockets, messages, wait, states } = rig();
  accept();
  connection.resync("malformed frame");
  assert.deepEqual(sockets[0].closed, [4000, "malformed frame"]);
  sockets[0].onmessage({ data: "late" });
  sockets[0].onclose({ code: 4000, reason: "" });
  assert.deepEqual(messages, []);
  assert.equal(connection.state, "waiting");
  wait();
  assert.equal(sockets.length, 2);
  assert.deepEqual(states.map(([state]) => state), ["connecting", "open", "waiting", "connecting"]);
});
