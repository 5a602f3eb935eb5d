// The page of a room. It adds messages from the WebSocket to the transcript, and shows those that are
// new. Messages that are written without a connection are sent after the reconnect.

import { socket } from "../c10k/c10k.mjs";
import { element, showState } from "../django_project/page.js";
import { Transcript, parse } from "./transcript.js";

const PING = JSON.stringify({ ping: 0 }); // the handler answers

const list = element("messages");
const form = element("say");
const field = element("message");
const own = form.dataset.name;

const transcript = new Transcript();
const waiting = new Map(); // id → the remark beside the message, until the message is sent
let ready = false; // whether the room's newest messages have arrived on this connection
let first = true;

const connection = socket("ws/", { heartbeat: PING });
connection.addEventListener("message", (event) => receive(parse(event.data)));
connection.addEventListener("state", changed);

function receive(event) {
  if (event?.kind === "message" && transcript.take(event.message)) show(event.message);
  else if (event?.kind === "announcement") note(event.text);
  else if (event?.kind === "buffer") catchUp(event.messages);
}

function catchUp(messages) {
  const { fresh, unsent, gap } = transcript.merge(messages);
  if (gap) note("Some messages were missed.", "gap");
  else if (!first && fresh.length) note("While you were away:");
  fresh.forEach(show);
  first = false;
  ready = true;
  unsent.forEach(send);
}

function say(text) {
  const message = { name: own, text, id: crypto.randomUUID?.() ?? `${Math.random()}${Date.now()}` };
  transcript.say(message);
  const item = show(message);
  const remark = document.createElement("span");
  remark.className = "fate";
  remark.textContent = "Sent when the connection is back";
  waiting.set(message.id, remark);
  if (ready) send(message);
  else item.append(remark);
  list.scrollTop = list.scrollHeight;
}

function send({ text, id }) {
  if (!connection.send(JSON.stringify({ message: text, id }))) return;
  waiting.get(id)?.remove();
  waiting.delete(id);
}

function show({ name, text }) {
  const item = document.createElement("li");
  item.className = name === own ? "said own" : "said";
  if (list.lastElementChild?.dataset.name === name) item.classList.add("again");
  item.dataset.name = name;
  item.style.setProperty("--hue", hueOf(name));
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = name;
  const body = document.createElement("p");
  body.textContent = text;
  item.append(who, body);
  return append(item);
}

function note(text, kind = "") {
  const item = document.createElement("li");
  item.className = `note ${kind}`;
  item.textContent = text;
  return append(item);
}

/** Scroll to the end, unless the user has scrolled up to read older messages. */
function append(item) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  if (atEnd) list.scrollTop = list.scrollHeight;
  return item;
}

function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

function changed(event) {
  const { state, code, reason } = event;
  showState(event);
  if (state !== "open") ready = false;
  if (state === "refused") note(`Disconnected (${code}${reason && `, ${reason}`}). Reload the page.`);
}

function submit() {
  if (field.value.trim()) say(field.value);
  field.value = "";
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
new ResizeObserver(() => (list.scrollTop = list.scrollHeight)).observe(list);
element("send").disabled = false;
