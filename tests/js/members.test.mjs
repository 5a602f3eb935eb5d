import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const file = "../../django_project/chat/static/chat/members.js";
const text = readFileSync(new URL(file, import.meta.url)).toString("base64");
const { Members } = await import(`data:text/javascript;base64,${text}`);

test("members join and leave", () => {
  const members = new Members();
  members.replace(["ada", "alan"], 2);
  members.joined("grace");
  members.joined("grace");
  members.left("alan");
  assert.equal(String(members), "ada, grace");
  assert.equal(members.count, 2);
});

test("a list that the server has limited", () => {
  const members = new Members();
  members.replace(["ada"], 1000);
  assert.equal(String(members), "ada and 999 others");
  members.left("alan"); // not in the list
  assert.equal(members.count, 999);
  members.joined("grace");
  assert.equal(String(members), "ada, grace and 998 others");
});
