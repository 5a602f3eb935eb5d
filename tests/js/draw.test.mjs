import assert from "node:assert/strict";
import { test } from "node:test";

import { OLD, hueOf, paletteOf, rgbOf, sideFor } from "./page.mjs";

const lightness = ([red, green, blue]) => (Math.max(red, green, blue) + Math.min(red, green, blue)) / 510;

function colours(step, scheme, still) {
  const bytes = new Uint8Array(paletteOf(step, scheme, still).buffer);
  return Array.from({ length: bytes.length / 4 }, (_, i) => [...bytes.slice(i * 4, i * 4 + 4)]);
}

test("hsl() is converted to RGB", () => {
  assert.deepEqual(rgbOf(0, 100, 50), [255, 0, 0]);
  assert.deepEqual(rgbOf(120, 100, 25), [0, 128, 0]);
  assert.deepEqual(rgbOf(240, 100, 75), [128, 128, 255]);
  assert.deepEqual(rgbOf(77, 0, 100), [255, 255, 255]);
});

test("the hue increases by 20 degrees per step, modulo 256", () => {
  assert.deepEqual([0, 1, 12, 13, 64].map(hueOf), [0, 20, 240, 4, 0]);
  assert.equal(hueOf(2 ** 32 - 1), 236);
});

test("alive is dark and dead is light, in every step, age and scheme", () => {
  for (const scheme of ["light", "dark"]) {
    for (const still of [false, true]) {
      for (let step = 0; step < 70; step++) {
        colours(step, scheme, still).forEach((colour, i) => {
          assert.equal(colour[3], 255);
          if (i % 2) assert.ok(lightness(colour) < 0.35);
          else assert.ok(lightness(colour) > 0.6);
        });
      }
    }
  }
});

test("new changes differ between steps, and from old changes", () => {
  assert.notDeepEqual(colours(1, "light", false)[1], colours(2, "light", false)[1]);
  assert.notDeepEqual(colours(1, "light", false)[1], colours(1, "light", false)[OLD * 2 + 1]);
});

test("a change keeps its hue while it ages", () => {
  // One step after a change in step 40, the colour is still nearer to that of step 40 than to red.
  const [red, , blue] = colours(52, "light", false)[12 * 2 + 1];
  assert.equal(hueOf(40), 32);
  assert.ok(red > blue);
});

test("with reduced motion, alive and dead have one colour each in all steps", () => {
  const all = [1, 2, 50].flatMap((step) => colours(step, "dark", true).map(String));
  assert.equal(new Set(all).size, 2);
});

test("cells have whole pixels if that leaves little room empty", () => {
  assert.equal(sideFor(32, 736), 736);
  assert.equal(sideFor(32, 740), 736);
  assert.equal(sideFor(100, 736), 700);
  assert.equal(sideFor(300, 736), 736); // 600 would waste too much
  assert.equal(sideFor(1000, 736), 736);
});
