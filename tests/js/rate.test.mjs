import assert from "node:assert/strict";
import { test } from "node:test";

import { Rate } from "./page.mjs";

function played(perSecond, seconds) {
  const rate = new Rate();
  for (let step = 0; step <= perSecond * seconds; step++) rate.note(step, step / perSecond);
  return rate;
}

test("there is no rate before the second step", () => {
  const rate = new Rate();
  assert.equal(rate.perSecond(0), null);
  rate.note(5, 1);
  assert.equal(rate.perSecond(2), null);
});

test("the rate is correct for slow and fast games", () => {
  for (const perSecond of [0.5, 1, 10, 500]) {
    const measured = played(perSecond, 20).perSecond(20);
    assert.ok(Math.abs(measured / perSecond - 1) < 0.05, `${perSecond}: ${measured}`);
  }
});

test("the rate is constant between two steps and decreases when they stop", () => {
  const rate = played(1, 10);
  assert.equal(rate.perSecond(10.9), rate.perSecond(10));
  assert.ok(rate.perSecond(14) < rate.perSecond(10));
  assert.equal(rate.perSecond(16), 0);
});

test("another game resets the rate", () => {
  const rate = played(10, 10);
  rate.note(0, 11);
  assert.equal(rate.perSecond(11), null);
});

test("the time in which a game gathers its clients does not count", () => {
  const rate = new Rate();
  rate.note(0, 0);
  rate.note(1, 20);
  assert.equal(rate.perSecond(20), null);
  rate.note(2, 20.1);
  rate.note(3, 20.2);
  assert.ok(Math.abs(rate.perSecond(20.2) - 10) < 0.01);
});
