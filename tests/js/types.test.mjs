// The JSDoc of c10k.js has the type of each parameter, for editors and TypeScript. Only TypeScript can
// check that the types are consistent (npx -p typescript tsc --checkJs --allowJs --strict --noEmit
// --target es2022 --lib es2022,dom cluster/django/static/c10k/c10k.js); the tests do not need it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const SOURCE = new URL("../../cluster/django/static/c10k/c10k.js", import.meta.url);
const DECLARATION =
  /^ +(?:static |async )*(?:function )?(#?\w+)\(([^()]*(?:\([^()]*\)[^()]*)*)\) \{$/;
const STATEMENTS = new Set(["if", "for", "while", "switch", "catch"]);

/** Each function and method with parameters, and the lines before it. */
function* declarations() {
  const lines = readFileSync(SOURCE, "utf8").split("\n");
  for (const [index, line] of lines.entries()) {
    const found = DECLARATION.exec(line);
    if (!found || STATEMENTS.has(found[1]) || !found[2]) continue;
    let first = index;
    if (lines[index - 1].trim().endsWith("*/")) {
      do first -= 1;
      while (!lines[first].trim().startsWith("/**"));
    }
    yield { name: found[1], taken: found[2], comment: lines.slice(first, index).join("\n") };
  }
}

/** The names in a list of parameters, without destructured ones. */
function names(taken) {
  return taken
    .replace(/\{[^{}]*\}/g, "")
    .split(",")
    .map((each) => each.split("=")[0].trim())
    .filter(Boolean);
}

test("each parameter has its type", () => {
  const known = new Set();
  const untyped = [];
  for (const { name, taken, comment } of declarations()) {
    known.add(name);
    for (const parameter of names(taken)) {
      const said = new RegExp(`@param \\{.+\\} \\[?${parameter}\\b`);
      if (!said.test(comment)) untyped.push(`${name}: ${parameter}`);
    }
  }
  for (const name of ["close", "send", "subscribe", "unsubscribe", "constructor"]) {
    assert.ok(known.has(name), `${name} has not been found`);
  }
  assert.deepEqual(untyped, []);
});
