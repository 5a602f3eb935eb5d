// The conversation of /test/ws/, one message at a time.

const link = document.getElementById("link");
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
  send.hidden = !open;
  again.hidden = open;
}

function showState(state, text) {
  link.dataset.state = state;
  link.textContent = text;
}

function connect() {
  transcript.replaceChildren();
  showState("connecting", "Connecting");
  socket = new WebSocket(new URL("ws/", location.href.replace(/^http/, "ws")));
  socket.onopen = () => {
    showState("open", "Connected");
    enable(true);
    message.focus();
  };
  socket.onmessage = (event) => add(event.data, "server");
  socket.onclose = (event) => {
    if (event.code === 1000) showState("ended", "Ended");
    else showState("refused", `Closed (${event.code})`);
    enable(false);
    again.focus();
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
