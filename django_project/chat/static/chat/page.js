// The page of a room. It adds messages from the WebSocket to the list, and shows those that are new.
// Messages that are written without a connection are sent after the reconnect.

import { socket } from "../c10k/c10k.mjs";
import { element, showState } from "../django_project/page.js";
import { Members } from "./members.js";
import { Transcript, parse } from "./transcript.js";

const PING = JSON.stringify({ ping: 0 }); // the handler answers
const SESSION_ENDED = 4401;

const list = element("messages");
const form = element("say");
const field = element("message");
const own = form.dataset.name;
const title = document.title;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

const transcript = new Transcript();
const members = new Members();
const fates = new Map(); // id → the remark beside our own message, until it is sent
let ready = false; // whether the room's newest messages have arrived on this connection
let first = true;
let unread = 0;

const connection = socket("ws/?members=1", { heartbeat: PING });
connection.addEventListener("message", (event) => receive(parse(event.data)));
connection.addEventListener("state", changed);

function receive(event) {
  if (event?.kind === "message") take(event.message);
  else if (event?.kind === "announcement") announce(event);
  else if (event?.kind === "buffer") catchUp(event.messages);
  else if (event?.kind === "members") {
    members.replace(event.names, event.count);
    showMembers();
  }
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
  ready = true;
  unsent.forEach(send);
}

function announce({ text, joined, left }) {
  note(text);
  if (joined !== undefined) members.joined(joined);
  if (left !== undefined) members.left(left);
  showMembers();
}

function showMembers() {
  element("count").textContent = members.count;
  element("members").textContent = String(members);
  element("here").hidden = false;
}

function say(text) {
  const message = { name: own, text, id: crypto.randomUUID?.() ?? `${Math.random()}${Date.now()}` };
  transcript.say(message);
  const item = show({ ...message, at: Date.now() });
  item.classList.add("pending");
  const fate = document.createElement("span");
  fate.className = "fate";
  item.querySelector(".meta").append(fate);
  fates.set(message.id, fate);
  if (connection.state === "refused") lose(fate);
  else send(message);
  list.scrollTop = list.scrollHeight;
}

/** Send a message, or say that it waits; it is pending until the server sends it back. */
function send({ text, id }) {
  const isSent = ready && connection.send(JSON.stringify({ message: text, id }));
  const fate = fates.get(id);
  if (fate) fate.textContent = isSent ? "Sending" : "Sent when the connection is back";
}

function arrived({ id }) {
  const fate = fates.get(id);
  if (!fate) return;
  fates.delete(id);
  fate.closest("li").classList.remove("pending");
  fate.textContent = "Sent";
}

function lose(fate) {
  fate.textContent = "Not sent";
  fate.classList.add("lost");
}

function show({ name, text, at }) {
  const item = document.createElement("li");
  item.className = name === own ? "said own" : "said";
  if (list.lastElementChild?.dataset.name === name) item.classList.add("again");
  item.dataset.name = name;
  item.style.setProperty("--hue", hueOf(name));
  const who = document.createElement("span");
  who.className = "who";
  who.dir = "auto";
  who.textContent = name;
  const body = document.createElement("p");
  body.dir = "auto";
  body.textContent = text;
  const meta = document.createElement("span");
  meta.className = "meta";
  item.append(who, body, meta);
  if (at !== undefined) {
    const time = document.createElement("time");
    time.dateTime = new Date(at).toISOString();
    time.title = moment.format(at);
    time.textContent = clock.format(at);
    meta.append(time);
  }
  if (name !== own && !first) markUnread();
  return append(item);
}

function note(text, kind = "") {
  const item = document.createElement("li");
  item.className = `note ${kind}`;
  item.dir = "auto";
  item.textContent = text;
  return append(item);
}

/** Scroll to the end, unless the user has scrolled up to read older messages. */
function append(item) {
  const follows = isAtEnd();
  list.append(item);
  if (follows) list.scrollTop = list.scrollHeight;
  return item;
}

function isAtEnd() {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 40;
}

/** Mark where the new messages begin, if the user does not see them arrive. */
function markUnread() {
  if (!document.hidden && isAtEnd()) return;
  if (!unread) {
    list.querySelector(".unread")?.remove();
    note("New messages", "unread");
  }
  unread += 1;
  showUnread();
}

function showUnread() {
  document.title = unread ? `(${unread}) ${title}` : title;
  element("newer").hidden = !unread;
  element("newer").textContent = unread === 1 ? "1 new message" : `${unread} new messages`;
}

function seen() {
  if (document.hidden || !isAtEnd()) return;
  unread = 0;
  showUnread();
}

function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

function changed(event) {
  const { state, code, reason } = event;
  showState(event);
  if (state === "open") return;
  ready = false;
  if (state !== "refused") {
    transcript.pending.forEach(send);
    return;
  }
  fates.forEach(lose);
  field.disabled = element("send").disabled = true;
  if (code === SESSION_ENDED) {
    note("You have been logged out. Log in and reload this page to continue.", "gap");
  } else {
    note(`Disconnected (${code}${reason && `, ${reason}`}). Reload the page.`, "gap");
  }
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
list.addEventListener("scroll", seen);
document.addEventListener("visibilitychange", seen);
element("newer").addEventListener("click", () => (list.scrollTop = list.scrollHeight));
new ResizeObserver(() => (list.scrollTop = list.scrollHeight)).observe(list);
element("send").disabled = false;
