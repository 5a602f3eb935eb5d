// The page of a room. The Socket.IO client reconnects by itself; messages are shown once, by their ids.
// Those that were written without a connection are sent after the reconnect.

import { Transcript, read } from "../chat/transcript.js";
import { element, showState } from "../django_project/page.js";

const WAIT_MS = 10_000; // for an acknowledgement

const list = element("messages");
const form = element("say");
const field = element("message");
const own = form.dataset.name;

const transcript = new Transcript();
const fates = new Map(); // id → the remark beside our own message, until it is confirmed
let first = true;

const socket = window.io({ auth: { room: form.dataset.room } });
socket.on("message", (said) => receive(read(said)));
socket.on("connect", connected);
socket.on("disconnect", (reason) => ended(reason, socket.active));
socket.on("connect_error", (error) => ended(error.message, socket.active));

function connected() {
  showState({ state: "open" });
  const { engine } = socket.io;
  const show = () => (element("transport").textContent = engine.transport.name);
  show();
  engine.once("upgrade", show);
}

/** The connection is lost; `active`: the client tries again. */
function ended(reason, active) {
  showState({ state: active ? "waiting" : "refused", code: "", reason });
  element("transport").textContent = "none";
  if (active) return;
  note(`Disconnected: ${reason}. Reload the page.`, "gap");
  field.disabled = element("send").disabled = true;
}

function receive(event) {
  if (event?.kind === "message") take(event.message);
  else if (event?.kind === "announcement") note(event.text);
  else if (event?.kind === "buffer") catchUp(event.messages);
}

function take(message) {
  const { fresh, confirmed } = transcript.take(message);
  if (confirmed) arrived(message);
  if (fresh) show(message);
}

function catchUp(messages) {
  const { fresh, confirmed, unsent, gap } = transcript.merge(messages);
  confirmed.forEach(arrived);
  if (gap) note("Some messages were missed.", "gap");
  else if (!first && fresh.length) note("While you were away:");
  fresh.forEach(show);
  first = false;
  unsent.forEach(send);
}

function say(text) {
  const message = { name: own, text, id: crypto.randomUUID?.() ?? `${Math.random()}${Date.now()}` };
  transcript.say(message);
  const item = show(message);
  item.classList.add("pending");
  const fate = item.querySelector(".fate");
  fates.set(message.id, fate);
  if (socket.connected) send(message);
  else fate.textContent = "Sent when the connection is back";
}

async function send({ text, id }) {
  const fate = fates.get(id);
  if (fate) fate.textContent = "Sending";
  try {
    const answer = await socket.timeout(WAIT_MS).emitWithAck("message", { message: text, id });
    if (answer?.error) lose(id, answer.error);
  } catch {
    // After the reconnect it is sent again, unless the room's newest messages include it.
    if (fates.has(id)) fate.textContent = "Sent when the connection is back";
  }
}

function arrived({ id }) {
  const fate = fates.get(id);
  if (!fate) return;
  fates.delete(id);
  fate.closest("li").classList.remove("pending");
  fate.textContent = "Sent";
}

function lose(id, why) {
  const fate = fates.get(id);
  if (!fate) return;
  fate.textContent = `Not sent: ${why}`;
  fate.classList.add("lost");
}

function show({ name, text }) {
  const item = document.createElement("li");
  item.className = name === own ? "said own" : "said";
  if (list.lastElementChild?.dataset.name === name) item.classList.add("again");
  item.dataset.name = name;
  item.style.setProperty("--hue", hueOf(name));
  item.append(part("span", "who", name), part("p", "", text), part("span", "meta", ""));
  item.lastElementChild.append(part("span", "fate", ""));
  return append(item);
}

function part(tag, kind, text) {
  const made = document.createElement(tag);
  made.className = kind;
  made.dir = "auto";
  made.textContent = text;
  return made;
}

function note(text, kind = "") {
  return append(part("li", `note ${kind}`, text));
}

/** Scroll to the end, unless the user has scrolled up to read older messages. */
function append(item) {
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  if (follows) list.scrollTop = list.scrollHeight;
  return item;
}

function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

function submit() {
  if (field.value.trim()) say(field.value);
  field.value = "";
  field.focus();
  list.scrollTop = list.scrollHeight;
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
