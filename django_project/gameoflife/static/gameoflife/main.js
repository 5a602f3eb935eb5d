// The page: what comes from the socket goes to the board, and the board to the screen.
//
// Messages only change the model; the screen follows once a frame, so that a fast game costs no
// more than the screen can show, and a page in the background nothing.

import { Board } from "./board.js";
import { Connection } from "./connection.js";
import { MalformedFrame, decode, decodeProgress } from "./decode.js";
import { Painter } from "./draw.js";
import { Rate } from "./rate.js";

const FIGURES_EVERY = 500; // ms; steps/s must fall when nothing comes in, too
const STALLED = 3; // s without a step, after which missing clients are worth a word

const element = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const seconds = () => performance.now() / 1000;

const board = new Board();
const rate = new Rate();
const painter = new Painter(element("board"));
const stage = element("stage");
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

let progress = { phase: "idle", size: 0, connected: 0, subscribed: 0, needed: 0 };
let known = false; // whether the server has said anything on this connection
let steppedAt = 0; // s
let frame = null;

const connection = new Connection({
  url: new URL("watcher/", location.href.replace(/^http/, "ws")).href.split("#")[0],
  protocol: "life.v2.bin",
  onMessage: receive,
  onState: showLink,
});

function receive(value) {
  known = true;
  if (typeof value === "string") {
    progress = decodeProgress(value) ?? progress;
    // Figures may lag behind the board: a game whose cells have moved gathers no more.
    if (progress.phase === "gathering" && board.step > 0) progress.phase = "running";
  } else {
    try {
      apply(decode(value));
    } catch (error) {
      if (!(error instanceof MalformedFrame)) throw error;
      console.warn(`watcher: ${error.message}`);
      // The board may lack something now. A new connection starts with all of it.
      connection.resync("malformed frame");
      return;
    }
  }
  refresh();
}

function apply(message) {
  board.apply(message);
  if (board.size === 0) progress.phase = "idle";
  else if (board.step > 0 || message.kind === "delta") progress.phase = "running";
  else progress.phase = "gathering";
  rate.note(board.step, seconds());
  steppedAt = seconds();
}

function refresh() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    draw();
    show();
  });
}

function draw() {
  // An odd pixel beside the board is better than half a one under every cell.
  const room = Math.floor(Math.min(stage.clientWidth, stage.clientHeight)) - 2 * margin();
  painter.draw(board, Math.max(room, 1), devicePixelRatio);
  // In one turn with the drawing: who reads these reads what the pixels show.
  painter.canvas.dataset.size = board.size;
  painter.canvas.dataset.step = board.step;
  painter.canvas.dataset.phase = progress.phase;
}

function margin() {
  return Math.min(stage.clientWidth, stage.clientHeight) < 600 ? 8 : 16; // CSS pixels
}

function repaint() {
  painter.setColours(dark.matches ? "dark" : "light", still.matches);
  refresh();
}

function show() {
  showFigures();
  showPhase();
}

function setText(id, text) {
  const node = element(id);
  if (node.textContent !== text) node.textContent = text;
}

function showFigures() {
  const playing = board.size > 0;
  const speed = rate.perSecond(seconds());
  setText("size", playing ? `${board.size} × ${board.size}` : "–");
  setText("step", playing ? number(board.step) : "–");
  setText("rate", playing && speed !== null ? speed.toFixed(speed < 100 ? 1 : 0) : "–");
  setText("alive", playing ? number(board.alive) : "–");
}

function showPhase() {
  const { phase, connected, subscribed, needed } = progress;
  element("idle").hidden = !(known && phase === "idle");
  element("gathering").hidden = !(known && phase === "gathering");
  for (const [name, count] of Object.entries({ connected, subscribed })) {
    setText(name, `${number(count)} of ${number(needed)}`);
    element(`${name}-bar`).max = Math.max(needed, 1);
    element(`${name}-bar`).value = count;
  }
  if (connection.state === "open" && known) setText("status", sentence());
}

/** Read aloud whenever it changes: so nothing is in it that changes with every step. */
function sentence() {
  const { phase, connected, needed } = progress;
  const { size } = board;
  if (phase === "idle") return "No game is running.";
  if (phase === "gathering") return `Gathering ${number(size * size)} clients, one for each cell.`;
  if (seconds() - steppedAt > STALLED && needed > 0) {
    if (connected === 0) return "Over: all of its clients have left.";
    if (connected < needed) return "Waiting: some of its clients are gone.";
  }
  return `Running: ${size} × ${size} cells, one client each.`;
}

function showLink(state, { delay, code, reason }) {
  const names = {
    connecting: "Connecting",
    open: "Connected",
    waiting: "Reconnecting",
    refused: "Refused",
  };
  element("link").dataset.state = state;
  setText("link", names[state]);
  if (state === "waiting") {
    const why = reason ? `${code}, ${reason}` : code;
    const when = delay < 1 ? "at once" : `in ${Math.ceil(delay)} s`;
    setText("status", `The connection is lost (${why}). Trying again ${when}.`);
  } else if (state === "refused") {
    const why = reason || "no reason given";
    setText("status", `The server refused this page (${code}, ${why}). Reload it.`);
  } else if (state === "open") {
    known = false;
    setText("status", "Connected.");
  }
}

function showCommand() {
  // The swarm's own default needs no --url.
  if (/^http:\/\/(localhost|127\.0\.0\.1):8000$/.test(location.origin)) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  setText("command", `swarm life --url ${scheme}://${location.host}/`);
}

dark.addEventListener("change", repaint);
still.addEventListener("change", repaint);
new ResizeObserver(refresh).observe(stage);
addEventListener("online", () => connection.retry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && connection.state === "waiting") connection.retry();
});
setInterval(show, FIGURES_EVERY);

showCommand();
repaint();
connection.open();
