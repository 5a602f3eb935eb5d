import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const file = "../../django_project/chat/static/chat/transcript.js";
const text = readFileSync(new URL(file, import.meta.url)).toString("base64");
const { DEPTH, Transcript, parse } = await import(`data:text/javascript;base64,${text}`);

const said = (number, name = "ada") => ({ name, text: `message ${number}`, id: `${name}-${number}` });
const many = (count, from = 0) => Array.from({ length: count }, (_, at) => said(from + at));

test("all messages of the first buffer are new, and there is no gap", () => {
  const { fresh, unsent, gap } = new Transcript().merge(many(DEPTH));
  assert.deepEqual([fresh, unsent, gap], [many(DEPTH), [], false]);
});

test("known messages are not shown again after a reconnect", () => {
  const transcript = new Transcript();
  transcript.merge(many(3));
  assert.deepEqual(transcript.take(said(3)), { fresh: true, confirmed: false });
  assert.deepEqual(transcript.take(said(3)), { fresh: false, confirmed: false });
  const { fresh, gap } = transcript.merge(many(6));
  assert.deepEqual([fresh, gap], [many(2, 4), false]);
});

test("there is a gap if more messages were missed than the room keeps", () => {
  const transcript = new Transcript();
  transcript.merge(many(3));
  assert.equal(transcript.merge(many(DEPTH, 3)).gap, true);
});

test("there is no gap if the room has lost its messages", () => {
  const transcript = new Transcript();
  transcript.merge(many(3));
  assert.equal(transcript.merge(many(2, 10)).gap, false);
  assert.equal(transcript.merge([]).gap, false);
});

test("a message of our own is pending until the server sends it back", () => {
  const transcript = new Transcript();
  transcript.say(said(1, "grace"));
  assert.deepEqual(transcript.pending, [said(1, "grace")]);
  assert.deepEqual(transcript.take(said(1, "grace")), { fresh: false, confirmed: true });
  assert.deepEqual(transcript.pending, []);
  assert.deepEqual(transcript.take(said(1, "grace")), { fresh: false, confirmed: false });
});

test("our own messages that did not arrive are sent again", () => {
  const transcript = new Transcript();
  transcript.merge(many(2));
  transcript.say(said(1, "grace"));
  transcript.say(said(2, "grace"));
  const first = transcript.merge([...many(2), said(1, "grace")]);
  assert.deepEqual(first.confirmed, [said(1, "grace")]);
  assert.deepEqual([first.fresh, first.unsent, first.gap], [[], [said(2, "grace")], false]);
  const second = transcript.merge([...many(2), said(1, "grace"), said(2, "grace")]);
  assert.deepEqual(second.confirmed, [said(2, "grace")]);
  assert.deepEqual([second.fresh, second.unsent], [[], []]);
});

test("our own message is sent again whatever came meanwhile", () => {
  const transcript = new Transcript();
  transcript.merge(many(1));
  transcript.say(said(1, "grace"));
  assert.deepEqual(transcript.merge(many(DEPTH, 10)).unsent, [said(1, "grace")]);
  assert.deepEqual(transcript.merge(many(DEPTH, 30)).unsent, [said(1, "grace")]);
});

test("our own pending message is not a sign that messages were missed", () => {
  const transcript = new Transcript();
  transcript.say(said(1, "grace"));
  assert.equal(transcript.merge(many(DEPTH)).gap, false);
});

test("messages without ids are identified by name and text", () => {
  const transcript = new Transcript();
  const { id, ...plain } = said(1);
  transcript.merge([plain]);
  const other = { ...plain, name: "alan" };
  assert.deepEqual(transcript.merge([plain, other]).fresh, [other]);
});

test("frames are decoded", () => {
  const hello = { name: "ada", text: "hi", id: undefined, at: undefined };
  assert.deepEqual(parse('{"message": ["ada", "hi"]}'), { kind: "message", message: hello });
  assert.deepEqual(parse('{"message": ["ada", "hi"], "id": "7"}').message.id, "7");
  assert.deepEqual(parse('{"buffer": [{"message": ["ada", "hi"]}]}').messages, [hello]);
  assert.deepEqual(parse('{"buffer": []}').messages, []);
  assert.equal(parse('{"announcement": "ada connected"}').text, "ada connected");
  for (const frame of ['{"pong": 0}', "hello", "7", "null", '{"message": 7}', new ArrayBuffer(2)]) {
    assert.equal(parse(frame), null);
  }
});
