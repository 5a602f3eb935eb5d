// The live feed: it shows every message that is published to the topic, on any node.

import { feed } from "../c10k/c10k.mjs";
import { addOnTop, element, publish, showState, textOf } from "../django_project/page.js";

const list = element("feed");
const form = element("publish");

const WAYS = { websocket: ["websocket", "stream", "poll"], sse: ["stream", "poll"] };
const NAMES = { websocket: "WebSocket", stream: "Event stream", poll: "Polling" };

let connection = null;

function connect(transports) {
  connection?.close();
  list.replaceChildren(); // the server sends the retained messages again
  const current = feed("events/", { transports });
  connection = current;
  current.addEventListener("message", (event) => show(event.data));
  current.addEventListener("recovered", (event) => event.recovered || showGap());
  current.addEventListener("state", (event) => {
    if (current === connection) showState(event, NAMES[current.transport]);
  });
}

function show(text) {
  const item = document.createElement("li");
  item.textContent = textOf(text);
  item.className = "new";
  addOnTop(list, item);
}

function showGap() {
  const item = document.createElement("li");
  item.className = "gap";
  item.textContent = "Some messages were missed.";
  addOnTop(list, item);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  publish(form);
  form.elements.message.focus();
});
element("transport").addEventListener("change", (event) => connect(WAYS[event.target.value]));
connect(WAYS[form.ownerDocument.querySelector("#transport input:checked").value]);
