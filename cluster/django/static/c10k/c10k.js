// c10k.js: connections that come back by themselves. No dependencies.
//
//     const feed = c10k.feed("/live/events/");            messages of a @feed
//     feed.addEventListener("message", (event) => show(event.data, event.topic));
//
//     const socket = c10k.socket("/chat/ws/");            an ordinary @websocket handler
//     socket.addEventListener("message", (event) => show(event.json()));
//     socket.send("hello");
//
// This file is a classic script that makes the global `c10k`; c10k.mjs is the same as a module.
//
// States:  connecting → open → waiting → connecting → …
//          refused: the server said that coming back would not help; only retry() leaves it
//          closed: close() was called, or the server is done (1000); only retry() leaves it
//
// How long to wait is drawn between 0 and a limit that doubles with each failure ("full jitter"):
// ten thousand pages that lost the same node must not all come back at the same moment.
(() => {
  "use strict";

  const FIRST_LIMIT = 1; // s
  const LAST_LIMIT = 30; // s
  const REFUSED_LIMIT = 300; // s; for a socket that is probably refused: a browser does not tell us
  const NEVER_OPEN = 3; // failures in a row until that is probable, if it has never been open,
  const ONCE_OPEN = 20; // and if it has: some minutes
  const RESTART_LIMIT = 0.5; // s; the server said that it restarts, its successor is there already
  const STEADY = 5; // s; open for so long, a connection counts as a success
  const OPEN_TIMEOUT = 10; // s from the attempt to the first sign of life
  const PING_AFTER = 25; // s of silence on a feed's WebSocket until we ask whether anyone is there
  const PONG_TIMEOUT = 10; // s
  const HEARTBEAT = 15; // s between comments on an event stream, unless it says something else
  const MISSED = 3; // heartbeats that may be missing
  const LONGEST_AFTER = 3600; // s; what a server asks for beyond that is a mistake
  const POLL_WAIT = 25; // s that the server holds a poll; proxies allow 30 at least
  const POLL_PAUSE = 1; // s after an answer that was empty and came at once
  const PATIENCE = 3; // failures in a row until a way that has worked is given up for the next one

  const RESTARTING = new Set([1001, 1012]); // going away, service restart
  const USELESS = new Set([1002, 1003, 1007, 1008, 1009, 1010]); // it is what we do that is wrong
  const PASSING = new Set([408, 425, 429]); // HTTP statuses below 500 that another time may not have

  const SUBPROTOCOL = "c10k.v1";
  const NO_ANSWER = 4000; // our own: nothing was heard for too long
  const LOST = 1006; // the connection broke, as WebSocket says it

  /**
   * @typedef {"connecting" | "open" | "waiting" | "refused" | "closed"} State
   *
   * What the environment offers; replaced in tests.
   * @typedef {object} Environment
   * @property {any} WebSocket
   * @property {any} fetch
   * @property {any} window  where "online" events come from
   * @property {any} document  where "visibilitychange" events come from
   * @property {(call: () => void, ms: number) => any} setTimeout
   * @property {(timer: any) => void} clearTimeout
   * @property {() => number} random
   * @property {() => number} now  seconds
   * @property {() => boolean} online
   * @property {string} base  what relative URLs are relative to
   *
   * How a connection ended: a close code, or an HTTP status below 1000.
   * @typedef {{code: number, reason: string, after?: number}} End  `after`: wait s at least
   *
   * What one attempt to connect tells its connection.
   * @typedef {object} Listener
   * @property {() => void} opened
   * @property {() => void} heard  something came, be it only a sign of life
   * @property {(seconds: number) => void} beats  how often there will be a sign of life
   * @property {(data: any) => void} received
   * @property {(end: End) => void} ended
   *
   * One attempt to connect.
   * @typedef {object} Way
   * @property {(data: any) => void} [send]
   * @property {(code: number, reason: string) => void} close
   *
   * @typedef {object} Options
   * @property {(event: any) => void} [onmessage]
   * @property {(event: any) => void} [onstate]
   * @property {(event: any) => void} [onerror]
   * @property {(event: any) => void} [onrecovered]
   * @property {string[]} [protocols]  socket: the subprotocols offered
   * @property {string} [heartbeat]  socket: a message that the handler answers, sent when all is
   *     silent; without it a dead connection is noticed when the browser notices
   * @property {string[]} [topics]  feed: only these of its topics
   * @property {("websocket" | "stream" | "poll")[]} [ways]  feed: how to connect, best first
   * @property {Partial<Environment>} [environment]
   */

  /** @returns {Environment} */
  function surroundings() {
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

  /** An event whose members are those given. */
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
   * What both kinds of connection share: states, waiting, heartbeats.
   *
   * Events: "message", "state" (state; with "waiting" delay in seconds and failures, those since a
   * connection held; code and reason of the end that led there). Each may also be given as an
   * option: onmessage, onstate, …
   */
  class Connection extends EventTarget {
    /**
     * @param {string} url  relative or absolute; ws, wss, http and https mean the same here
     * @param {Options} options
     */
    constructor(url, options = {}) {
      super();
      /** @type {Environment} */
      this._environment = { ...surroundings(), ...options.environment };
      this._options = options;
      this._url = url;
      /** @type {State} */
      this.state = "connecting";
      /** @type {Way | null} */
      this._way = null;
      this._attempt = 0;
      this._failures = 0; // since a connection held
      this._unopened = 0; // attempts in vain since a connection was open
      this._wasOpen = false; // ever
      this._openedAt = 0;
      this._heardAt = 0;
      this._beat = HEARTBEAT;
      this._asked = false;
      /** @type {any} */
      this._timer = null; // the next attempt, or the next look at how long all has been silent
      for (const [name, call] of Object.entries(options)) {
        if (name.startsWith("on")) this.addEventListener(name.slice(2), /** @type {any} */ (call));
      }
      this._online = () => this._look();
      this._visible = () => this._environment.document.visibilityState === "visible" && this._look();
      // Listeners are added by whoever called us, after this: so connect a moment later.
      Promise.resolve().then(() => this.state === "connecting" && !this._way && this._connect());
    }

    /** Try at once instead of waiting on: the network came back, or someone is looking. */
    retry() {
      if (this.state === "connecting" || this.state === "open") return;
      this._connect();
    }

    /**
     * Be done with it; not only with this attempt.
     * @param {number} code
     * @param {string} reason
     */
    close(code = 1000, reason = "") {
      if (this.state === "closed") return;
      try {
        this._leave(code, reason);
      } finally {
        this._enter("closed", { code, reason }); // also for a code that no browser sends
      }
    }

    /**
     * One attempt; `listener` must not be called before this returns.
     * @param {Listener} listener
     * @returns {Way}
     */
    _begin(listener) {
      throw new Error("not here");
    }

    /** @param {any} data */
    _received(data) {}

    /** Seconds of silence after which we ask, or give up if we cannot; 0: never. */
    _silence() {
      return 0;
    }

    /** Ask whether anyone is there; false if that cannot be asked. */
    _ask() {
      return false;
    }

    /** The longest time to wait for the next attempt, before jitter. */
    _limit() {
      return LAST_LIMIT;
    }

    /** The network changed, or someone looks again: what we believed of the connection may be old. */
    _look() {
      if (this.state === "waiting") this.retry();
      else if (this.state === "open" && !this._asked && this._ask()) {
        this._asked = true;
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
      const attempt = ++this._attempt;
      const current = () => attempt === this._attempt;
      this._beat = HEARTBEAT;
      this._enter("connecting", {});
      if (!current()) return; // a listener closed
      this._setTimer(() => this._lost({ code: NO_ANSWER, reason: "no answer" }), OPEN_TIMEOUT);
      this._environment.window.addEventListener?.("online", this._online);
      this._environment.document?.addEventListener("visibilitychange", this._visible);
      try {
        this._way = this._begin({
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
        this._lost({ code: 1008, reason: String(error) }); // such as a URL that is none
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
      this._asked = false;
    }

    /** Look again when the silence could have lasted too long. */
    _watch() {
      const limit = this._asked ? PONG_TIMEOUT : this._silence();
      if (!limit) {
        this._setTimer(null, 0);
        return;
      }
      const left = this._heardAt + limit - this._environment.now();
      if (left > 0) {
        this._setTimer(() => this._watch(), left);
      } else if (!this._asked && this._ask()) {
        this._asked = true;
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
     * Drop the present attempt; nothing is heard of it any more.
     * @param {number} code
     * @param {string} reason
     */
    _leave(code, reason) {
      const way = this._way;
      this._way = null;
      this._attempt += 1;
      this._asked = false;
      this._setTimer(null, 0);
      if (way) way.close(code, reason);
    }

    /**
     * @param {State} state
     * @param {Record<string, any>} details
     */
    _enter(state, details) {
      this.state = state;
      if (state === "closed" || state === "refused") {
        this._environment.window.removeEventListener?.("online", this._online);
        this._environment.document?.removeEventListener("visibilitychange", this._visible);
      }
      this._tell("state", { state, ...details });
    }

    /**
     * @param {string} type
     * @param {Record<string, any>} members
     */
    _tell(type, members) {
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

  /** Plain messages of an ordinary handler: strings, and ArrayBuffers for binary ones. */
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
      if (this.state !== "open" || !this._way || !this._way.send) return false;
      this._way.send(message);
      return true;
    }

    /** @param {any} data */
    _received(data) {
      this._tell("message", { data });
    }

    _silence() {
      return this._options.heartbeat === undefined ? 0 : PING_AFTER;
    }

    _ask() {
      const { heartbeat } = this._options;
      return heartbeat !== undefined && this.send(heartbeat);
    }

    /**
     * A browser tells no script whether a handshake was refused or never answered. Who has not been
     * let in for long is probably not wanted, so that they ask less and less often.
     */
    _limit() {
      const patience = this._wasOpen ? ONCE_OPEN : NEVER_OPEN;
      return this._unopened > patience ? REFUSED_LIMIT : LAST_LIMIT;
    }
  }

  /**
   * The messages of a feed, by WebSocket, else by a stream of events, else by polling.
   *
   * After a loss it asks for what was missed. More events: "recovered" (topic, recovered: false if
   * messages are missing, so that the page has to be loaded anew), "error" (reason, topic).
   * A message event has data (a string, or an ArrayBuffer), topic and, with history, id.
   */
  class Feed extends Connection {
    /**
     * @param {string} url
     * @param {Options} options
     */
    constructor(url, options = {}) {
      super(url, options);
      const ways = options.ways || ["websocket", "stream", "poll"];
      this._ways = ways.filter((way) =>
        way === "websocket" ? this._environment.WebSocket : this._environment.fetch,
      );
      this._index = 0; // in _ways
      this._tries = 0; // failures of this way, one after the other
      this._worked = new Set(); // the ways that have been open
      /** @type {Set<string> | null} */
      this._chosen = options.topics ? new Set(options.topics) : null; // null: all of the feed, …
      /** @type {Set<string>} */
      this._without = new Set(); // … but these
      /** @type {Set<string>} */
      this._subscribed = new Set(); // what the server said that we are subscribed to
      /** @type {Map<string, string>} */
      this._positions = new Map(); // of topics with history
      this._pings = 0;
    }

    /** How it connects now: "websocket", "stream" or "poll". */
    get way() {
      return this._ways[this._index];
    }

    /** The topics subscribed to, as far as the server has said. */
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
      else if (!this._without.delete(topic) && since === undefined) return; // all are subscribed to
      if (since !== undefined) this._positions.set(topic, since);
      this._change({ subscribe: topic, since: this._positions.get(topic) });
    }

    /**
     * Have no more of a topic; its position is forgotten.
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
     * @param {{subscribe?: string, unsubscribe?: string, since?: string}} request  what says it over
     *     an open WebSocket; else it is said by a new connection
     */
    _change(request) {
      if (this.state === "open" && this._way && this._way.send) {
        this._way.send(JSON.stringify(request));
        return;
      }
      if (this.state !== "open" && this.state !== "connecting") return; // the next attempt says it
      if (request.unsubscribe !== undefined && !this._chosen) return; // what comes is ignored
      const attempt = this._attempt;
      Promise.resolve().then(() => {
        if (attempt !== this._attempt) return; // done, for all changes of this moment
        this._leave(1000, "");
        this._connect();
      });
    }

    /** @param {Listener} listener */
    _begin(listener) {
      if (!this._ways.length) throw new Error("this browser has no WebSocket and no fetch");
      this._subscribed.clear();
      this._asking = new Set(this._positions.keys());
      switch (this.way) {
        case "websocket":
          return webSocket(this._environment, this._url, this._query(), [SUBPROTOCOL], listener);
        case "stream":
          return stream(this._environment, this._url, this._query(), listener);
        default:
          return poll(this._environment, this._url, () => this._query(), listener);
      }
    }

    /** Which topics, and what of them is known already. */
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
      const said = typeof data === "string" ? JSON.parse(data) : data;
      const { topic, id, message, recovered, error } = said;
      if (error !== undefined) {
        this._tell("error", { reason: error, topic });
        return;
      }
      if (topic === undefined) return; // a pong, or of a later version
      if (this._without.has(topic)) {
        if (recovered !== undefined && this._way && this._way.send) {
          this._way.send(JSON.stringify({ unsubscribe: topic }));
        }
        return;
      }
      if (id !== undefined) this._positions.set(topic, id);
      if (recovered !== undefined) {
        this._subscribed.add(topic);
        const asked = /** @type {Set<string>} */ (this._asking).delete(topic);
        if (asked) this._tell("recovered", { topic, recovered });
      } else if (message !== undefined) {
        this._tell("message", { topic, id, data: decodeMessage(message) });
      }
    }

    _silence() {
      return { websocket: PING_AFTER, stream: MISSED * this._beat, poll: 0 }[this.way];
    }

    _ask() {
      if (!this._way || !this._way.send) return false;
      this._way.send(JSON.stringify({ ping: ++this._pings }));
      return true;
    }

    _failed() {
      this._tries += 1;
      if (this._tries >= (this._worked.has(this.way) ? PATIENCE : 1)) {
        this._tries = 0;
        this._index = (this._index + 1) % this._ways.length;
      }
    }

    _succeeded() {
      this._tries = 0;
      this._worked.add(this.way);
    }

    /** @param {End} end */
    _lost(end) {
      // What worked in place of the best way is not kept longer than it lasts.
      if (this.state === "open") this._index = this._tries = 0;
      super._lost(end);
    }
  }

  // The ways.

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {string} query
   * @param {string[]} protocols
   * @param {Listener} listener
   * @returns {Way}
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
          throw error; // a code or a reason that no browser sends
        }
      },
    };
  }

  /**
   * Server-sent events, read by fetch: unlike EventSource it says which HTTP status a refusal had,
   * and hears the comments that keep the connection alive.
   * @param {Environment} environment
   * @param {string} url
   * @param {string} query
   * @param {Listener} listener
   * @returns {Way}
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
      // Not before the first bytes: a proxy that holds them back would hold back all others. And not
      // if all that they say is to come back later.
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
      aborter.abort(); // after a bad answer the rest of it is of no interest
    });
    return { close: () => aborter.abort() };
  }

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {() => string} query
   * @param {Listener} listener
   * @returns {Way}
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
          // The first one only asks whether this works: a page must not show "connecting" for long.
          headers: { Accept: "application/json", Prefer: `wait=${first ? 0 : POLL_WAIT}` },
          signal: aborter.signal,
        });
        expect(response, "application/json");
        const { topics, messages } = await response.json();
        environment.clearTimeout(timer);
        if (first) listener.opened();
        listener.heard();
        for (const said of [...topics, ...messages]) listener.received(said);
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

  /** Lines of server-sent events, in pieces as they come. */
  class EventLines {
    /**
     * @param {(event: string, data: string) => void} dispatch
     * @param {(comment: string) => void} remark
     */
    constructor(dispatch, remark) {
      this._dispatch = dispatch;
      this._remark = remark;
      this._rest = "";
      this._event = "";
      /** @type {string[]} */
      this._data = [];
    }

    /** @param {string} text */
    feed(text) {
      // Our server ends lines with "\n" alone.
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
        this._remark(line.slice(1));
      }
      // id: the envelope has it, too; retry: we know better
    }
  }

  /**
   * A request with what all of ours have; one that fails is an End.
   * @param {Environment} environment
   * @param {string} url
   * @param {Record<string, any>} init
   */
  async function request(environment, url, init) {
    return environment.fetch(url, { cache: "no-store", credentials: "include", ...init });
  }

  /**
   * Throw an End unless a response is what we asked for.
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
   * @param {any} thrown  an End, or what fetch and its reader throw
   * @returns {End}
   */
  function asEnd(thrown) {
    return typeof thrown.code === "number" && "reason" in thrown && !(thrown instanceof Error)
      ? thrown
      : { code: LOST, reason: String(thrown) };
  }

  /**
   * Whether it would be in vain to come back: our fault, or not for us.
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
