// The page's modules, as in the browser. Node treats .js files without a package.json as CommonJS, and
// also the modules that they import, so each module is loaded from its text.

import { readFileSync } from "node:fs";

const folder = new URL("../../django_project/gameoflife/static/gameoflife/", import.meta.url);
const addresses = new Map();

function address(name) {
  if (!addresses.has(name)) {
    const text = readFileSync(new URL(name, folder), "utf8");
    const linked = text.replace(/from "\.\/([a-z]+\.js)"/g, (_, other) => `from "${address(other)}"`);
    const encoded = Buffer.from(linked).toString("base64");
    addresses.set(name, `data:text/javascript;base64,${encoded}`);
  }
  return addresses.get(name);
}

export const { MalformedFrame, decode, decodeProgress } = await import(address("decode.js"));
export const { Board, OLD } = await import(address("board.js"));
export const { Rate } = await import(address("rate.js"));
export const { Connection } = await import(address("connection.js"));
export const { hueOf, paletteOf, rgbOf, sideFor } = await import(address("draw.js"));
