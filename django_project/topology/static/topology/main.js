// The page: the game by the watcher's WebSocket, the owners of its cells by another one, and the map
// from the status that it loads every second.

import { socket } from "../c10k/c10k.mjs";
import { element, showState } from "../django_project/page.js";
import { Board } from "../gameoflife/board.js";
import { MalformedFrame, decode, decodeProgress } from "../gameoflife/decode.js";
import { Incidents } from "./incidents.js";
import { Oracle } from "./oracle.js";
import { Owners } from "./owners.js";
import { paint, tintOf } from "./paint.js";

const STATUS_MS = 1000;
const TOKEN = "c10k token"; // in the session's storage

const board = new Board();
const oracle = new Oracle();
const owners = new Owners();
const incidents = new Incidents(log);
const seconds = () => performance.now() / 1000;

let progress = { phase: "idle", connected: 0, needed: 0 };
let frame = null;
const token = takeToken();

// The token stays out of the address, where it would be copied along.
function takeToken() {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  if (given !== null) {
    sessionStorage.setItem(TOKEN, given);
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }
  return sessionStorage.getItem(TOKEN) ?? "";
}

const watcher = socket("../watcher/", { protocols: ["life.v2.bin"], onmessage: receive, onstate: showState });

function receive({ data }) {
  if (typeof data === "string") progress = decodeProgress(data) ?? progress;
  else {
    try {
      board.apply(decode(data));
    } catch (error) {
      if (!(error instanceof MalformedFrame)) throw error;
      watcher.close();
      watcher.retry(); // a new connection begins with the whole board
      return;
    }
    if (board.size) oracle.compare(board);
  }
  const isWhole = progress.phase === "running" && progress.connected === progress.needed;
  if (isWhole) incidents.complete(oracle.wrong, board.step, seconds());
  refresh();
}

socket("owners/", {
  onmessage(event) {
    owners.take(event.json());
    refresh();
  },
});

function refresh() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    const canvas = element("board");
    paint(canvas, board, owners);
    Object.assign(canvas.dataset, {
      size: board.size, step: board.step, wrong: oracle.wrong, compared: oracle.compared,
    });
    const wrong = element("wrong");
    wrong.textContent = oracle.compared ? `${oracle.wrong} wrong cells` : "–";
    wrong.dataset.good = oracle.wrong === 0;
    element("step").textContent = board.size
      ? `in ${oracle.compared.toLocaleString("en")} generations that this page computed, too; step ${board.step.toLocaleString("en")}, ${progress.connected} of ${progress.needed} cells connected`
      : "";
    element("idle").hidden = !["idle", "over"].includes(progress.phase);
  });
}

// The map.

const pids = new Map(); // process → its last ID
let machine = ""; // "@" and the name of this machine, if the site has several

/** The name of a node of this machine among those of all machines. */
const owner = (name) => name + machine;

async function loadStatus() {
  try {
    const response = await fetch("status/", { signal: AbortSignal.timeout(5 * STATUS_MS) });
    if (response.ok) show(await response.json());
  } catch {
    // The node that served the connection may be the one that was killed; the next request reaches another.
  }
  setTimeout(loadStatus, STATUS_MS);
}

function show({ state, uptime, urls, processes, uplink }) {
  machine = uplink ? `@${uplink.machine}` : "";
  const supervisor = { name: "supervisor", state: state === "stopping" ? "stopping" : "ready" };
  fill(element("supervisor"), supervisor, [["up", duration(uptime)], ["at", urls[0] ?? ""]], false);
  const nodes = processes.filter(({ kind }) => kind === "node");
  for (const process of processes) follow(process);
  const broker = processes.find(({ kind }) => kind === "broker");
  element("broker").hidden = broker === undefined;
  if (broker) {
    const facts = [["batches/s", number(broker.batches)], ["KB/s", number(broker.bytes / 1000)], ["memory", megabytes(broker.rss)]];
    fill(element("broker"), broker, facts, true);
  }
  const list = element("nodes");
  while (list.childElementCount > nodes.length) list.lastElementChild.remove();
  nodes.forEach((node, at) => {
    const card = list.children[at] ?? list.appendChild(Object.assign(document.createElement("div"), { className: "process" }));
    card.style.setProperty("--tint", tintOf(owners.index(owner(node.name))));
    const facts = [["clients", number(node.connections)], ["msg/s", number(node.out)], ["memory", megabytes(node.rss)]];
    fill(card, node, facts, true);
  });
  element("hint").hidden = token !== "";
}

/** Report a process that is gone or back; also one that was replaced between two looks. */
function follow({ name, state, pid }) {
  const before = pids.get(name);
  if (before !== undefined && pid !== before) {
    incidents.lost(name, before, owners.lose(owner(name)), seconds());
    refresh();
  }
  if (state === "ready") incidents.ready(name, pid, seconds());
  if (pid !== null) pids.set(name, pid);
}

const number = (value) => (value ?? 0).toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
const megabytes = (bytes) => (bytes ? `${Math.round(bytes / 1e6)} MB` : "–");
const duration = (s) => (s >= 60 ? `${Math.floor(s / 60)} min` : `${Math.floor(s)} s`);

/** Fill a card; its button is made once, so that it keeps the focus. */
function fill(card, { name, state, pid }, facts, canKill) {
  card.dataset.state = state;
  card.dataset.name = name;
  if (!card.firstChild) {
    card.append(document.createElement("h2"), document.createElement("dl"));
    if (canKill) {
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", () => kill(card.dataset.name));
      card.append(button);
    }
  }
  const label = document.createElement("span");
  label.className = "state";
  label.textContent = state;
  card.querySelector("h2").replaceChildren(name, label);
  card.querySelector("dl").replaceChildren(
    ...facts.flatMap(([term, value]) => [
      Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]),
  );
  const button = card.querySelector("button");
  if (!button) return;
  button.textContent = "Kill";
  button.setAttribute("aria-label", `Kill ${name}`);
  button.hidden = token === "";
  button.disabled = state !== "ready" || !pid;
}

async function post(path, fields) {
  const body = new FormData(element("act"));
  for (const [key, value] of Object.entries(fields)) body.set(key, value);
  try {
    const response = await fetch(path, { method: "POST", body });
    return { status: response.status, ...(await response.json()) };
  } catch {
    return { status: 0, error: "The server did not answer." };
  }
}

async function kill(process) {
  const pid = pids.get(process);
  incidents.lost(process, pid, owners.lose(owner(process)), seconds());
  refresh();
  const { error, status } = await post("kill/", { process, pid, token });
  // The node that is killed may be the one that received the request.
  if (error && status !== 409 && status !== 0) log(error, "bad");
}

element("play").addEventListener("click", async () => {
  element("play").disabled = true;
  const { error } = await post("play/", {});
  if (error) log(error, "bad");
  setTimeout(() => (element("play").disabled = false), 5000);
});

function log(text, level = "") {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  const what = Object.assign(document.createElement("span"), { className: level, textContent: text });
  item.append(time, what);
  element("log").prepend(item);
}

loadStatus();
