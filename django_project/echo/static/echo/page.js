// The conversation of /test/ws/, one message at a time.

const state = document.getElementById("state");
const transcript = document.getElementById("transcript");
const form = document.getElementById("say");
const message = document.getElementById("message");
const send = document.getElementById("send");
const again = document.getElementById("again");

let socket = null;

function add(text, who) {
  const line = document.createElement("li");
  line.className = who;
  line.textContent = text;
  transcript.append(line);
}

function enable(open) {
  message.disabled = send.disabled = !open;
  again.hidden = open;
}

function connect() {
  transcript.replaceChildren();
  state.textContent = "connecting";
  socket = new WebSocket(new URL("ws/", location.href.replace(/^http/, "ws")));
  socket.onopen = () => {
    state.textContent = "connected";
    enable(true);
    message.focus();
  };
  socket.onmessage = (event) => add(event.data, "server");
  socket.onclose = (event) => {
    state.textContent = event.code === 1000 ? "ended" : `closed (${event.code})`;
    enable(false);
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (message.value === "" || socket.readyState !== WebSocket.OPEN) return;
  socket.send(message.value);
  add(message.value, "client");
  message.value = "";
});
again.addEventListener("click", connect);
connect();
