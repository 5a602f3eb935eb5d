// Feeds of c10k.js: the message format, resuming, and the three transports.

import assert from "node:assert/strict";
import { test } from "node:test";

import { feed, rig, settle } from "./client.mjs";

/** The query of a URL as a list of pairs, that of `since` taken apart. */
function query(url) {
  return [...url.searchParams].map(([name, value]) =>
    name === "since" ? [name, [...new URLSearchParams(value)]] : [name, value],
  );
}

const STREAM = { transports: ["stream"] };
const POLL = { transports: ["poll"] };

async function streaming(options = {}) {
  const started = await rig(feed, { ...STREAM, ...options });
  await started.exchange().answer(200, "text/event-stream; charset=utf-8");
  await started.exchange().write("retry: 1000\n\n");
  return started;
}

test("uses the subprotocol c10k.v1", async () => {
  const { connection, socket, accept, say, take } = await rig(feed);
  assert.deepEqual(socket().protocols, ["c10k.v1"]);
  assert.equal(socket().url.href, "wss://here.example/live/");
  accept();
  say({ topic: "live", recovered: false, id: "e:4" });
  say({ topic: "live", message: "hello", id: "e:5" });
  say({ topic: "other", message: "" });
  say({ topic: "live", message: { base64: "AP8=" }, id: "e:6" });
  const [hello, empty, binary] = take("message");
  assert.deepEqual(hello, { topic: "live", id: "e:5", data: "hello" });
  assert.deepEqual(empty, { topic: "other", id: undefined, data: "" });
  assert.deepEqual([...new Uint8Array(binary.data)], [0, 255]);
  assert.deepEqual(take("recovered"), []); // nothing was asked for
  assert.deepEqual(connection.topics, ["live"]);
});

test("an error is reported, and unknown messages of later versions are not", async () => {
  const { accept, say, take } = await rig(feed);
  accept();
  say({ error: "not in this feed", topic: "x" });
  say({ pong: 1 });
  say({ somethingNew: true });
  say({ topic: "live", somethingNew: true });
  assert.deepEqual(take("error"), [{ reason: "not in this feed", topic: "x" }]);
  assert.deepEqual(take("message"), []);
});

test("after a loss it requests the missed messages", async () => {
  const { accept, say, lose, wait, socket, take } = await rig(feed, { url: "/live/?room=1" });
  accept();
  say({ topic: "a b", recovered: false, id: "e:4" });
  say({ topic: "live", recovered: false });
  say({ topic: "a b", message: "x", id: "e:5" });
  lose(1006);
  await wait();
  assert.deepEqual(query(socket().url), [["room", "1"], ["since", [["a b", "e:5"]]]]);
  accept();
  say({ topic: "a b", recovered: true, id: "e:5" });
  say({ topic: "a b", message: "y", id: "e:6" });
  say({ topic: "live", recovered: false });
  assert.deepEqual(take("recovered"), [{ topic: "a b", recovered: true }]);
  lose(1006);
  await wait();
  assert.deepEqual(query(socket().url), [["room", "1"], ["since", [["a b", "e:6"]]]]);
  accept();
  say({ topic: "a b", recovered: false, id: "f:1" });
  assert.deepEqual(take("recovered"), [{ topic: "a b", recovered: false }]);
});

test("reports messages that are lost while it is connected", async () => {
  const { connection, accept, say, take } = await rig(feed);
  accept();
  say({ topic: "a", recovered: true, id: "e:4" });
  say({ topic: "b", recovered: false });
  say({ topic: "a", recovered: false, id: "e:9" });
  say({ topic: "b", recovered: false });
  assert.deepEqual(take("recovered"), ["a", "b"].map((topic) => ({ topic, recovered: false })));
  connection.subscribe("a", "e:2"); // the answer to this one reports nothing
  say({ topic: "a", recovered: false, id: "e:9" });
  assert.deepEqual(take("recovered"), []);
});

test("reports lost messages when it polls", async () => {
  const { exchange, take } = await rig(feed, POLL);
  const answer = (recovered, id) => [{ topic: "a", recovered, id }, { topic: "b", recovered: false }];
  await exchange().json({ topics: answer(false, "e:4"), messages: [] });
  const messages = [{ topic: "a", message: "x", id: "e:5" }];
  await exchange().json({ topics: answer(true, "e:4"), messages });
  assert.deepEqual(take("recovered"), []);
  await exchange().json({ topics: answer(false, "e:9"), messages: [] });
  assert.deepEqual(take("recovered"), [{ topic: "a", recovered: false }]);
});

test("subscribes to some topics first, and to more later", async () => {
  const { connection, accept, say, lose, wait, socket } = await rig(feed, { topics: ["a", "b"] });
  assert.deepEqual(query(socket().url), [["topic", "a"], ["topic", "b"]]);
  accept();
  say({ topic: "a", recovered: false, id: "e:1" });
  say({ topic: "b", recovered: false, id: "e:9" });
  connection.unsubscribe("b");
  connection.subscribe("c", "e:7");
  assert.deepEqual(socket().sent.map(JSON.parse), [
    { unsubscribe: "b" },
    { subscribe: "c", since: "e:7" },
  ]);
  lose(1006);
  await wait();
  assert.deepEqual(query(socket().url), [
    ["topic", "a"],
    ["topic", "c"],
    ["since", [["a", "e:1"], ["c", "e:7"]]],
  ]);
});

test("may unsubscribe from topics of a feed that had all", async () => {
  const { connection, accept, say, lose, wait, socket, take } = await rig(feed);
  accept();
  say({ topic: "a", recovered: false, id: "e:1" });
  connection.subscribe("a"); // is subscribed to
  connection.unsubscribe("a");
  assert.deepEqual(socket().sent.map(JSON.parse), [{ unsubscribe: "a" }]);
  say({ topic: "a", message: "on its way", id: "e:2" });
  assert.deepEqual(take("message"), []);
  assert.deepEqual(connection.topics, []);
  // The next connection subscribes to all topics again, then unsubscribes from this one.
  lose(1006);
  await wait();
  assert.deepEqual(query(socket().url), []);
  accept();
  say({ topic: "a", recovered: false, id: "e:3" });
  say({ topic: "b", recovered: false });
  assert.deepEqual(socket().sent.map(JSON.parse), [{ unsubscribe: "a" }]);
  assert.deepEqual(connection.topics, ["b"]);
  connection.subscribe("a");
  assert.deepEqual(JSON.parse(socket().sent[1]), { subscribe: "a" });
});

test("topics may change before the feed is open", async () => {
  const all = await rig(feed);
  all.connection.unsubscribe("a");
  all.connection.subscribe("b");
  assert.equal(all.sockets.length, 1);
  all.accept();
  all.say({ topic: "a", recovered: false });
  assert.deepEqual(all.socket().sent.map(JSON.parse), [{ unsubscribe: "a" }]);

  const some = await rig(feed, { topics: ["a"] });
  some.connection.subscribe("b");
  await settle();
  assert.deepEqual(some.sockets[0].closed, [1000, ""]);
  assert.deepEqual(query(some.socket().url), [["topic", "a"], ["topic", "b"]]);
  some.connection.unsubscribe("a");
  some.connection.unsubscribe("b");
  await settle();
  assert.deepEqual(query(some.socket().url), [["topic", ""]]); // none is not all
});

test("after unsubscribing from a topic of a stream that has all, its messages are ignored", async () => {
  const { connection, exchange, exchanges, take } = await streaming();
  await exchange().write('event: recovered\ndata: {"topic":"a","recovered":false}\n\n');
  connection.unsubscribe("a");
  await exchange().write('data: {"topic":"a","message":"x"}\n\ndata: {"topic":"b","message":"y"}\n\n');
  assert.deepEqual(take("message").map(({ data }) => data), ["y"]);
  assert.equal(exchanges.length, 1);
});

test("sends a ping after silence", async () => {
  const { connection, accept, say, wait, socket } = await rig(feed);
  accept();
  assert.equal(await wait(), 25);
  assert.deepEqual(socket().sent, ['{"ping":1}']);
  say({ pong: 1 });
  assert.equal(await wait(), 10);
  assert.equal(connection.state, "open");
  await wait();
  assert.equal(await wait(), 10);
  assert.equal(connection.state, "waiting");
});

test("uses a stream if WebSockets do not work", async () => {
  const { connection, lose, wait, exchange, take, sockets, time } = await rig(feed);
  lose(1006);
  assert.equal(connection.transport, "stream");
  await wait();
  assert.equal(exchange().headers.Accept, "text/event-stream");
  assert.equal(exchange().url.href, "https://here.example/live/");
  await exchange().answer(200, "text/event-stream; charset=utf-8");
  assert.equal(connection.state, "connecting"); // a proxy may hold back the rest
  await exchange().write("retry: 1000\n");
  assert.equal(connection.state, "open");
  await exchange().write('\nid: live=e%3A5\ndata: {"topic":"live","message":"é');
  await exchange().write('","id":"e:5"}\n\n:\n\nevent: recovered\ndata: {"topic":"live","recovered":true}\n\n');
  assert.deepEqual(take("message"), [{ topic: "live", id: "e:5", data: "é" }]);
  assert.deepEqual(connection.topics, ["live"]);
  // When it is lost, the better transport is tried again, with the known positions.
  await exchange().end();
  assert.equal(connection.transport, "websocket");
  await wait();
  assert.deepEqual(query(sockets[1].url), [["since", [["live", "e:5"]]]]);
  lose(1006);
  await wait();
  assert.deepEqual(query(exchange().url), [["since", [["live", "e:5"]]]]);
});

test("characters may be split between two pieces", async () => {
  const { exchange, take } = await streaming();
  const bytes = new TextEncoder().encode('data: {"topic":"t","message":"→"}\n\n');
  for (const byte of bytes) exchange()._body.enqueue(Uint8Array.of(byte));
  await settle();
  assert.equal(take("message")[0].data, "→");
});

test("a silent stream is closed, but not if it sends comments", async () => {
  const { connection, exchange, wait, time, ...more } = await streaming();
  assert.equal(await wait(), 45);
  assert.equal(connection.state, "waiting");
  assert.ok(exchange().aborted);

  const alive = await streaming();
  alive.time += 30;
  await alive.exchange().write(":\n\n");
  assert.equal(await alive.wait(), 15);
  assert.equal(alive.connection.state, "open");
  assert.equal(await alive.wait(), 30);
  assert.equal(alive.connection.state, "waiting");
});

test("a stream announces its heartbeat", async () => {
  const { exchange, wait, connection } = await rig(feed, STREAM);
  await exchange().answer(200, "text/event-stream");
  await exchange().write("retry: 1000\n: heartbeat 4.5\n\n");
  assert.equal(connection.state, "open");
  assert.equal(await wait(), 13.5);
  assert.equal(connection.state, "waiting");
});

test("a stream that only asks to reconnect later was never open", async () => {
  const { exchange, wait, states } = await rig(feed, STREAM);
  await exchange().answer(200, "text/event-stream");
  await exchange().write(
    'retry: 6000\n\nevent: close\ndata: {"code":1013,"reason":"full","after":5}\n\n',
  );
  assert.deepEqual(states(), ["connecting", "waiting"]);
  assert.equal(await wait(), 6);
});

test("it waits at most an hour for a server that asks for more", async () => {
  const { exchange, wait } = await rig(feed, { ...STREAM, environment: {} });
  await exchange().answer(503, "text/plain", { "Retry-After": "99999999" });
  assert.equal(await wait(), 3601);
});

test("the server closes a stream with a code", async () => {
  for (const [code, state] of [[1001, "waiting"], [4401, "refused"], [1000, "closed"]]) {
    const { connection, exchange, take } = await streaming();
    await exchange().write(`event: close\ndata: {"code":${code},"reason":"why"}\n\n`);
    assert.equal(connection.state, state);
    const { code: told, reason } = take("state").at(-1);
    assert.deepEqual([told, reason], [code, "why"]);
    assert.ok(exchange().aborted);
  }
});

test("invalid data in a stream ends the attempt", async () => {
  const { connection, exchange } = await streaming();
  await exchange().write("data: {\n\n");
  assert.equal(connection.state, "waiting");
});

test("a refusal is final and has its status", async () => {
  for (const transports of [STREAM, POLL]) {
    for (const status of [400, 401, 403, 404, 406]) {
      const { connection, exchange, take, timers } = await rig(feed, transports);
      await exchange().answer(status, "text/plain");
      assert.equal(connection.state, "refused");
      assert.equal(take("state").at(-1).code, status);
      assert.deepEqual(timers, []);
    }
    const { connection, exchange } = await rig(feed, transports);
    await exchange().answer(200, "text/html"); // a login page
    assert.equal(connection.state, "refused");
  }
});

test("it waits for as long as a busy server asks", async () => {
  for (const transports of [STREAM, POLL]) {
    for (const status of [429, 500, 503]) {
      const { connection, exchange, wait } = await rig(feed, transports, { random: 0.5 });
      await exchange().answer(status, "text/plain", { "Retry-After": "3" });
      assert.equal(connection.state, "waiting");
      assert.equal(await wait(), 3.5);
    }
  }
});

test("opens another stream when topics change", async () => {
  const { connection, exchange, exchanges } = await streaming({ topics: ["a"] });
  await exchange().write('event: recovered\ndata: {"topic":"a","recovered":false,"id":"e:1"}\n\n');
  connection.subscribe("b");
  connection.subscribe("c");
  await settle();
  assert.ok(exchanges[0].aborted);
  assert.equal(exchanges.length, 2, "one for all changes of a moment");
  assert.deepEqual(query(exchange().url), [
    ["topic", "a"],
    ["topic", "b"],
    ["topic", "c"],
    ["since", [["a", "e:1"]]],
  ]);
  connection.subscribe("d");
  connection.close();
  await settle();
  assert.equal(exchanges.length, 2);
});

test("close() ends a stream", async () => {
  const { connection, exchange, take, timers } = await streaming();
  connection.close();
  await settle();
  assert.ok(exchange().aborted);
  assert.equal(connection.state, "closed");
  assert.deepEqual(timers, []);
  assert.deepEqual(take("state").at(-1), { state: "closed", code: 1000, reason: "" });
});

test("polls if nothing else works", async () => {
  const { connection, exchange, wait, lose, take } = await rig(feed);
  lose(1006);
  await wait();
  await exchange().fail();
  assert.equal(connection.transport, "poll");
  await wait();
  assert.equal(exchange().headers.Prefer, "wait=0");
  assert.equal(exchange().headers.Accept, "application/json");
  await exchange().json({ topics: [{ topic: "t", recovered: false, id: "e:4" }], messages: [] });
  assert.equal(connection.state, "open");
  assert.deepEqual(connection.topics, ["t"]);
  assert.equal(exchange().headers.Prefer, "wait=25");
  assert.deepEqual(query(exchange().url), [["since", [["t", "e:4"]]]]);
  await exchange().json({
    topics: [{ topic: "t", recovered: true, id: "e:4" }],
    messages: [
      { topic: "t", message: "x", id: "e:5" },
      { topic: "t", message: "y", id: "e:6" },
    ],
  });
  assert.deepEqual(take("message").map(({ data }) => data), ["x", "y"]);
  assert.deepEqual(query(exchange().url), [["since", [["t", "e:6"]]]]);
});

test("pauses after a poll with an immediate, empty answer", async () => {
  const { exchange, exchanges, wait } = await rig(feed, POLL);
  await exchange().json({ topics: [], messages: [] });
  await exchange().json({ topics: [], messages: [] });
  assert.equal(exchanges.length, 2);
  assert.equal(await wait(), 1);
  assert.equal(exchanges.length, 3);
});

test("a poll without an answer ends after a timeout", async () => {
  const { connection, exchange, exchanges, wait } = await rig(feed, POLL);
  await exchange().json({ topics: [], messages: [] });
  assert.equal(await wait(), 35);
  assert.equal(connection.state, "waiting");
  assert.ok(exchange().aborted);
  await wait();
  assert.equal(exchanges.length, 3);
});

test("close() ends polling, also in a pause", async () => {
  for (const empty of [0, 1]) {
    const { connection, exchange, timers } = await rig(feed, POLL);
    await exchange().json({ topics: [], messages: [] });
    if (empty) await exchange().json({ topics: [], messages: [] });
    connection.close();
    await settle();
    assert.ok(exchange().aborted);
    assert.deepEqual(timers, []);
  }
});

test("a transport that has worked is not given up at the first failure", async () => {
  const { connection, accept, lose, wait } = await rig(feed);
  accept();
  lose(1006);
  for (let i = 0; i < 2; i++) {
    await wait();
    lose(1006);
    assert.equal(connection.transport, "websocket");
  }
  await wait();
  lose(1006);
  assert.equal(connection.transport, "stream");
});

test("a transport is not given up while there is no network", async () => {
  const offline = await rig(feed);
  offline.online = false;
  for (let i = 0; i < 5; i++) {
    offline.lose(1006);
    await offline.wait();
  }
  assert.equal(offline.connection.transport, "websocket");
});

test("a browser without WebSocket begins with a stream", async () => {
  const { connection } = await rig(feed, { environment: { WebSocket: undefined } });
  assert.equal(connection.transport, "stream");
  const neither = await rig(feed, { environment: { WebSocket: undefined, fetch: undefined } });
  assert.equal(neither.connection.state, "refused");
});
