// Shared by the pages that show the state of a connection and have a form whose view publishes.

const SHOWN = 100; // messages that stay on a page

export const element = (id) => document.getElementById(id);

/** A message as text. */
export const textOf = (data) => (typeof data === "string" ? data : `${data.byteLength} bytes`);

/** Put an item on top of a list, and remove the oldest if there are too many. */
export function addOnTop(list, item) {
  list.prepend(item);
  while (list.childElementCount > SHOWN) list.lastElementChild.remove();
}

/** Show the state of a connection of c10k.js; `open` is the text for an open one. */
export function showState({ state, code, reason }, open = "Connected") {
  const link = element("link");
  const names = { connecting: "Connecting", open, waiting: "Reconnecting" };
  link.dataset.state = state === "closed" ? "ended" : state;
  link.textContent = names[state] ?? "Disconnected";
  link.title = state === "refused" ? `${code} ${reason}` : "";
}

/** Send a form to the page's own view, which publishes the message, and show the receipt. */
export async function publish(form) {
  const body = new FormData(form);
  const field = form.elements.message;
  field.value = "";
  let answer = { error: "The server did not answer: try again." };
  try {
    const headers = { Accept: "application/json" };
    const response = await fetch("", { method: "POST", body, headers });
    if (response.status === 403) answer.error = "This page is out of date: reload it.";
    answer = await response.json();
  } catch {
    // Keep the error from above.
  }
  if (answer.error) field.value ||= body.get("message"); // for another try
  element("receipt").textContent = describe(answer);
}

function describe({ error, nodes }) {
  return error ?? `Delivered to subscribers on ${nodes} node${nodes === 1 ? "" : "s"}.`;
}
