import assert from "node:assert/strict";
import { test } from "node:test";

import { MalformedFrame, decode, decodeProgress } from "./page.mjs";
import { delta, snapshot } from "./frames.mjs";

test("in a snapshot, bit i of byte b is cell 8*b + i", () => {
  const states = new Uint8Array(9);
  states[0] = states[3] = states[8] = 1;
  const buffer = snapshot(3, 70000, states);
  assert.deepEqual([...new Uint8Array(buffer)], [0x53, 3, 0, 0x70, 0x11, 1, 0, 0b1001, 1]);
  assert.deepEqual(decode(buffer), { kind: "snapshot", size: 3, step: 70000, states });
});

test("a snapshot without a game is decoded", () => {
  const read = decode(snapshot(0, 0, []));
  assert.equal(read.size, 0);
  assert.equal(read.states.length, 0);
});

test("the largest snapshot is decoded", () => {
  assert.equal(decode(snapshot(1000, 1, new Uint8Array(1e6).fill(1))).states.at(-1), 1);
});

test("a delta is decoded", () => {
  const read = decode(delta(2 ** 32 - 1, [[5, 1], [999999, 0]]));
  assert.equal(read.kind, "delta");
  assert.equal(read.step, 2 ** 32 - 1);
  assert.deepEqual([...read.cells], [5, 999999]);
  assert.deepEqual([...read.states], [1, 0]);
});

test("a delta without changes is decoded", () => {
  assert.equal(decode(delta(3, [])).cells.length, 0);
});

test("a frame that is too short or too long is malformed", () => {
  for (const whole of [snapshot(5, 1, new Uint8Array(25)), delta(1, [[0, 1], [1, 1]])]) {
    for (let length = 0; length < whole.byteLength; length++) {
      assert.throws(() => decode(whole.slice(0, length)), MalformedFrame);
    }
    const longer = new Uint8Array(whole.byteLength + 1);
    longer.set(new Uint8Array(whole));
    assert.throws(() => decode(longer.buffer), MalformedFrame);
  }
});

test("unknown types, boards that are too large and wrong counts are malformed", () => {
  assert.throws(() => decode(new Uint8Array([0x58, 0, 0]).buffer), MalformedFrame);
  assert.throws(() => decode(snapshot(1001, 1, new Uint8Array(1001 * 1001))), MalformedFrame);
  const lying = delta(1, []);
  new DataView(lying).setUint32(5, 2 ** 32 - 1, true);
  assert.throws(() => decode(lying), MalformedFrame);
});

test("progress has the known keys, with valid numbers", () => {
  assert.deepEqual(
    decodeProgress('{"phase": "gathering", "size": 32, "connected": 5, "subscribed": -1, "new": []}'),
    { phase: "gathering", size: 32, connected: 5, subscribed: 0, needed: 0, lost: [], why: "" },
  );
  const text = '{"phase": "over", "lost": {"node2": 256, "node3": 0, "node1": "x"}, "why": "late"}';
  const { lost, why } = decodeProgress(text);
  assert.deepEqual([lost, why], [[["node2", 256]], "late"]);
});

test("messages that are not progress are ignored", () => {
  for (const text of ["", "{", "null", "[]", "7", '"idle"', "{}", '{"phase": "dancing"}']) {
    assert.equal(decodeProgress(text), null);
  }
});
