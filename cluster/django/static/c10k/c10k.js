// c10k.js: WebSockets and feeds that reconnect by themselves. No dependencies.
//
//     const feed = c10k.feed("/live/events/");            messages of a @feed
//     feed.addEventListener("message", (event) => show(event.data, event.topic));
//
//     const socket = c10k.socket("/chat/ws/");            an ordinary @websocket handler
//     socket.addEventListener("message", (event) => show(event.json()));
//     socket.send("hello");
//
// This file is a classic script that defines the global `c10k`; c10k.mjs is the same as a module.
//
// States:  connecting → open → waiting → connecting → …
//          refused: by its answer the server asked not to reconnect; only retry() leaves this state
//          closed: by close(), or by the server with 1000; only retry() leaves this state
//
// The time until the next attempt is random, between 0 and a limit that doubles with each failure
// ("full jitter"): ten thousand pages that lost one node must not reconnect at the same moment.
(() => {
  "use strict";

  const FIRST_LIMIT = 1; // s
  const LAST_LIMIT = 30; // s
  const REFUSED_LIMIT = 300; // s, for a WebSocket that is probably refused; browsers do not tell
  const NEVER_OPEN = 3; // failures in a row that make this probable if it has never been open,
  const ONCE_OPEN = 20; // and if it has: some minutes
  const RESTART_LIMIT = 0.5; // s; after an announced restart another node accepts already
  const STEADY = 5; // s; a connection that was open for so long resets the failures
  const OPEN_TIMEOUT = 10; // s from the attempt to the first data
  const PING_AFTER = 25; // s of silence on a feed's WebSocket until we send a ping
  const PONG_TIMEOUT = 10; // s
  const HEARTBEAT = 15; // s between comments on an event stream, unless it announces another time
  const MISSED = 3; // heartbeats that may be missing
  const LONGEST_AFTER = 3600; // s; a longer "retry after" is taken for an error
  const POLL_WAIT = 25; // s that the server holds a poll; proxies allow 30 at least
  const POLL_PAUSE = 1; // s after an empty answer that came at once
  const PATIENCE = 3; // failures in a row until a transport that has worked is replaced by the next

  const RESTARTING = new Set([1001, 1012]); // going away, service restart
  const USELESS = new Set([1002, 1003, 1007, 1008, 1009, 1010]); // errors of the client
  const PASSING = new Set([408, 425, 429]); // HTTP statuses below 500 that may be temporary

  const SUBPROTOCOL = "c10k.v1";
  const NO_ANSWER = 4000; // our own code: silence for too long
  const LOST = 1006; // the connection was lost without a close code (RFC 6455, section 7.1.5)

  /**
   * @typedef {"connecting" | "open" | "waiting" | "refused" | "closed"} State
   *
   * What the browser provides; replaced in tests.
   * @typedef {object} Environment
   * @property {any} WebSocket
   * @property {any} fetch
   * @property {any} window  target of "online" and "offline" events
   * @property {any} document  target of "visibilitychange" events
   * @property {(call: () => void, ms: number) => any} setTimeout
   * @property {(timer: any) => void} clearTimeout
   * @property {() => number} random
   * @property {() => number} now  seconds
   * @property {() => boolean} online
   * @property {string} base  the base of relative URLs
   *
   * The end of a connection: a close code, or an HTTP status below 1000.
   * @typedef {{code: number, reason: string, after?: number}} End  `after`: wait at least so many s
   *
   * The callbacks of one attempt to connect.
   * @typedef {object} Listener
   * @property {() => void} opened
   * @property {() => void} heard  any data arrived, even if only a comment
   * @property {(seconds: number) => void} beats  the server announces its heartbeat
   * @property {(data: any) => void} received
   * @property {(end: End) => void} ended
   *
   * One attempt to connect.
   * @typedef {object} Attempt
   * @property {(data: any) => void} [send]
   * @property {(code: number, reason: string) => void} close
   *
   * @typedef {object} Options
   * @property {(event: any) => void} [onmessage]
   * @property {(event: any) => void} [onstate]
   * @property {(event: any) => void} [onerror]
   * @property {(event: any) => void} [onrecovered]
   * @property {string[]} [protocols]  socket: the subprotocols offered
   * @property {string} [heartbeat]  socket: a message that the handler answers, sent after silence;
   *     without it a dead connection is noticed when the browser notices it
   * @property {string[]} [topics]  feed: only these of its topics
   * @property {("websocket" | "stream" | "poll")[]} [transports]  feed: in order of preference
   * @property {Partial<Environment>} [environment]
   */

  /** @returns {Environment} */
  function browserEnvironment() {
    const { WebSocket, fetch, navigator, location, performance, document } =
      /** @type {any} */ (globalThis);
    return {
      WebSocket,
      fetch: fetch && fetch.bind(globalThis),
      window: globalThis,
      document,
      setTimeout: (call, ms) => setTimeout(call, ms),
      clearTimeout: (timer) => clearTimeout(timer),
      random: Math.random,
      now: () => performance.now() / 1000,
      online: () => !navigator || navigator.onLine !== false,
      base: location ? location.href : "http://localhost/",
    };
  }

  /** An event with the given members. */
  class ConnectionEvent extends Event {
    /**
     * @param {string} type
     * @param {Record<string, any>} members
     */
    constructor(type, members) {
      super(type);
      Object.assign(this, members);
    }

    /** The message, parsed. */
    json() {
      return JSON.parse(/** @type {any} */ (this).data);
    }
  }

  /**
   * States, waiting and heartbeats of sockets and feeds.
   *
   * Events: "message" and "state". The latter has state; for "waiting" also delay in seconds and
   * failures, their number since the last steady connection; code and reason of the end that led to
   * the state. Listeners may also be options: onmessage, onstate, …
   */
  class Connection extends EventTarget {
    /**
     * @param {string} url  relative or absolute; ws, wss, http and https mean the same here
     * @param {Options} options
     */
    constructor(url, options = {}) {
      super();
      /** @type {Environment} */
      this._environment = { ...browserEnvironment(), ...options.environment };
      this._options = options;
      this._url = url;
      /** @type {State} */
      this.state = "connecting";
      /** @type {Attempt | null} */
      this._attempt = null;
      this._number = 0; // of the attempt; callbacks of earlier ones are ignored
      this._failures = 0; // since the last steady connection
      this._unopened = 0; // failed attempts since a connection was open
      this._wasOpen = false; // ever
      this._openedAt = 0;
      this._heardAt = 0;
      this._beat = HEARTBEAT;
      this._pinged = false;
      /** @type {any} */
      this._timer = null; // until the next attempt, or the next check of the silence
      for (const [name, call] of Object.entries(options)) {
        if (name.startsWith("on")) this.addEventListener(name.slice(2), /** @type {any} */ (call));
      }
      this._online = () => this._check();
      this._offline = () => {
        if (this._attempt) this._lost({ code: LOST, reason: "offline" });
      };
      this._visible = () => {
        if (this._environment.document.visibilityState === "visible") this._check();
      };
      // The caller adds its listeners after this, so connect in a later microtask.
      Promise.resolve().then(() => {
        if (this.state === "connecting" && !this._attempt) this._connect();
      });
    }

    /** Connect now: instead of waiting longer, or although it was refused or closed. */
    retry() {
      if (this.state === "connecting" || this.state === "open") return;
      this._connect();
    }

    /**
     * Close for good: it does not reconnect.
     * @param {number} code
     * @param {string} reason
     */
    close(code = 1000, reason = "") {
      if (this.state === "closed") return;
      try {
        this._leave(code, reason);
      } finally {
        this._enter("closed", { code, reason }); // also for a code that browsers refuse to send
      }
    }

    /**
     * Start an attempt. It must not call `listener` before this returns.
     * @param {Listener} listener
     * @returns {Attempt}
     */
    _begin(listener) {
      throw new Error("not here");
    }

    /** @param {any} data */
    _received(data) {}

    /** Seconds of silence until we send a ping, or give up if we cannot; 0: no limit. */
    _silence() {
      return 0;
    }

    /** Send a ping; false if that is not possible. */
    _ping() {
      return false;
    }

    /** The limit in seconds to which the time between attempts grows. */
    _limit() {
      return LAST_LIMIT;
    }

    /** The network is back, or the page is visible again: the connection may be dead. */
    _check() {
      if (this.state === "waiting") this.retry();
      else if (this.state === "open" && !this._pinged && this._ping()) {
        this._pinged = true;
        this._heardAt = this._environment.now();
        this._watch();
      }
    }

    /** For subclasses: an attempt failed before it was open. */
    _failed() {}

    /** For subclasses: an attempt is open. */
    _succeeded() {}

    _connect() {
      this._setTimer(null, 0);
      const number = ++this._number;
      const current = () => number === this._number;
      this._beat = HEARTBEAT;
      this._enter("connecting", {});
      if (!current()) return; // a listener closed the connection
      this._setTimer(() => this._lost({ code: NO_ANSWER, reason: "no answer" }), OPEN_TIMEOUT);
      this._environment.window.addEventListener?.("online", this._online);
      this._environment.window.addEventListener?.("offline", this._offline);
      this._environment.document?.addEventListener("visibilitychange", this._visible);
      try {
        this._attempt = this._begin({
          opened: () => current() && this._opened(),
          heard: () => {
            if (current()) this._heard();
          },
          beats: (seconds) => {
            if (current()) this._beat = seconds;
          },
          received: (data) => {
            if (!current()) return;
            this._heard();
            this._received(data);
          },
          ended: (end) => current() && this._lost(end),
        });
      } catch (error) {
        this._lost({ code: 1008, reason: String(error) }); // such as an invalid URL
      }
    }

    _opened() {
      this._openedAt = this._environment.now();
      this._unopened = 0;
      this._wasOpen = true;
      this._succeeded();
      this._heard();
      this._watch();
      this._enter("open", {});
    }

    _heard() {
      this._heardAt = this._environment.now();
      this._pinged = false;
    }

    /** Check the silence now, and again when it could be too long. */
    _watch() {
      const limit = this._pinged ? PONG_TIMEOUT : this._silence();
      if (!limit) {
        this._setTimer(null, 0);
        return;
      }
      const left = this._heardAt + limit - this._environment.now();
      if (left > 0) {
        this._setTimer(() => this._watch(), left);
      } else if (!this._pinged && this._ping()) {
        this._pinged = true;
        this._heardAt = this._environment.now();
        this._watch();
      } else {
        this._lost({ code: NO_ANSWER, reason: "no answer" });
      }
    }

    /** @param {End} end */
    _lost({ code, reason, after = 0 }) {
      const { now, random, online } = this._environment;
      const wasOpen = this.state === "open";
      this._leave(NO_ANSWER, "");
      if (code === 1000) {
        this._enter("closed", { code, reason });
        return;
      }
      if (isFinal(code)) {
        this._enter("refused", { code, reason });
        return;
      }
      if (wasOpen && now() - this._openedAt >= STEADY) this._failures = 0;
      if (!wasOpen && online()) {
        this._unopened += 1;
        this._failed();
      }
      const first = this._failures === 0 && RESTARTING.has(code);
      const limit = first
        ? RESTART_LIMIT
        : Math.min(this._limit(), FIRST_LIMIT * 2 ** this._failures);
      this._failures += 1;
      const delay = Math.min(after, LONGEST_AFTER) + random() * limit;
      this._setTimer(() => this._connect(), delay);
      this._enter("waiting", { delay, failures: this._failures, code, reason });
    }

    /**
     * Drop the present attempt and ignore its callbacks.
     * @param {number} code
     * @param {string} reason
     */
    _leave(code, reason) {
      const attempt = this._attempt;
      this._attempt = null;
      this._number += 1;
      this._pinged = false;
      this._setTimer(null, 0);
      if (attempt) attempt.close(code, reason);
    }

    /**
     * @param {State} state
     * @param {Record<string, any>} details
     */
    _enter(state, details) {
      this.state = state;
      if (state === "closed" || state === "refused") {
        this._environment.window.removeEventListener?.("online", this._online);
        this._environment.window.removeEventListener?.("offline", this._offline);
        this._environment.document?.removeEventListener("visibilitychange", this._visible);
      }
      this._dispatch("state", { state, ...details });
    }

    /**
     * @param {string} type
     * @param {Record<string, any>} members
     */
    _dispatch(type, members) {
      this.dispatchEvent(new ConnectionEvent(type, members));
    }

    /**
     * @param {(() => void) | null} call
     * @param {number} delay  s
     */
    _setTimer(call, delay) {
      if (this._timer !== null) this._environment.clearTimeout(this._timer);
      this._timer = call && this._environment.setTimeout(call, delay * 1000);
    }
  }

  /** The messages of an ordinary handler: strings, and ArrayBuffers for binary ones. */
  class Socket extends Connection {
    /** @param {Listener} listener */
    _begin(listener) {
      const { protocols = [] } = this._options;
      return webSocket(this._environment, this._url, "", protocols, listener);
    }

    /**
     * Send a message; false, and nothing sent, if the connection is not open.
     * @param {string | ArrayBuffer | ArrayBufferView} message
     */
    send(message) {
      if (this.state !== "open" || !this._attempt || !this._attempt.send) return false;
      this._attempt.send(message);
      return true;
    }

    /** @param {any} data */
    _received(data) {
      this._dispatch("message", { data });
    }

    _silence() {
      return this._options.heartbeat === undefined ? 0 : PING_AFTER;
    }

    _ping() {
      const { heartbeat } = this._options;
      return heartbeat !== undefined && this.send(heartbeat);
    }

    /**
     * A browser does not tell scripts whether a handshake was refused or never answered. A client
     * that was not accepted for long is probably refused, so it tries less and less often.
     */
    _limit() {
      const patience = this._wasOpen ? ONCE_OPEN : NEVER_OPEN;
      return this._unopened > patience ? REFUSED_LIMIT : LAST_LIMIT;
    }
  }

  /**
   * The messages of a feed, by WebSocket, else by an event stream, else by polling.
   *
   * When it reconnects, it asks for the messages that it missed. More events: "recovered" (topic;
   * recovered is false if messages are missing, so that the page must load its state again; this
   * may also come while it is connected) and "error" (reason, topic). A message event has data (a
   * string, or an ArrayBuffer), topic and, with history, id.
   */
  class Feed extends Connection {
    /**
     * @param {string} url
     * @param {Options} options
     */
    constructor(url, options = {}) {
      super(url, options);
      const transports = options.transports || ["websocket", "stream", "poll"];
      this._transports = transports.filter((transport) =>
        transport === "websocket" ? this._environment.WebSocket : this._environment.fetch,
      );
      this._index = 0; // in _transports
      this._tries = 0; // failures of this transport in a row
      this._worked = new Set(); // the transports that have been open
      /** @type {Set<string> | null} */
      this._chosen = options.topics ? new Set(options.topics) : null; // null: all of the feed …
      /** @type {Set<string>} */
      this._without = new Set(); // … except these
      /** @type {Set<string>} */
      this._subscribed = new Set(); // confirmed by the server
      /** @type {Map<string, string>} */
      this._positions = new Map(); // of topics with history
      this._pings = 0;
    }

    /** The present transport: "websocket", "stream" or "poll". */
    get transport() {
      return this._transports[this._index];
    }

    /** The topics to which the server has confirmed a subscription. */
    get topics() {
      return [...this._subscribed];
    }

    /**
     * Subscribe to another topic of the feed, after a position if one is given.
     * @param {string} topic
     * @param {string} [since]
     */
    subscribe(topic, since) {
      if (this._chosen) this._chosen.add(topic);
      else if (!this._without.delete(topic) && since === undefined) return; // already subscribed
      if (since !== undefined) this._positions.set(topic, since);
      this._subscribed.delete(topic); // until the answer
      this._change({ subscribe: topic, since: this._positions.get(topic) });
    }

    /**
     * Unsubscribe from a topic and forget its position.
     * @param {string} topic
     */
    unsubscribe(topic) {
      if (this._chosen) this._chosen.delete(topic);
      else this._without.add(topic);
      this._subscribed.delete(topic);
      this._positions.delete(topic);
      this._change({ unsubscribe: topic });
    }

    /**
     * Change the subscriptions: by a request over an open WebSocket, else by a new connection.
     * @param {{subscribe?: string, unsubscribe?: string, since?: string}} request
     */
    _change(request) {
      if (this.state === "open" && this._attempt && this._attempt.send) {
        this._attempt.send(JSON.stringify(request));
        return;
      }
      if (this.state !== "open" && this.state !== "connecting") return; // part of the next attempt
      if (request.unsubscribe !== undefined && !this._chosen) return; // its messages are ignored
      const number = this._number;
      Promise.resolve().then(() => {
        if (number !== this._number) return; // one new connection for all changes of this moment
        this._leave(1000, "");
        this._connect();
      });
    }

    /** @param {Listener} listener */
    _begin(listener) {
      if (!this._transports.length) throw new Error("this browser has no WebSocket and no fetch");
      this._subscribed.clear();
      this._asking = new Set(this._positions.keys());
      switch (this.transport) {
        case "websocket":
          return webSocket(this._environment, this._url, this._query(), [SUBPROTOCOL], listener);
        case "stream":
          return stream(this._environment, this._url, this._query(), listener);
        default:
          return poll(this._environment, this._url, () => this._query(), listener);
      }
    }

    /** The query of the URL: the topics, and the positions in them. */
    _query() {
      const query = new URLSearchParams();
      if (this._chosen) {
        for (const topic of this._chosen.size ? this._chosen : [""]) query.append("topic", topic);
      }
      if (this._positions.size) {
        query.append("since", new URLSearchParams([...this._positions]).toString());
      }
      return query.toString();
    }

    /** @param {any} data */
    _received(data) {
      const parsed = typeof data === "string" ? JSON.parse(data) : data;
      const { topic, id, message, recovered, error } = parsed;
      if (error !== undefined) {
        this._dispatch("error", { reason: error, topic });
        return;
      }
      if (topic === undefined) return; // a pong, or part of a later version
      if (this._without.has(topic)) {
        if (recovered !== undefined && this._attempt && this._attempt.send) {
          this._attempt.send(JSON.stringify({ unsubscribe: topic }));
        }
        return;
      }
      if (id !== undefined) this._positions.set(topic, id);
      if (recovered !== undefined) {
        // Each poll is answered. Elsewhere a second answer says that messages are lost.
        const lost = this._subscribed.has(topic) && (id != null || this.transport !== "poll");
        this._subscribed.add(topic);
        const asked = /** @type {Set<string>} */ (this._asking).delete(topic);
        if (asked || (lost && !recovered)) this._dispatch("recovered", { topic, recovered });
      } else if (message !== undefined) {
        this._dispatch("message", { topic, id, data: decodeMessage(message) });
      }
    }

    _silence() {
      return { websocket: PING_AFTER, stream: MISSED * this._beat, poll: 0 }[this.transport];
    }

    _ping() {
      if (!this._attempt || !this._attempt.send) return false;
      this._attempt.send(JSON.stringify({ ping: ++this._pings }));
      return true;
    }

    _failed() {
      this._tries += 1;
      if (this._tries >= (this._worked.has(this.transport) ? PATIENCE : 1)) {
        this._tries = 0;
        this._index = (this._index + 1) % this._transports.length;
      }
    }

    _succeeded() {
      this._tries = 0;
      this._worked.add(this.transport);
    }

    /** @param {End} end */
    _lost(end) {
      // After another transport than the best one, the best one gets a new chance.
      if (this.state === "open") this._index = this._tries = 0;
      super._lost(end);
    }
  }

  // The transports.

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {string} query
   * @param {string[]} protocols
   * @param {Listener} listener
   * @returns {Attempt}
   */
  function webSocket(environment, url, query, protocols, listener) {
    const socket = new environment.WebSocket(address(environment, url, query, "ws"), protocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => listener.opened();
    socket.onmessage = (/** @type {any} */ event) => listener.received(event.data);
    socket.onclose = (/** @type {any} */ { code, reason }) => listener.ended({ code, reason });
    return {
      send: (data) => socket.send(data),
      close: (code, reason) => {
        try {
          socket.close(code, reason);
        } catch (error) {
          socket.close();
          throw error; // a code or a reason that browsers refuse to send
        }
      },
    };
  }

  /**
   * Server-sent events, read by fetch: unlike EventSource it reports the HTTP status of a refusal,
   * and passes on the comments that keep the connection alive.
   * @param {Environment} environment
   * @param {string} url
   * @param {string} query
   * @param {Listener} listener
   * @returns {Attempt}
   */
  function stream(environment, url, query, listener) {
    const aborter = new AbortController();
    const accept = "text/event-stream";
    const run = async () => {
      const response = await request(environment, address(environment, url, query, "http"), {
        headers: { Accept: accept },
        signal: aborter.signal,
      });
      expect(response, accept);
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let open = false;
      // Only with the first data, because a proxy may buffer the stream; and not if all of it is an
      // event that asks to reconnect later.
      const opened = () => {
        if (!open) listener.opened();
        open = true;
      };
      const lines = new EventLines(
        (event, data) => {
          if (event === "close") throw JSON.parse(data);
          opened();
          listener.received(data);
        },
        (comment) => {
          const beat = /^ ?heartbeat (\d+(?:\.\d+)?)$/.exec(comment);
          if (beat) listener.beats(Number(beat[1]));
        },
      );
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw { code: LOST, reason: "the stream ended" };
        listener.heard();
        lines.feed(decoder.decode(value, { stream: true }));
        opened();
      }
    };
    run().catch((end) => {
      listener.ended(asEnd(end));
      aborter.abort(); // do not read the rest of an answer that is no stream
    });
    return { close: () => aborter.abort() };
  }

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {() => string} query
   * @param {Listener} listener
   * @returns {Attempt}
   */
  function poll(environment, url, query, listener) {
    const aborter = new AbortController();
    /** @type {any} */
    let timer = null;
    const pause = (/** @type {number} */ seconds) =>
      new Promise((go) => {
        timer = environment.setTimeout(() => go(undefined), seconds * 1000);
      });
    const run = async () => {
      for (let first = true; !aborter.signal.aborted; first = false) {
        const begun = environment.now();
        timer = environment.setTimeout(
          () => {
            listener.ended({ code: NO_ANSWER, reason: "no answer" });
            aborter.abort();
          },
          (POLL_WAIT + OPEN_TIMEOUT) * 1000,
        );
        const response = await request(environment, address(environment, url, query(), "http"), {
          // The first poll does not wait: a page must not show "connecting" for long.
          headers: { Accept: "application/json", Prefer: `wait=${first ? 0 : POLL_WAIT}` },
          signal: aborter.signal,
        });
        expect(response, "application/json");
        const { topics, messages } = await response.json();
        environment.clearTimeout(timer);
        if (first) listener.opened();
        listener.heard();
        for (const each of [...topics, ...messages]) listener.received(each);
        if (!first && !messages.length && environment.now() - begun < POLL_PAUSE) {
          await pause(POLL_PAUSE);
        }
      }
    };
    run().catch((end) => {
      environment.clearTimeout(timer);
      listener.ended(asEnd(end));
    });
    return {
      close: () => {
        environment.clearTimeout(timer);
        aborter.abort();
      },
    };
  }

  /** A parser of server-sent events, whose text comes in pieces. */
  class EventLines {
    /**
     * @param {(event: string, data: string) => void} dispatch
     * @param {(comment: string) => void} comment
     */
    constructor(dispatch, comment) {
      this._dispatch = dispatch;
      this._comment = comment;
      this._rest = "";
      this._event = "";
      /** @type {string[]} */
      this._data = [];
    }

    /** @param {string} text */
    feed(text) {
      // The node ends lines with "\n" alone.
      const lines = (this._rest + text).split("\n");
      this._rest = /** @type {string} */ (lines.pop());
      for (const line of lines) this._line(line);
    }

    /** @param {string} line */
    _line(line) {
      if (line === "") {
        const [event, data] = [this._event, this._data];
        this._event = "";
        this._data = [];
        if (data.length) this._dispatch(event, data.join("\n"));
      } else if (line.startsWith("data:")) {
        this._data.push(line.slice(line[5] === " " ? 6 : 5));
      } else if (line.startsWith("event:")) {
        this._event = line.slice(6).trim();
      } else if (line.startsWith(":")) {
        this._comment(line.slice(1));
      }
      // id: is also in the message; retry: is replaced by our own jitter
    }
  }

  /**
   * Send a request with the options that all requests need.
   * @param {Environment} environment
   * @param {string} url
   * @param {Record<string, any>} init
   */
  async function request(environment, url, init) {
    return environment.fetch(url, { cache: "no-store", credentials: "include", ...init });
  }

  /**
   * Throw an End unless a response has status 200 and the expected type.
   * @param {any} response
   * @param {string} type
   */
  function expect(response, type) {
    if (response.status !== 200) {
      const after = Number(response.headers.get("Retry-After")) || 0;
      throw { code: response.status, reason: response.statusText || "", after };
    }
    if (!(response.headers.get("Content-Type") || "").startsWith(type)) {
      throw { code: 406, reason: "not a feed" }; // such as a login page
    }
  }

  /**
   * @param {any} thrown  an End, or an error of fetch or its reader
   * @returns {End}
   */
  function asEnd(thrown) {
    return typeof thrown.code === "number" && "reason" in thrown && !(thrown instanceof Error)
      ? thrown
      : { code: LOST, reason: String(thrown) };
  }

  /**
   * Whether reconnecting would not help: an error of the client, or a refusal.
   * @param {number} code
   */
  function isFinal(code) {
    if (code < 1000) return code >= 400 && code < 500 && !PASSING.has(code);
    return USELESS.has(code) || (code >= 4400 && code < 4500);
  }

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {string} query  added to what the URL has
   * @param {"ws" | "http"} scheme
   */
  function address(environment, url, query, scheme) {
    const absolute = new URL(url, environment.base);
    const secure = absolute.protocol === "https:" || absolute.protocol === "wss:";
    if (query) absolute.search += (absolute.search ? "&" : "?") + query;
    absolute.hash = "";
    return scheme + (secure ? "s" : "") + absolute.href.slice(absolute.protocol.length - 1);
  }

  /** @param {string | {base64: string}} message */
  function decodeMessage(message) {
    if (typeof message === "string") return message;
    return Uint8Array.from(atob(message.base64), (letter) => letter.charCodeAt(0)).buffer;
  }

  /** @type {any} */ (globalThis).c10k = Object.freeze({
    Feed,
    Socket,
    /** @type {(url: string, options?: Options) => Feed} */
    feed: (url, options) => new Feed(url, options),
    /** @type {(url: string, options?: Options) => Socket} */
    socket: (url, options) => new Socket(url, options),
  });
})();
