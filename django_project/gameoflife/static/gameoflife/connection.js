// A WebSocket that reconnects by itself. It does not interpret the messages.
//
// States:  connecting → open → waiting → connecting → …
//          refused: the close code says that a reconnect would not help; only retry() leaves it
//
// The delay is random, between 0 and a limit that doubles with each failure ("full jitter"), so that
// ten thousand pages that lost the same node do not reconnect at the same moment.

const FIRST_LIMIT = 1; // s
const LAST_LIMIT = 30; // s
const RESTART_LIMIT = 0.5; // s; short, because another process already accepts connections
const STEADY = 5; // s; a connection that was open for this long counts as a success

const RESTARTING = new Set([1001, 1012]); // going away, service restart
const USELESS = new Set([1002, 1003, 1007, 1008, 1009, 1010]); // an error of this page
const RESYNC = 4000; // our own code: the page's state no longer agrees with the server's

export class Connection {
  #options;
  #socket = null;
  #timer = null;
  #failures = 0;
  #openedAt = 0;
  state = "connecting";

  /**
   * @param {object} options
   *   url, protocol: the URL to connect to, and the only subprotocol to offer
   *   onMessage(value): an ArrayBuffer or a string
   *   onState(state, details): details are {delay} in seconds with "waiting", and {code, reason}
   *     of the preceding close
   *   WebSocket, setTimeout, clearTimeout, random, now: replaced in tests
   */
  constructor(options) {
    this.#options = {
      WebSocket: globalThis.WebSocket,
      setTimeout: globalThis.setTimeout.bind(globalThis),
      clearTimeout: globalThis.clearTimeout.bind(globalThis),
      random: Math.random,
      now: () => performance.now() / 1000,
      ...options,
    };
  }

  /** Connect, and reconnect from then on. */
  open() {
    const { WebSocket, url, protocol, onMessage, now } = this.#options;
    this.#timer = null;
    this.#enter("connecting", {});
    const socket = new WebSocket(url, [protocol]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => {
      this.#openedAt = now();
      this.#enter("open", {});
    };
    socket.onmessage = (event) => {
      if (socket === this.#socket) onMessage(event.data);
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#lost(event.code, event.reason);
    };
  }

  /** Reconnect now: the network is back, or the page has become visible. */
  retry() {
    if (this.state !== "waiting" && this.state !== "refused") return;
    if (this.#timer !== null) this.#options.clearTimeout(this.#timer);
    this.open();
  }

  /** Replace this connection by a new one, which begins with a snapshot. */
  resync(reason) {
    const socket = this.#socket;
    if (socket === null || this.state !== "open") return;
    // Do not wait for its close event, which may take as long as the server needs.
    this.#lost(RESYNC, reason);
    socket.close(RESYNC, reason);
  }

  #lost(code, reason) {
    const { now, random, setTimeout } = this.#options;
    this.#socket = null;
    if (USELESS.has(code)) {
      this.#enter("refused", { code, reason });
      return;
    }
    if (this.state === "open" && now() - this.#openedAt >= STEADY) this.#failures = 0;
    const first = this.#failures === 0 && RESTARTING.has(code);
    const limit = first
      ? RESTART_LIMIT
      : Math.min(LAST_LIMIT, FIRST_LIMIT * 2 ** this.#failures);
    this.#failures += 1;
    const delay = random() * limit;
    this.#timer = setTimeout(() => this.open(), delay * 1000);
    this.#enter("waiting", { delay, code, reason });
  }

  #enter(state, details) {
    this.state = state;
    this.#options.onState(state, details);
  }
}
