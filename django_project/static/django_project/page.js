// What pages have in common that show a connection, and a form by which a view publishes.

const SHOWN = 100; // messages that stay on a page

export const element = (id) => document.getElementById(id);

/** A message as text. */
export const textOf = (data) => (typeof data === "string" ? data : `${data.byteLength} bytes`);

/** Put an item on top of a list, from which the oldest go. */
export function addOnTop(list, item) {
  list.prepend(item);
  while (list.childElementCount > SHOWN) list.lastElementChild.remove();
}

/** Show the state of a connection of c10k.js; `open` is what to call an open one. */
export function showState({ state, code, reason }, open = "Connected") {
  const link = element("link");
  const names = { connecting: "Connecting", open, waiting: "Reconnecting" };
  link.dataset.state = state === "closed" ? "ended" : state;
  link.textContent = names[state] ?? "Disconnected";
  link.title = state === "refused" ? `${code} ${reason}` : "";
}

/** Send a form to the page's own view, which publishes, and show how far the message went. */
export async function publish(form) {
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
