// The URL of the WebSocket names what the page subscribes and publishes to. When the user changes
// the form, the page opens a new WebSocket.

import { socket } from "../c10k/c10k.mjs";
import { addOnTop, element, publish, showState, textOf } from "../django_project/page.js";

const HEARTBEAT = "--heartbeat--"; // as C10K["AUDIENCE_HEARTBEAT"]; without it c10k.js reconnects

const requested = element("requested");
const facility = element("facility");
const log = element("log");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

let connection = null;

function connect() {
  if (!requested.checkValidity()) return;
  const boxes = requested.querySelectorAll("input[type=checkbox]:checked:not(:disabled)");
  const path = `/ws/${facility.value}?${[...boxes].map((box) => box.name).join("&")}`;
  showUrl(path);
  element("publish").elements.facility.value = facility.value;
  connection?.close();
  const current = socket(path, { heartbeat: HEARTBEAT });
  connection = current;
  current.addEventListener("message", ({ data }) => data !== HEARTBEAT && show(data, "received"));
  current.addEventListener("state", (event) => current === connection && showState(event));
}

/** Lines may break after an "&" only. */
function showUrl(path) {
  const parts = path.split(/(?<=&)/).flatMap((part) => [part, document.createElement("wbr")]);
  element("url").replaceChildren(...parts);
}

function show(text, way) {
  const item = document.createElement("li");
  item.className = way;
  const body = document.createElement("span");
  body.textContent = textOf(text);
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = clock.format(now);
  item.append(body, time);
  addOnTop(log, item);
}

function say() {
  const field = element("said");
  if (!connection?.send(field.value)) return;
  show(field.value, "sent");
  field.value = "";
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

on("requested", "change", connect);
on("requested", "submit", connect);
on("say", "submit", say);
on("publish", "submit", publish);
on("to", "change", nameIsNeeded);
nameIsNeeded();
connect();
