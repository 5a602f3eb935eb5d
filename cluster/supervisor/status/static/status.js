// The status page: it loads status.json every two seconds, and shows it.

const EVERY_MS = 2000;
const STALE_S = 6; // without an answer, after which the page reports that the supervisor is gone

const element = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

let answeredAt = performance.now(); // ms of the page's clock
let isLoaded = false;

/** An element with attributes and children. */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value > 0 && value < 10 && !Number.isInteger(value) ? value.toFixed(1) : whole.format(value);
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : whole.format(value)} ${unit}`;
    value /= 1000;
  }
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

const joined = (counts) => Object.entries(counts).map(([name, count]) => `${name} ${number(count)}`).join(" · ");

/** A diagram of values, the newest on the right. */
function sparkline(values, label) {
  const highest = Math.max(1, ...values);
  const points = values.map((value, at) => `${(at / Math.max(1, values.length - 1)) * 100},${30 - (value / highest) * 28}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 32");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${label} in the last ${values.length} seconds, at most ${number(highest)}`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  return svg;
}

function card(title, figure, more, level = "", values = null) {
  const made = make(
    "div",
    { class: "card" },
    make("h2", {}, title),
    make("p", { class: `figure ${level}` }, figure),
    make("p", { class: "more" }, more),
  );
  if (values !== null && values.length > 1) made.append(sparkline(values, title));
  return made;
}

function machines({ machine, state, seconds, machines }) {
  const more = `${machine} · ${state} for ${duration(seconds)}${machines.length ? ` · others ${machines.join(", ")}` : ""}`;
  return card("Machines", number(machines.length + 1), more, state === "joined" ? "" : "warn");
}

function cards({ connections, messages, lost, views, handshakes, uplink }) {
  const missing = Object.values(lost.by_reason).reduce((sum, count) => sum + count, 0);
  const feeds = `${number(connections.stream)} SSE · ${number(connections.poll)} poll`;
  return [
    card("Connections", number(connections.open), `of ${number(connections.capacity)} · ${feeds}`, "", connections.series),
    card("Messages out /s", number(messages.out), `${number(messages.in)} in`, "", messages.series),
    card(
      `Lost (${Math.round(lost.seconds / 60)} min)`,
      number(missing),
      [joined(lost.by_reason), `gaps ${number(lost.gaps)}`].filter(Boolean).join(" · "),
      missing || lost.gaps ? "warn" : "",
    ),
    card("Views waiting", number(views.waiting), `of ${number(views.capacity)} · ${number(views.refused)} refused`, views.refused ? "warn" : ""),
    card("Handshakes /s", number(handshakes.rate), joined(handshakes.refused) || "none refused"),
    ...(uplink ? [machines(uplink)] : []),
  ];
}

const LEVELS = { ready: "good", starting: "warn", replacing: "warn", draining: "warn", drained: "warn", down: "bad" };

function row(process) {
  const isNode = process.kind === "node";
  const starts = process.last_end ? `${process.starts} (${process.last_end})` : number(process.starts);
  const traffic = isNode
    ? [["connections", number(process.connections)], ["msg/s in", number(process.in)], ["msg/s out", number(process.out)]]
    : [["connections", "–"], ["batches/s", `${number(process.batches)} batches/s`], ["bytes/s", `${bytes(process.bytes)}/s`]];
  const cells = [
    ["pid", process.pid ?? "–"],
    ["up", duration(process.uptime)],
    ["starts", starts, process.starts > 1 ? "warn" : ""],
    ...traffic,
    ["send queue", bytes(process.queue), process.queue > 1e6 ? "warn" : ""],
    ["views", isNode ? `${number(process.views_busy)} / ${number(process.views_waiting)}` : "–"],
    ["CPU", process.cpu === null ? "–" : `${whole.format(process.cpu * 100)} %`],
    ["RSS", bytes(process.rss)],
  ];
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, process.name),
    make("td", { class: `state ${LEVELS[process.state] ?? ""}` }, process.state),
    ...cells.map(([name, text, level = ""]) => make("td", { "data-name": name, class: level }, String(text))),
  );
}

function topic({ topic, subscribers, rate, history, topics }) {
  const facts = topics > 1
    ? [`${number(topics)} topics`, `${number(subscribers)} subscriptions`]
    : [`${number(subscribers)} subscriber${subscribers === 1 ? "" : "s"}`, rate !== undefined && `${number(rate)} msg/s`, history && `history ${history}`];
  return make("li", {}, topic, make("span", { class: "quiet" }, ` — ${facts.filter(Boolean).join(" · ")}`));
}

function event({ time, level, process, text, count }) {
  const when = new Date(time * 1000);
  const times = count > 1 ? ` ×${number(count)}` : "";
  return make(
    "li",
    {},
    make("time", { datetime: when.toISOString(), title: when.toLocaleString() }, clock.format(when)),
    make("span", { class: { warn: "warn", error: "bad" }[level] ?? "" }, `${process ? `${process} ` : ""}${text}${times}`),
  );
}

const none = (text) => make("li", { class: "quiet" }, text);

function showState(state) {
  const badge = element("state");
  badge.dataset.state = state;
  const text = state === "gone" ? "No answer" : state[0].toUpperCase() + state.slice(1);
  if (badge.textContent !== text) badge.textContent = text; // screen readers read each change
}

function show(status) {
  showState(status.state);
  document.title = `${status.state} – c10k`;
  element("site").textContent = `${status.settings} · ${status.urls.join(", ")}`;
  element("about").textContent = `up ${duration(status.uptime)} · c10k ${status.version} · Python ${status.python} · ${status.loop ?? "no node answers"}`;
  element("reasons").hidden = !status.reasons.length;
  element("reasons").textContent = status.reasons.join("; ");
  element("cards").replaceChildren(...cards(status));
  element("processes").tBodies[0].replaceChildren(...status.processes.map(row));
  const topics = status.topics.map(topic);
  element("topics").replaceChildren(...(topics.length ? topics : [none("Nobody subscribes to a topic.")]));
  const events = status.events.map(event);
  element("events").replaceChildren(...(events.length ? events : [none("Nothing has happened yet.")]));
}

function showAge() {
  const age = Math.round((performance.now() - answeredAt) / 1000);
  if (isLoaded) element("updated").textContent = `updated ${age} s ago`;
  if (age >= STALE_S) showState("gone");
}

async function load() {
  try {
    const response = await fetch("status.json", { signal: AbortSignal.timeout(EVERY_MS * 2) });
    if (response.ok) {
      show(await response.json());
      answeredAt = performance.now();
      isLoaded = true;
    }
  } catch {
    // The age of what is shown shows it.
  }
  showAge();
  setTimeout(load, EVERY_MS);
}

setInterval(showAge, 1000);
load();
