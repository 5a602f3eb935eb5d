// The page: it applies messages from the WebSocket to the board, and draws the board.
//
// Messages only change the model. The page draws at most once per animation frame, so a fast game is
// not drawn more often than the screen shows it, and a page in the background is not drawn.

import { Board } from "./board.js";
import { Connection } from "./connection.js";
import { MalformedFrame, decode, decodeProgress } from "./decode.js";
import { Painter } from "./draw.js";
import { Rate } from "./rate.js";

const NUMBERS_EVERY_MS = 500; // the steps/s must also decrease while no message arrives
const STALLED = 3; // s without a step, after which the page reports missing clients

const element = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const seconds = () => performance.now() / 1000;

const board = new Board();
const rate = new Rate();
const painter = new Painter(element("board"));
const stage = element("stage");
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

let progress = {
  phase: "idle",
  size: 0,
  connected: 0,
  subscribed: 0,
  needed: 0,
  lost: [],
  why: "",
};
let known = false; // whether a message has arrived on this connection
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
    // The counts may be older than the board: a game with a first step has gathered its clients.
    if (progress.phase === "gathering" && board.step > 0) progress.phase = "running";
  } else {
    try {
      apply(decode(value));
    } catch (error) {
      if (!(error instanceof MalformedFrame)) throw error;
      console.warn(`watcher: ${error.message}`);
      // The board may be incomplete now. A new connection starts with a snapshot.
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
  // Whole pixels: a fraction would blur every cell.
  const room = Math.floor(Math.min(stage.clientWidth, stage.clientHeight)) - 2 * margin();
  painter.draw(board, Math.max(room, 1), devicePixelRatio);
  // Set when the board is drawn, so that tests read the state that the pixels show.
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
  showNumbers();
  showPhase();
}

function setText(id, text) {
  const node = element(id);
  if (node.textContent !== text) node.textContent = text;
}

function showNumbers() {
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

/** Screen readers read each change aloud, so it contains nothing that changes with every step. */
function sentence() {
  const { phase, connected, needed, lost, why } = progress;
  const { size } = board;
  if (phase === "over") return `${why.charAt(0).toUpperCase()}${why.slice(1)}.`;
  if (phase === "idle") return "No game is running.";
  if (phase === "gathering") return `Gathering ${number(size * size)} clients, one for each cell.`;
  const stalled = seconds() - steppedAt > STALLED;
  if (stalled && connected === 0 && needed > 0) return "Over: all of its clients have left.";
  if (connected < needed && lost.length > 0) {
    const names = lost.map(([name]) => name.replace(/(\d+)$/, " $1")).join(", ");
    const cells = lost.reduce((sum, [, count]) => sum + count, 0);
    return `Lost ${names}: ${number(cells)} of ${number(needed)} cells are reconnecting …`;
  }
  if (stalled && connected < needed) {
    return `Waiting: ${number(needed - connected)} of ${number(needed)} cells are not connected.`;
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
  // --url is omitted if it is the swarm's default.
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
setInterval(show, NUMBERS_EVERY_MS);

showCommand();
repaint();
connection.open();
