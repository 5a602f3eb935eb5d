import assert from "node:assert/strict";
import { test } from "node:test";

import { delta, snapshot } from "./frames.mjs";
import { Board, MalformedFrame, OLD, decode } from "./page.mjs";

function boardOf(...frames) {
  const board = new Board();
  for (const frame of frames) board.apply(decode(frame));
  return board;
}

test("there is no game before the first snapshot", () => {
  const board = new Board();
  assert.equal(board.size, 0);
  assert.throws(() => board.apply(decode(delta(1, [[0, 1]]))), MalformedFrame);
});

test("changes are applied to the board of a snapshot", () => {
  const board = boardOf(snapshot(2, 7, [1, 0, 0, 1]), delta(8, [[1, 1], [0, 0]]), delta(9, []));
  assert.deepEqual([...board.states], [0, 1, 0, 1]);
  assert.equal(board.step, 9);
  assert.equal(board.alive, 2);
  assert.deepEqual([...board.stamps], [8, 8, 7 - OLD, 7 - OLD].map((step) => step >>> 0));
});

test("if a delta names a cell twice, the last state is used", () => {
  const board = boardOf(snapshot(2, 0, [0, 0, 0, 0]), delta(2, [[3, 1], [3, 0], [2, 1]]));
  assert.deepEqual([...board.states], [0, 0, 1, 0]);
  assert.equal(board.alive, 1);
});

test("a delta with a cell outside the board changes nothing", () => {
  const board = boardOf(snapshot(2, 0, [0, 0, 0, 0]));
  assert.throws(() => board.apply(decode(delta(1, [[0, 1], [4, 1]]))), MalformedFrame);
  assert.deepEqual([...board.states], [0, 0, 0, 0]);
  assert.equal(board.step, 0);
});

test("a snapshot of another size replaces the board", () => {
  const board = boardOf(snapshot(2, 9, [1, 1, 1, 1]), snapshot(3, 0, Array(9).fill(0)));
  assert.equal(board.size, 3);
  assert.equal(board.step, 0);
  assert.equal(board.alive, 0);
});

test("a later snapshot of the same game keeps the steps of known changes", () => {
  const board = boardOf(
    snapshot(2, 0, [0, 0, 0, 0]),
    delta(30, [[0, 1]]),
    snapshot(2, 40, [1, 1, 0, 0]),
  );
  assert.deepEqual([...board.stamps.slice(0, 2)], [30, 40]);
  assert.equal(board.alive, 2);
});

test("a snapshot of size 0 ends the game", () => {
  assert.equal(boardOf(snapshot(2, 9, [1, 1, 1, 1]), snapshot(0, 0, [])).alive, 0);
});
