// The live feed: what is published appears here, whoever published it and on whatever node.

import { feed } from "../c10k/c10k.mjs";

const SHOWN = 100; // messages that stay on the page

const element = (id) => document.getElementById(id);
const list = element("feed");
const form = element("publish");

const WAYS = { websocket: ["websocket", "stream", "poll"], sse: ["stream", "poll"] };

let connection = null;

function connect(ways) {
  connection?.close();
  list.replaceChildren(); // what the topic keeps comes anew
  const current = feed("events/", { ways });
  connection = current;
  current.addEventListener("message", (event) => show(event.data));
  current.addEventListener("recovered", (event) => event.recovered || showGap());
  current.addEventListener("state", (event) => current === connection && showState(event));
}

function show(text) {
  const item = document.createElement("li");
  item.textContent = typeof text === "string" ? text : `${text.byteLength} bytes`;
  item.className = "new";
  add(item);
}

function showGap() {
  const item = document.createElement("li");
  item.className = "gap";
  item.textContent = "Some messages were missed.";
  add(item);
}

function add(item) {
  list.prepend(item);
  while (list.childElementCount > SHOWN) list.lastElementChild.remove();
}

function showState({ state, code, reason }) {
  const ways = { websocket: "WebSocket", stream: "Event stream", poll: "Polling" };
  const names = { connecting: "Connecting", open: ways[connection.way], waiting: "Reconnecting" };
  element("link").dataset.state = state === "closed" ? "ended" : state;
  element("link").textContent = names[state] ?? "Disconnected";
  if (state === "refused") element("link").title = `${code} ${reason}`;
}

async function publish() {
  const body = new FormData(form);
  const field = form.elements.message;
  field.value = "";
  field.focus();
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

form.addEventListener("submit", (event) => {
  event.preventDefault();
  publish();
});
element("transport").addEventListener("change", (event) => connect(WAYS[event.target.value]));
connect(WAYS[form.ownerDocument.querySelector("#transport input:checked").value]);
