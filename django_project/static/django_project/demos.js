// The numbers on the list of the demos, every two seconds. Browsers on other machines do not receive them.

const EVERY_MS = 2000;
const section = document.getElementById("now");
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

async function load() {
  try {
    const response = await fetch(section.dataset.url, { signal: AbortSignal.timeout(EVERY_MS * 2) });
    if (response.status === 403) return; // permanently
    if (response.ok) show(await response.json());
  } catch {
    // The next request may reach another node.
  }
  setTimeout(load, EVERY_MS);
}

function show({ processes, connections, messages, uptime }) {
  const nodes = processes.filter(({ kind }) => kind === "node");
  const memory = processes.reduce((sum, { rss }) => sum + (rss ?? 0), 0);
  const values = {
    nodes: `${nodes.filter(({ state }) => state === "ready").length} of ${nodes.length}`,
    connections: whole.format(connections.open),
    messages: whole.format(messages.out),
    memory: `${whole.format(memory / 1e6)} MB`,
    uptime: uptime < 120 ? `${whole.format(uptime)} s` : `${whole.format(uptime / 60)} min`,
  };
  for (const [name, value] of Object.entries(values)) {
    section.querySelector(`[data-value="${name}"]`).textContent = value;
  }
  section.hidden = false;
}

load();
