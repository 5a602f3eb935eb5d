// The page says by its socket's URL what it wants to hear; a change of the wishes is a new socket.

import { socket } from "../c10k/c10k.mjs";

const HEARTBEAT = "--heartbeat--"; // as C10K["AUDIENCE_HEARTBEAT"]; c10k.js misses it if it stays away
const SHOWN = 100; // messages that stay on the page

const element = (id) => document.getElementById(id);
const wishes = element("wishes");
const facility = element("facility");
const log = element("log");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

let connection = null;

function connect() {
  if (!wishes.checkValidity()) return;
  const boxes = wishes.querySelectorAll("input[type=checkbox]:checked:not(:disabled)");
  const path = `/ws/${facility.value}?${[...boxes].map((box) => box.name).join("&")}`;
  showUrl(path);
  element("publish").elements.facility.value = facility.value;
  connection?.close();
  const current = socket(path, { heartbeat: HEARTBEAT });
  connection = current;
  current.addEventListener("message", ({ data }) => data !== HEARTBEAT && show(data, "received"));
  current.addEventListener("state", (event) => current === connection && showState(event));
}

/** It may be broken after an "&" only. */
function showUrl(path) {
  const parts = path.split(/(?<=&)/).flatMap((part) => [part, document.createElement("wbr")]);
  element("url").replaceChildren(...parts);
}

function show(text, way) {
  const item = document.createElement("li");
  item.className = way;
  const body = document.createElement("span");
  body.textContent = typeof text === "string" ? text : `${text.byteLength} bytes`;
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = clock.format(now);
  item.append(body, time);
  log.prepend(item);
  while (log.childElementCount > SHOWN) log.lastElementChild.remove();
}

function showState({ state }) {
  const names = { connecting: "Connecting", open: "Connected", waiting: "Reconnecting" };
  element("link").dataset.state = state === "closed" ? "ended" : state;
  element("link").textContent = names[state] ?? "Disconnected";
}

function say() {
  const field = element("said");
  if (!connection.send(field.value)) return;
  show(field.value, "sent");
  field.value = "";
}

async function publish(form) {
  const body = new FormData(form);
  const field = form.elements.message;
  field.value = "";
  let answer = { error: "The server did not answer: try again." };
  try {
    const headers = { Accept: "application/json" };
    answer = await (await fetch("", { method: "POST", body, headers })).json();
  } catch {
    // As answered.
  }
  if (answer.error) field.value ||= body.get("message"); // for another try
  element("receipt").textContent = told(answer);
}

function told({ error, nodes, connections }) {
  if (error) return error;
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  return `Published on ${plural(nodes, "node")}, to ${plural(connections, "connection")} of the one that answered.`;
}

function nameIsNeeded() {
  const needed = ["user", "group"].includes(element("to").value);
  element("name").disabled = !needed;
  element("name").required = needed;
}

function on(id, event, call) {
  element(id).addEventListener(event, (happened) => {
    if (event === "submit") happened.preventDefault();
    call(happened.currentTarget);
  });
}

on("wishes", "change", connect);
on("wishes", "submit", connect);
on("say", "submit", say);
on("publish", "submit", publish);
on("to", "change", nameIsNeeded);
nameIsNeeded();
connect();
