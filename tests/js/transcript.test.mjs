import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const file = "../../django_project/chat/static/chat/transcript.js";
const text = readFileSync(new URL(file, import.meta.url)).toString("base64");
const { DEPTH, Transcript, parse } = await import(`data:text/javascript;base64,${text}`);

const said = (number, name = "ada") => ({ name, text: `message ${number}`, id: `${name}-${number}` });
const many = (count, from = 0) => Array.from({ length: count }, (_, at) => said(from + at));

test("the first buffer is new, and nothing is missing before it", () => {
  const { fresh, unsent, gap } = new Transcript().merge(many(DEPTH));
  assert.deepEqual([fresh, unsent, gap], [many(DEPTH), [], false]);
});

test("what was seen before the pause is not shown again", () => {
  const transcript = new Transcript();
  transcript.merge(many(3));
  assert.equal(transcript.take(said(3)), true);
  assert.equal(transcript.take(said(3)), false);
  const { fresh, gap } = transcript.merge(many(6));
  assert.deepEqual([fresh, gap], [many(2, 4), false]);
});

test("more was missed than the room remembers", () => {
  const transcript = new Transcript();
  transcript.merge(many(3));
  assert.equal(transcript.merge(many(DEPTH, 3)).gap, true);
});

test("a room that forgot hides nothing", () => {
  const transcript = new Transcript();
  transcript.merge(many(3));
  assert.equal(transcript.merge(many(2, 10)).gap, false);
  assert.equal(transcript.merge([]).gap, false);
});

test("of our own messages those are sent again that did not arrive", () => {
  const transcript = new Transcript();
  transcript.merge(many(2));
  transcript.say(said(1, "grace"));
  transcript.say(said(2, "grace"));
  const first = transcript.merge([...many(2), said(1, "grace")]);
  assert.deepEqual(first, { fresh: [], unsent: [said(2, "grace")], gap: false });
  const second = transcript.merge([...many(2), said(1, "grace"), said(2, "grace")]);
  assert.deepEqual(second, { fresh: [], unsent: [], gap: false });
});

test("one that newer messages pushed out is not sent again", () => {
  const transcript = new Transcript();
  transcript.say(said(1, "grace"));
  assert.deepEqual(transcript.merge(many(DEPTH)).unsent, []);
  assert.deepEqual(transcript.merge([]).unsent, []); // nor later
});

test("one that is missing although older ones are there is sent again", () => {
  const transcript = new Transcript();
  transcript.merge(many(1));
  transcript.say(said(1, "grace"));
  assert.deepEqual(transcript.merge(many(DEPTH)).unsent, [said(1, "grace")]);
});

test("programs give no ids: name and text stand for them", () => {
  const transcript = new Transcript();
  const { id, ...plain } = said(1);
  transcript.merge([plain]);
  const other = { ...plain, name: "alan" };
  assert.deepEqual(transcript.merge([plain, other]).fresh, [other]);
});

test("frames", () => {
  const hello = { name: "ada", text: "hi", id: undefined };
  assert.deepEqual(parse('{"message": ["ada", "hi"]}'), { kind: "message", message: hello });
  assert.deepEqual(parse('{"message": ["ada", "hi"], "id": "7"}').message.id, "7");
  assert.deepEqual(parse('{"buffer": [{"message": ["ada", "hi"]}]}').messages, [hello]);
  assert.deepEqual(parse('{"buffer": []}').messages, []);
  assert.equal(parse('{"announcement": "ada connected"}').text, "ada connected");
  for (const frame of ['{"pong": 0}', "hello", "7", "null", '{"message": 7}', new ArrayBuffer(2)]) {
    assert.equal(parse(frame), null);
  }
});
