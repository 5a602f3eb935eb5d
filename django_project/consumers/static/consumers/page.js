// A WebSocket of a Channels consumer, and a response that is read while it arrives.

import { socket as connect } from "../c10k/c10k.mjs";
import { addOnTop, element, showState } from "../django_project/page.js";

const form = element("say"); // missing without Channels
const text = element("stream");
const again = element("again");

if (form) {
  const socket = connect("ws/group/");
  socket.addEventListener("state", (event) => showState(event));
  socket.addEventListener("message", ({ data }) => {
    const { joined, message } = JSON.parse(data);
    const item = document.createElement("li");
    item.textContent = joined ? `You are ${joined}.` : message.join(": ");
    addOnTop(element("messages"), item);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    socket.send(JSON.stringify({ message: form.elements.message.value }));
    form.reset();
  });
} else {
  element("link").hidden = true;
}

async function stream() {
  again.disabled = true;
  text.textContent = "";
  try {
    const response = await fetch(text.dataset.url);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text.append(part.value);
    }
  } catch {
    text.append(" The connection was lost.");
  }
  again.disabled = false;
}

again.addEventListener("click", stream);
stream();
