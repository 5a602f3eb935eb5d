import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

async function load(name) {
  const file = new URL(`../../django_project/topology/static/topology/${name}`, import.meta.url);
  return import(`data:text/javascript;base64,${readFileSync(file).toString("base64")}`);
}

const { Oracle, next } = await load("oracle.js");
const { NOBODY, Owners } = await load("owners.js");
const { Incidents } = await load("incidents.js");

const board = (step, ...rows) => ({
  size: rows.length,
  step,
  states: Uint8Array.from(rows.join(""), Number),
});
const BLINKER = ["00000", "00000", "01110", "00000", "00000"];
const TURNED = ["00000", "00100", "00100", "00100", "00000"];

test("the next generation, also around the edges of the torus", () => {
  assert.deepEqual(next(board(0, ...BLINKER).states, 5), board(1, ...TURNED).states);
  const across = board(0, "00000", "00000", "11001", "00000", "00000");
  const expected = board(1, "00000", "10000", "10000", "10000", "00000");
  assert.deepEqual(next(across.states, 5), expected.states);
});

test("each wrong cell is counted once", () => {
  const oracle = new Oracle();
  oracle.compare(board(7, ...BLINKER));
  oracle.compare(board(8, ...TURNED));
  assert.deepEqual([oracle.compared, oracle.wrong], [1, 0]);
  oracle.compare(board(11, ...BLINKER.with(0, "10000"))); // three steps later
  assert.deepEqual([oracle.compared, oracle.wrong], [2, 1]);
  oracle.compare(board(11, ...BLINKER));
  assert.deepEqual([oracle.compared, oracle.wrong], [2, 1]);
});

test("a new game begins with the states that its clients send", () => {
  const oracle = new Oracle();
  oracle.compare(board(9, ...BLINKER));
  oracle.compare(board(0, "00000", "00000", "00000", "00000", "00000"));
  oracle.compare(board(0, ...BLINKER));
  oracle.compare(board(1, ...TURNED));
  assert.deepEqual([oracle.compared, oracle.wrong], [1, 0]);
});

const message = (node, ...cells) => ({
  game: "g",
  node,
  cells: btoa(String.fromCharCode(cells.reduce((bits, cell) => bits | (1 << cell), 0))),
});

test("cells belong to the node that has named them last", () => {
  const owners = new Owners();
  assert.equal(owners.of(0), NOBODY);
  owners.take(message("node0", 0, 1));
  owners.take(message("node1", 2));
  assert.deepEqual([0, 1, 2, 3].map((cell) => owners.of(cell)), [0, 0, 1, NOBODY]);
  assert.equal(owners.lose("node0"), 2);
  assert.equal(owners.lose("node9"), 0);
  assert.equal(owners.of(0), NOBODY);
  owners.take(message("node1", 1, 2));
  assert.equal(owners.of(1), 1);
  owners.take(message("node1", 1));
  assert.equal(owners.of(2), NOBODY);
  owners.take({ ...message("node0", 3), game: "another" });
  assert.deepEqual([owners.of(1), owners.of(3)], [NOBODY, 0]);
});

test("what is reported of a node that was killed", () => {
  const reports = [];
  const incidents = new Incidents((text, level) => reports.push([text, level]));
  incidents.lost("node2", 7, 256, 10);
  incidents.lost("node2", 7, 256, 10.1);
  incidents.ready("node2", 7, 10.2); // its state is old
  incidents.complete(0, 99, 10.3);
  incidents.ready("node2", 8, 11.3);
  incidents.complete(0, 120, 12.5);
  incidents.complete(0, 121, 13);
  assert.deepEqual(reports, [
    ["node2 is dead: 256 cells have lost their connection", "bad"],
    ["node2 is back after 1.3 s", "good"],
    ["256 clients reconnected within 2.5 s; step 120, 0 wrong cells", "good"],
  ]);
});
