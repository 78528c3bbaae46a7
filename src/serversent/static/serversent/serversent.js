// django-serversent, BSD-3-Clause. Made from client/ by make client.
var __defProp = Object.defineProperty;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __esm = (fn, res, err) => function __init() {
  if (err) throw err[0];
  try {
    return fn && (res = (0, fn[__getOwnPropNames(fn)[0]])(fn = 0)), res;
  } catch (e) {
    throw err = [e], e;
  }
};
var __export = (target, all2) => {
  for (var name in all2)
    __defProp(target, name, { get: all2[name], enumerable: true });
};

// client/hints.js
var hints_exports = {};
__export(hints_exports, {
  explain: () => explain
});
function tell(text, about) {
  if (told.has(text)) return;
  told.add(text);
  console.warn(`serversent: ${text}`, ...about ? [about] : []);
}
function explain(url, why) {
  const { origin, pathname } = new URL(url);
  const path = origin + pathname;
  if (/fetch|NetworkError|Load failed/i.test(why)) tell(explainNoAnswer(origin, path));
  else if (/answered 404/.test(why)) tell(`${path} answered 404: no view is there. Is its path() in urls.py?`);
  else if (/answered 406/.test(why))
    tell(
      `${path} answered 406. For a view of Django REST Framework: renderer_classes = [EventStreamRenderer], from serversent.contrib.drf.`
    );
  else if (/answered 200 with/.test(why))
    tell(`${path} is no stream (${why}). Its view needs @event_stream or @channel_stream directly above its def.`);
  else if (why) tell(`${path}: ${why}`);
}
function explainNoAnswer(origin, path) {
  if (origin === location.origin)
    return `no answer from ${path}. The server is not running, or the page's Content-Security-Policy does not allow the connection: it needs connect-src 'self'.`;
  return `no answer from ${path}, which is another origin. Its server has to allow this page (with django-cors-headers: CORS_ALLOWED_ORIGINS = ["${location.origin}"]); for its cookies also CORS_ALLOW_CREDENTIALS = True and connect(url, { withCredentials: true }).`;
}
function check(element) {
  const get = (name) => element.getAttribute(name);
  if (!get("src")) tell('<event-stream> has no src: write src="/clock/", or {% event_stream "news" %}.', element);
  const mode = get("mode");
  const wrong = mode?.split(/\s+/).find((word) => !MODES.includes(word));
  if (wrong !== void 0)
    tell(`mode="${mode}" is none of ${MODES.join(", ")}, and not two of them, as "append html".`, element);
  const limit = get("limit");
  if (limit !== null && !/^\d+$/.test(limit)) tell(`limit="${limit}" is no number of events to keep.`, element);
  const target = get("target");
  if (target && !document.querySelector(target))
    tell(`target="${target}" finds no element of the page. It is a selector: target="#orders".`, element);
  setTimeout(() => checkStarted(element), START_MILLISECONDS);
}
function checkStarted(element) {
  const hasButton = element.querySelector("[data-sse-start]");
  if (!element.isConnected || element.stream || hasButton || element.hasAttribute("autostart")) return;
  tell(
    "<event-stream> was not started: write <event-stream autostart>, or put a button into it: <button type=button data-sse-start>Start</button>.",
    element
  );
}
function watch(element) {
  const { stream } = element;
  if (!stream || watched.has(stream)) return;
  watched.add(stream);
  stream.on("*", (event) => {
    const types = (element.getAttribute("event") ?? "message").split(/[\s,]+/);
    if (!types.includes(event.type))
      tell(
        `an event of type "${event.type}" came, which <event-stream> does not show: write event="${[...types, event.type].join(", ")}".`,
        element
      );
    else checkTemplate(element, event.data);
  });
}
function checkTemplate(element, data) {
  const template = element.querySelector("template");
  if (!template) return;
  const fields = template.content.querySelectorAll("[data-sse-text]");
  if (!fields.length)
    tell('the <template> shows nothing of an event: write <span data-sse-text="$data"></span> in it.', element);
  const values = valuesOf(data);
  for (const field of fields) {
    const name = field.getAttribute("data-sse-text") || "$data";
    if (name[0] === "$" || values && name in values) continue;
    const shown = data.length > SHOWN_CHARACTERS ? `${data.slice(0, SHOWN_CHARACTERS)}...` : data;
    const instead = values ? `It has ${Object.keys(values).join(", ") || "no values"}.` : `It is text; write data-sse-text="$data", or send a dict: send_event(channel, {"${name}": ...}).`;
    tell(`data-sse-text="${name}" finds nothing in the data ${JSON.stringify(shown)}. ${instead}`, element);
  }
}
function valuesOf(data) {
  try {
    const value = JSON.parse(data);
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
function checkAll(root) {
  for (const element of root.querySelectorAll("event-stream")) {
    check(
      /** @type {Element} */
      element
    );
    watch(
      /** @type {Element} */
      element
    );
  }
}
var MODES, START_MILLISECONDS, SHOWN_CHARACTERS, told, watched;
var init_hints = __esm({
  "client/hints.js"() {
    MODES = ["append", "prepend", "replace", "html"];
    START_MILLISECONDS = 1e3;
    SHOWN_CHARACTERS = 60;
    told = /* @__PURE__ */ new Set();
    watched = /* @__PURE__ */ new WeakSet();
    addEventListener("serversent:state", ({ target }) => watch(
      /** @type {Element} */
      target
    ), true);
    if (document.readyState === "complete") checkAll(document);
    else addEventListener("load", () => checkAll(document));
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes)
        for (const node of addedNodes)
          if (node instanceof HTMLElement && node.isConnected) {
            if (node.matches("event-stream")) check(
              /** @type {Element} */
              node
            );
            checkAll(node);
          }
    }).observe(document, { childList: true, subtree: true });
  }
});

// client/event.js
var StreamEvent = class {
  /**
   * @param {string} type
   * @param {string} data text, as it was sent.
   * @param {string} id the cursor after it, if it has one.
   * @param {string} why of a `state`: its reason.
   */
  constructor(type, data, id = "", why = "") {
    this.type = type;
    this.data = data;
    this.id = id;
    this.why = why;
  }
  /** The value that was sent as JSON. Throws SyntaxError for other text. */
  json() {
    return JSON.parse(this.data);
  }
};
var isBeginning = ({ type }) => type === "ready" || type === "reset";

// client/page.js
var place = (url) => url.replace(/[?#].*/, "");
var isSigned = (url) => new URL(url).hash.startsWith("#sse-");
function pageUser() {
  const scripts = document.querySelectorAll("script[data-serversent-user]");
  return [...scripts].at(-1)?.dataset.serversentUser ?? "";
}
var warn = (text) => console.warn(`serversent: ${text}`);

// client/outcome.js
var MAX_RETRY_MILLISECONDS = 3e4;
var REFUSED = { over: "closed", why: "expired", status: 403 };
var AGAIN = { why: "", soon: true, isFine: true };
var ENDED = { over: "closed", all: true, isFine: true, why: "ended" };
function endOf({ data }) {
  const [status] = /\d+/.exec(data) ?? [];
  return status ? { over: (
    /** @type {State} */
    "closed"
  ), status: +status, why: `ended with ${status}` } : ENDED;
}
function backoff(least, failures) {
  const most = Math.max(MAX_RETRY_MILLISECONDS, least);
  return Math.min(most, least + Math.random() * Math.min(most, least * 2 ** failures));
}
function classifyResponse(response, once) {
  const { status, headers } = response;
  const type = headers.get("Content-Type") ?? "no type";
  const isFine = status === 200;
  if (isFine && /^text\/event-stream *(;|$)/i.test(type)) return null;
  const why = `answered ${status} with ${type} at ${place(response.url)}`;
  if (status === 401 || isFine && response.redirected && /^text\/html/i.test(type))
    return { over: "unauthorized", why };
  if ([408, 425, 429, 503].includes(status) || status >= 500 && !once)
    return { why, after: retryAfter(headers.get("Retry-After")) };
  return { over: "closed", all: status === 204 || status === 205, why, status };
}
async function reasonOf(response) {
  if (!response.headers.get("Content-Type")?.startsWith("text/plain")) return "";
  return `: ${(await response.text()).slice(0, 300)}`;
}
function retryAfter(value) {
  const wait = Number(value) * 1e3 || Date.parse(value ?? "") - Date.now();
  return Math.max(wait, 0) || 0;
}

// client/parser.js
var MAX_EVENT_CHARACTERS = 1 << 24;
var Parser = class {
  #sink;
  #id;
  #type = "";
  #afterCr = false;
  #size = 0;
  /** @type {string[]} pieces of the line that has not ended: joined once, so that tiny ones cost linear time */
  #line = [];
  /** @type {string[]} */
  #data = [];
  /**
   * @param {{ event(event: StreamEvent): void, comment?(text: string): void, retry?(milliseconds: number): void,
   *   id?(id: string): void }} sink `id`: of a block that is no event
   * @param {string} id the last one of the response before
   */
  constructor(sink, id = "") {
    this.#sink = sink;
    this.#id = id;
  }
  /** @param {string} text */
  feed(text) {
    if (this.#afterCr && text) {
      this.#afterCr = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    let start = 0;
    for (const end of text.matchAll(/\r\n|\n|\r/g)) {
      this.#grow(text.slice(start, end.index));
      start = end.index + end[0].length;
      this.#endLine();
    }
    if (start < text.length) this.#grow(text.slice(start));
    if (text.endsWith("\r")) this.#afterCr = true;
  }
  /** @param {string} piece */
  #grow(piece) {
    this.#size += piece.length;
    if (this.#size > MAX_EVENT_CHARACTERS) throw new RangeError("event too large");
    this.#line.push(piece);
  }
  #endLine() {
    const line = this.#line.join("");
    this.#line.length = 0;
    if (line) return this.#field(line);
    const [data, type] = [this.#data, this.#type || "message"];
    this.#data = [];
    this.#type = "";
    this.#size = 0;
    if (data.length) this.#sink.event(new StreamEvent(type, data.join("\n"), this.#id));
    else this.#sink.id?.(this.#id);
  }
  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (name === "data") {
      this.#data.push(value);
      this.#size += 1;
      return;
    }
    this.#size -= line.length;
    if (name === "") this.#sink.comment?.(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#sink.retry?.(Number(value));
  }
};

// client/places.js
var PLACES = 4;
var taken = /* @__PURE__ */ new Map();
function areFew(url) {
  const [page] = performance.getEntriesByType("navigation");
  const { nextHopProtocol } = (
    /** @type {PerformanceNavigationTiming} */
    page ?? {}
  );
  return new URL(url).origin !== location.origin || !/^h[23]/.test(nextHopProtocol ?? "");
}
async function takePlace(host) {
  if (!navigator.locks) return taken.get(host) === PLACES || document.hidden ? void 0 : () => {
  };
  const first = Math.floor(Math.random() * PLACES);
  for (let number = 0; number < PLACES; number += 1) {
    const name = `serversent place ${host} ${(first + number) % PLACES}`;
    const release = await new Promise((resolve) => {
      navigator.locks.request(name, { ifAvailable: true }, (lock) => lock && new Promise((done) => resolve(() => done(null)))).then(() => resolve(void 0)).catch(() => resolve(() => {
      }));
    });
    if (release) return release;
  }
}

// client/connection.js
var MAX_MILLISECONDS = 2 ** 31 - 1;
var DEFAULT_RETRY_MILLISECONDS = 3e3;
var GOOD_MILLISECONDS = 1e4;
var SLOW_ANSWER_MILLISECONDS = 5e3;
var NO_ANSWER_MILLISECONDS = 4e4;
var NO_BYTE_MILLISECONDS = 2e4;
var EARLY_MILLISECONDS = 1e3;
var MANY_PLACES = 3;
var PLACE_MILLISECONDS = 100;
var MAX_PLACE_MILLISECONDS = 500;
var HIDDEN_PLACE_MILLISECONDS = 5e3;
var isCrowded = /* @__PURE__ */ new Set();
var isNotIdempotent = ({ method = "GET" }) => method.toUpperCase() !== "GET";
var Connection = class {
  cursor = "";
  /** @type {boolean | undefined} whether it is of a log, and so has cursors; undefined: not known yet */
  ofLog = void 0;
  #url;
  /** @type {Sink} */
  sink;
  #options;
  #once;
  #user = pageUser();
  // of this page, even if another user logs in later
  /** @type {AbortController | null} */
  #attempt = null;
  #id = "";
  // the newest id; an event without an id repeats it
  #run = new AbortController();
  // of one start. A stop aborts it, and the work of that start ends
  #types = /* @__PURE__ */ new Set(["message", "ready", "reset", "end"]);
  /** @type {EventSource | null} */
  #source = null;
  #retry = DEFAULT_RETRY_MILLISECONDS;
  /** @type {State} */
  #state = "idle";
  #answered = false;
  /** @type {"" | "renewed" | "unauthorized"} how the last renewal was answered, until a stream opens */
  #renewal = "";
  #expires = Infinity;
  // when the URL expires, in milliseconds of Date.now()
  #received = false;
  #heard = 0;
  // when bytes last came, by Date.now(): other clocks stand still while the machine sleeps
  #heartbeat = 0;
  // in milliseconds; 0: the server has not announced one
  #waitsUntil = 0;
  // the server's Retry-After: wake() does not end a wait before this time
  #due = 0;
  // when the wait ends
  /** @type {(() => void) | null} */
  #endWait = null;
  /** @type {(() => void) | null} gives its place back */
  #leavePlace = null;
  /** @type {BroadcastChannel | null} to those of other tabs that have places */
  #neighbours = null;
  gaveWay = false;
  // it released its place to a tab in the foreground
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @param {string} url @param {Options} options @param {Sink} sink */
  constructor(url, options, sink) {
    this.#url = url;
    this.#options = options;
    this.sink = sink;
    this.#once = isNotIdempotent(options);
  }
  get isRunning() {
    return this.#state !== "idle";
  }
  get #isExpired() {
    return Date.now() >= this.#expires;
  }
  open() {
    if (this.isRunning) return;
    this.gaveWay = false;
    this.#run = new AbortController();
    this.#loop(this.#run.signal);
  }
  close() {
    this.#run.abort();
    this.#state = "idle";
    clearTimeout(this.#timer);
    this.#attempt?.abort();
    this.#source?.close();
    this.#endWait?.();
    this.#leavePlace?.();
    this.#neighbours?.close();
    this.#neighbours = null;
  }
  /** Nobody looks at this tab. Where tabs cannot tell each other what they need, it needs nothing. */
  rest() {
    if (!navigator.locks) this.#giveWay();
  }
  /** The page, the machine or the network is awake again: come back at once, but leave what is healthy alone. */
  wake() {
    if (this.#endWait && Date.now() >= this.#waitsUntil) this.#endWait();
    else if (this.#heartbeat && this.#answered && Date.now() - this.#heard > 1.5 * this.#heartbeat)
      this.#attempt?.abort();
  }
  /** Do what timers are late with: those of a tab in the background are, by a minute. */
  catchUp() {
    if (!this.#endWait) this.#watch();
    else if (Date.now() >= this.#due) this.#endWait();
  }
  /** @param {string} type also has to be asked of EventSource */
  listen(type) {
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#fromSource);
  }
  /** @param {State} state @param {string} [why] */
  #changeState(state, why = "") {
    if (state === this.#state) return;
    this.#state = state;
    this.sink.state(state, why);
  }
  /** @param {AbortSignal} run */
  async #loop(run) {
    for (let failures = 0; !run.aborted; failures += 1) {
      const began = Date.now();
      this.#changeState("connecting");
      if (run.aborted) return;
      await this.#takePlace(run);
      if (run.aborted) return;
      let outcome = this.#isExpired ? REFUSED : await (this.#options.transport === "eventsource" ? this.#native(run) : this.#fetch(run));
      if (outcome.status === 403 && isSigned(this.#url)) outcome = await this.#renew(outcome);
      if (run.aborted) return;
      this.#leavePlace?.();
      clearTimeout(this.#timer);
      if (outcome.over) {
        this.#state = "idle";
        return this.sink.over(outcome);
      }
      if (outcome.isFine || this.#answered && Date.now() - began >= GOOD_MILLISECONDS) failures = 0;
      if (!outcome.isFine) this.#changeState("retrying", outcome.why);
      if (!outcome.soon && !run.aborted) {
        const least = outcome.after ?? 0;
        this.#waitsUntil = Date.now() + least;
        const wait = Math.max(least, backoff(this.#retry, failures));
        this.#due = Date.now() + wait;
        await this.#wait(wait);
      }
    }
  }
  /**
   * Ask for a new URL with the same lifetime: the page is open for longer than the old one was valid.
   * @param {Outcome} refused
   * @returns {Promise<Outcome>}
   */
  async #renew(refused) {
    const { origin, pathname, searchParams } = new URL(this.#url);
    const body = new URLSearchParams({ token: searchParams.get("token") ?? "" });
    const credentials = this.#options.withCredentials ? "include" : "same-origin";
    try {
      const response = await fetch(`${origin}${pathname}renew/`, { method: "POST", body, credentials });
      if (response.ok) {
        if (this.#renewal === "renewed") return { why: "" };
        this.#url = new URL((await response.json()).url, this.#url).href;
        this.#renewal = "renewed";
        this.#expires = Infinity;
        return AGAIN;
      }
      const { status, headers } = response;
      const why = `answered ${status}`;
      if (status === 401) {
        if (this.#renewal === "unauthorized") return { over: "unauthorized", why };
        this.#renewal = "unauthorized";
        return { why, after: DEFAULT_RETRY_MILLISECONDS };
      }
      if (status === 429 || status >= 500) return { why, after: retryAfter(headers.get("Retry-After")) };
      return refused;
    } catch (error) {
      return { why: `${error}` };
    }
  }
  // Places.
  /** Wait for a place. A tab that somebody looks at gets one from a hidden one. @param {AbortSignal} run */
  async #takePlace(run) {
    const { transport } = this.#options;
    if (this.#once || transport === "eventsource" || !areFew(this.#url)) return;
    const host = new URL(this.#url).host;
    if (!this.#neighbours) {
      this.#neighbours = new BroadcastChannel(`serversent places ${host}`);
      this.#neighbours.onmessage = () => this.#giveWay();
    }
    let wait = PLACE_MILLISECONDS;
    for (let mayTake = !document.hidden || !this.gaveWay; !run.aborted; mayTake = true) {
      const release = mayTake ? await takePlace(host) : void 0;
      if (run.aborted) return release?.();
      if (release) return this.#keepPlace(host, release);
      if (!document.hidden) this.#neighbours.postMessage("wanted");
      this.#waitsUntil = 0;
      const due = document.hidden ? HIDDEN_PLACE_MILLISECONDS : wait;
      this.#due = Date.now() + due;
      await this.#wait(due);
      wait = Math.min(MAX_PLACE_MILLISECONDS, wait * 2);
    }
  }
  /** @param {string} host @param {() => void} release */
  #keepPlace(host, release) {
    const count = (taken.get(host) ?? 0) + 1;
    taken.set(host, count);
    if (count >= MANY_PLACES && !isCrowded.has(host)) {
      isCrowded.add(host);
      warn(
        `this page has ${count} connections to ${host}. Over HTTP/1.1 all tabs have ${PLACES} for streams; others wait. Use HTTP/2, or share="name"`
      );
    }
    this.#leavePlace = () => {
      this.#leavePlace = null;
      taken.set(
        host,
        /** @type {number} */
        taken.get(host) - 1
      );
      release();
    };
  }
  #giveWay() {
    if (!document.hidden || !this.#leavePlace) return;
    this.gaveWay = true;
    this.#attempt?.abort();
  }
  /** @param {number} milliseconds @returns {Promise<void>} */
  #wait(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#endWait?.(), Math.min(milliseconds, MAX_MILLISECONDS));
      this.#endWait = () => {
        this.#endWait = null;
        clearTimeout(timer);
        resolve();
      };
    });
  }
  /** @param {AbortSignal} signal */
  async #request(signal) {
    const { headers, withCredentials, method, body } = this.#options;
    const sent = new Headers(typeof headers === "function" ? await headers() : headers);
    sent.set("Accept", "text/event-stream");
    if (this.cursor) sent.set("Last-Event-ID", this.cursor);
    if (this.#user && this.#url.startsWith(`${location.origin}/`)) sent.set("Serversent-User", this.#user);
    const credentials = withCredentials ? "include" : "same-origin";
    return fetch(this.#url, { method, body, headers: sent, credentials, cache: "no-store", signal });
  }
  /** @param {AbortSignal} run @returns {Promise<Outcome>} */
  async #fetch(run) {
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#answered = this.#received = false;
    this.#heartbeat = 0;
    this.#hear();
    try {
      const response = await this.#request(attempt.signal);
      if (run.aborted) return ENDED;
      const verdict = classifyResponse(response, this.#once);
      if (verdict) {
        if (true) verdict.why += await reasonOf(response);
        response.body?.cancel().catch(() => {
        });
        return verdict;
      }
      this.#answered = true;
      this.#renewal = "";
      this.gaveWay = false;
      this.#hear();
      this.#changeState("open");
      return await this.#read(response, run);
    } catch (error) {
      if (run.aborted) return ENDED;
      const isDead = attempt.signal.aborted;
      const why = isDead ? "no sign of life" : `${error instanceof Error ? error.message : error}`;
      if (error instanceof RangeError || this.#once) return { over: "closed", why };
      return { why, soon: isDead, isFine: this.gaveWay };
    } finally {
      attempt.abort();
    }
  }
  /** @param {Response} response @param {AbortSignal} run @returns {Promise<Outcome>} */
  async #read(response, run) {
    let ended = null;
    this.#id = this.cursor;
    const parser = new Parser(
      {
        id: (id) => !run.aborted && this.#move(id),
        retry: (milliseconds) => {
          this.#retry = Math.max(1, milliseconds);
        },
        comment: (text) => !run.aborted && this.#comment(text),
        event: (event) => {
          if (ended || run.aborted) return;
          if (event.type === "end") ended = endOf(event);
          this.#emit(event);
        }
      },
      this.cursor
    );
    const body = (
      /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
      response.body
    );
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (; ; ) {
      const { done, value } = await reader.read();
      if (run.aborted) return ENDED;
      if (done) break;
      this.#received = true;
      this.#hear();
      if (this.#state === "stale") this.#changeState("open");
      parser.feed(value);
      if (run.aborted) return ENDED;
      if (ended) return ended;
    }
    if (this.#once) return ENDED;
    return this.#isExpired ? AGAIN : { why: "lost" };
  }
  /** @param {StreamEvent} event */
  #emit(event) {
    this.ofLog ??= isBeginning(event);
    if (event.id === this.#id) event.id = "";
    else this.#id = event.id;
    if (event.id && event.id !== "end") this.cursor = event.id;
    this.sink.event(event);
  }
  /** @param {string} cursor */
  #move(cursor) {
    if (cursor === this.cursor) return;
    this.cursor = cursor;
    this.sink.moved();
  }
  /**
   * @param {string} text ours are `stream, heartbeat 15 s`, `stream of channels, heartbeat 15 s, valid for 3600 s`,
   *   `hb`, `hb k3f9-1042`
   */
  #comment(text) {
    const opening = /^stream( of channels)?, heartbeat ([\d.]+)/.exec(text);
    if (text.endsWith("(shown because DEBUG is on)"))
      warn(`${place(this.#url)}: ${text}`);
    if (opening) {
      this.#heartbeat = Number(opening[2]) * 1e3;
      this.#hear();
      this.#know(!!opening[1]);
      const valid = /valid for (\d+)/.exec(text);
      if (valid) this.#expires = Date.now() + Number(valid[1]) * 1e3 - EARLY_MILLISECONDS;
    } else if (text.startsWith("hb ")) {
      this.#know(true);
      this.#move(text.slice(3));
    }
  }
  /** @param {boolean} ofLog */
  #know(ofLog) {
    if (ofLog === this.ofLog) return;
    this.ofLog = ofLog;
    this.sink.moved();
  }
  // The watchdog.
  #hear() {
    this.#heard = Date.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#watch, this.#limits()[0]);
  }
  /** @returns {[number, number]} milliseconds of silence until it is stale, and until it is given up */
  #limits() {
    if (!this.#answered) return [SLOW_ANSWER_MILLISECONDS, this.#once ? MAX_MILLISECONDS : NO_ANSWER_MILLISECONDS];
    if (this.#heartbeat) return [1.5 * this.#heartbeat, 2.5 * this.#heartbeat];
    return [this.#received ? MAX_MILLISECONDS : NO_BYTE_MILLISECONDS, MAX_MILLISECONDS];
  }
  #watch = () => {
    const quiet = Date.now() - this.#heard;
    const [late, dead] = this.#limits();
    if (quiet >= dead) return this.#attempt?.abort();
    if (quiet >= late && this.#state !== "stale") {
      const what = this.#received ? "no sign of life" : "no byte";
      const hint = this.#received ? "" : ". Does a proxy buffer it?";
      const why = `${what} for ${Math.round(quiet / 1e3)} s from ${place(this.#url)}${hint}`;
      warn(why);
      this.#changeState("stale", why);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#watch, (quiet < late ? late : dead) - quiet);
  };
  // The browser's own EventSource. It reconnects by itself, until it gives up without a reason.
  /** @param {AbortSignal} run @returns {Promise<Outcome>} */
  async #native(run) {
    const url = new URL(this.#url);
    if (this.cursor) url.searchParams.set("lastEventId", this.cursor);
    const source = new EventSource(url, { withCredentials: this.#options.withCredentials });
    this.#source = source;
    const outcome = await new Promise((resolve) => {
      source.onopen = () => {
        this.#answered = true;
        this.#renewal = "";
        this.#changeState("open");
      };
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) resolve(null);
        else this.#changeState("retrying", "lost");
      };
      source.addEventListener("end", (event) => resolve(endOf(event)));
      for (const type of this.#types) source.addEventListener(type, this.#fromSource);
    });
    source.close();
    return outcome ?? (run.aborted ? ENDED : this.#fetch(run));
  }
  /** @param {MessageEvent} event */
  #fromSource = (event) => {
    this.#emit(new StreamEvent(event.type, event.data, event.lastEventId));
  };
};

// client/cursor.js
function reached(here, there) {
  const [mine, theirs] = [here, there].map((text) => /^(\w+)-(\d+)$/.exec(text));
  return !!mine && !!theirs && mine[1] === theirs[1] && +mine[2] >= +theirs[2];
}

// client/tab_group.js
var LEADER_ASKED_MILLISECONDS = 1500;
var LEADER_LOST_MILLISECONDS = 3500;
var LAST_WORD_MILLISECONDS = 200;
var WHO_LEADS = 0;
var pageName = Math.random();
var TabGroup = class {
  #name;
  #url;
  #ownConnection;
  #sink;
  #forced;
  #channel;
  /** @type {Role} */
  #role = "candidate";
  #isFresh = false;
  // after a reset, the first id is the place where the tab begins, and no event was seen up to it
  #last = "";
  #term = 0;
  #n = 0;
  /** @type {LeaderMessage | null} */
  #leaderMessage = null;
  /** @type {(() => void) | null} */
  #release = null;
  /** @type {AbortController | null} */
  #request = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #heard = Date.now();
  #checked = Date.now();
  #wasOver = false;
  // the stream has ended for all tabs
  /** @type {State} */
  #state = "connecting";
  #why = "";
  /**
   * @param {string} name of the circle of tabs; "" for this page alone
   * @param {string} key of the stream
   * @param {string} url
   * @param {boolean} forced share what has no cursors, too
   * @param {Connection} ownConnection of this tab
   * @param {Sink} sink of this tab
   */
  constructor(name, key, url, forced, ownConnection, sink) {
    this.#url = url;
    this.#ownConnection = ownConnection;
    this.#sink = sink;
    this.#forced = forced;
    this.#name = `serversent ${name || pageName} ${key}`;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#channel.postMessage(WHO_LEADS);
    this.#queue();
    this.#timer = setInterval(this.#check, 500);
  }
  leave() {
    this.#role = "gone";
    clearInterval(this.#timer);
    this.#channel.close();
    this.#request?.abort();
    if (this.#wasOver) setTimeout(() => this.#release?.(), LAST_WORD_MILLISECONDS);
    else this.#release?.();
  }
  /** A leader that nobody looks at, and that gave way, is replaced by a tab that somebody looks at. */
  wake() {
    if (this.#leaderMessage?.gaveWay && this.#role !== "leader" && !document.hidden) this.#queue(true);
  }
  /** Wait for the lock, or take it from a leader that does not answer. */
  #queue(steal = false) {
    this.#request?.abort();
    const request = new AbortController();
    this.#request = request;
    const lead = () => (
      /** @type {Promise<void>} */
      new Promise((resolve) => {
        if (this.#role === "gone" || request !== this.#request) return resolve();
        this.#release = resolve;
        this.#lead();
      })
    );
    navigator.locks.request(this.#name, steal ? { steal } : { signal: request.signal }, lead).catch(() => {
      if (request !== this.#request || this.#role === "gone") return;
      if (this.#role === "leader") {
        this.#follow();
      } else {
        this.#channel.onmessage = null;
        lead();
      }
    });
  }
  #lead() {
    const message = this.#role === "follower" && this.#leaderMessage;
    this.#last = message && reached(message.cursor, this.#ownConnection.cursor) && message.last || this.#ownConnection.cursor;
    this.#role = "leader";
    this.#term = Math.max(this.#term + 1, Date.now());
    this.#n = 0;
    this.#ownConnection.open();
    this.#broadcast();
  }
  #follow() {
    this.#release?.();
    this.#role = "candidate";
    this.#leaderMessage = null;
    this.#heard = Date.now();
    this.#channel.postMessage(WHO_LEADS);
    this.#queue();
  }
  // The events of this tab's own connection.
  /** @param {StreamEvent} event */
  event(event) {
    if (event.id || isBeginning(event)) this.#last = event.id;
    if (this.#role === "leader") this.#broadcast({ event });
    this.#sink.event(event);
    this.#compare();
  }
  moved() {
    if (this.#role === "leader") this.#broadcast();
    this.#compare();
    this.#sink.moved();
  }
  /** @param {State} state @param {string} why */
  state(state, why) {
    this.#state = state;
    this.#why = why;
    this.#sink.state(state, why);
    if (this.#role === "leader") this.#broadcast();
  }
  /** @param {Outcome} outcome */
  over(outcome) {
    this.#wasOver = true;
    if (this.#role === "leader") this.#broadcast({ over: outcome });
    this.#sink.over(outcome);
  }
  /** @param {Partial<LeaderMessage>} [more] */
  #broadcast(more) {
    if (this.#role === "gone") return;
    this.#n += 1;
    const message = {
      term: this.#term,
      n: this.#n,
      state: this.#state,
      why: this.#why,
      cursor: this.#ownConnection.cursor,
      last: this.#last,
      ofLog: this.#ownConnection.ofLog,
      gaveWay: this.#ownConnection.gaveWay,
      url: this.#url,
      ...more
    };
    this.#channel.postMessage(message);
  }
  // The messages of the leader.
  /** @param {LeaderMessage | typeof WHO_LEADS} message */
  #receive(message) {
    if (this.#role === "gone") return;
    if (message === WHO_LEADS) {
      if (this.#role === "leader") {
        this.#broadcast();
        this.#ownConnection.catchUp();
      }
      return;
    }
    if (message.term < this.#term || this.#role === "leader" && message.term === this.#term) return;
    if (this.#role === "leader") this.#follow();
    this.#heard = Date.now();
    const isNext = message.term === this.#term && message.n === this.#n + 1;
    this.#term = message.term;
    this.#n = message.n;
    this.#leaderMessage = message;
    this.wake();
    if (message.over) {
      const isOurs = (message.ofLog || this.#forced) && !this.#ownConnection.isRunning;
      if (isOurs && (message.over.all || message.url === this.#url)) this.#sink.over(message.over);
    } else if (this.#role === "follower" && isNext) {
      this.#take(message);
    } else {
      this.#role = "candidate";
      this.#compare();
    }
  }
  /** @param {LeaderMessage} message */
  #take({ event, cursor, state, why }) {
    const isNew = event ? this.#isNew(event) : !reached(this.#ownConnection.cursor, cursor);
    if (isNew && cursor) this.#ownConnection.cursor = cursor;
    if (isNew && event) this.#sink.event(new StreamEvent(event.type, event.data, event.id));
    if (this.#role === "follower") this.#sink.state(state, why);
  }
  /** @param {{ type: string, id: string }} event */
  #isNew({ type, id }) {
    if (isBeginning({ type })) this.#isFresh = true;
    const isNew = this.#isFresh || !this.#leaderMessage?.ofLog || !id || !reached(this.#ownConnection.cursor, id);
    if (id) this.#isFresh = false;
    return isNew;
  }
  /** Need we a connection of our own? */
  #compare() {
    const message = this.#leaderMessage;
    if (!message || message.over || this.#role !== "candidate") return;
    const isLive = this.#forced && message.ofLog === false;
    if (isLive || message.ofLog && reached(this.#ownConnection.cursor, message.last)) {
      this.#role = "follower";
      this.#isFresh = false;
      this.#ownConnection.close();
    } else if (message.ofLog || !this.#forced && message.state === "open") {
      this.#ownConnection.open();
    }
    if (!this.#ownConnection.isRunning) this.#sink.state(message.state, message.why);
  }
  // A tab in the foreground replaces a leader that was frozen.
  #check = () => {
    const now = Date.now();
    const hasSlept = now - this.#checked > LEADER_ASKED_MILLISECONDS;
    if (hasSlept || this.#role === "leader" || document.hidden) this.#heard = now;
    this.#checked = now;
    const silence = now - this.#heard;
    if (silence > LEADER_LOST_MILLISECONDS) {
      this.#heard = now;
      this.#queue(true);
    } else if (silence > LEADER_ASKED_MILLISECONDS) {
      this.#channel.postMessage(WHO_LEADS);
    }
  };
};

// client/stream.js
var MAX_WAITING_EVENTS = 1e4;
var hints;
if (true)
  Promise.resolve().then(() => (init_hints(), hints_exports)).then((module) => {
    hints = module;
  });
function shareScope(options, url) {
  const { share, transport, body, headers } = options;
  if (!navigator.locks || share === false || transport === "eventsource" || body || isNotIdempotent(options)) return;
  if (typeof share === "string") return { name: share, forced: true };
  if (!headers) return { name: url.includes("#sse-public-") ? "public" : pageUser(), forced: !!share };
}
function keyOf(url) {
  const { origin, pathname, hash, href } = new URL(url, document.baseURI);
  return hash.startsWith("#sse-") ? origin + pathname + hash : href;
}
var Stream = class {
  #options;
  #scope;
  #url;
  #key;
  #ownConnection;
  /** @type {TabGroup | null} */
  #group = null;
  #target = new EventTarget();
  /** @type {State} */
  #state = "idle";
  #isRunning = false;
  /** @type {Sink} */
  #sink = {
    event: (event) => this.#take(event),
    state: (state, why) => this.#changeState(state, why),
    over: (outcome) => this.#end(outcome),
    moved: () => this.#kept(this.cursor)
  };
  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, options = {}) {
    this.#options = options;
    this.#url = new URL(url, document.baseURI).href;
    this.#scope = shareScope(options, this.#url);
    this.#key = keyOf(this.#url);
    this.#ownConnection = new Connection(this.#url, options, this.#sink);
    this.#ownConnection.cursor = this.#kept() || options.cursor || "";
    options.signal?.addEventListener("abort", () => this.stop());
    if (options.autostart !== false && !options.signal?.aborted) this.start();
  }
  /** @returns {State} */
  get state() {
    return this.#state;
  }
  /** The cursor with which the stream can be resumed. "" before anything is known. */
  get cursor() {
    return this.#ownConnection.cursor;
  }
  /**
   * Call `fn` for each event of a type; for "*", each event that the server sends. Returns a function that removes it.
   * @param {string} type
   * @param {(event: StreamEvent) => void} fn
   */
  on(type, fn) {
    const handler = (event) => fn(
      /** @type {CustomEvent} */
      event.detail
    );
    this.#target.addEventListener(type, handler);
    if (type !== "error") this.#ownConnection.listen(type);
    return () => this.#target.removeEventListener(type, handler);
  }
  /** Begin, or go on from the cursor. */
  start() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    running.add(this);
    this.join();
    this.#changeState("connecting", "");
  }
  /** Stop, and stay stopped. The cursor stays where it is. */
  stop() {
    if (this.#isRunning) this.#end({ over: "closed", isFine: true, why: "" });
  }
  /** Events of the server's, of every type, until the stream is closed. Leaving the loop stops the stream. */
  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake2 = () => {
    };
    const off = this.on("*", (event) => {
      waiting.push(event);
      wake2();
    });
    const offState = this.on("state", () => wake2());
    try {
      for (; ; ) {
        while (waiting.length) {
          if (waiting.length > MAX_WAITING_EVENTS) throw RangeError("too many");
          yield (
            /** @type {StreamEvent} */
            waiting.shift()
          );
        }
        if (!this.#isRunning) return;
        await /** @type {Promise<void>} */
        new Promise((resolve) => {
          wake2 = resolve;
        });
      }
    } finally {
      off();
      offState();
      this.stop();
    }
  }
  // The page's life.
  /** @internal */
  join() {
    const found = this.#scope;
    if (found) {
      this.#group ??= new TabGroup(found.name, this.#key, this.#url, found.forced, this.#ownConnection, this.#sink);
      this.#ownConnection.sink = this.#group;
    } else this.#ownConnection.open();
    this.wake();
  }
  /** @internal */
  leave() {
    if (isNotIdempotent(this.#options)) this.stop();
    else this.#leave();
  }
  #leave() {
    this.#ownConnection.close();
    this.#group?.leave();
    this.#group = null;
    this.#ownConnection.sink = this.#sink;
  }
  /** @internal */
  wake() {
    this.#ownConnection.wake();
    this.#group?.wake();
  }
  /** @internal */
  rest() {
    this.#ownConnection.rest();
  }
  // The events.
  /** @param {StreamEvent} event */
  #take(event) {
    this.#kept(this.cursor);
    const { type } = event;
    if (type !== "state" && type !== "error") this.#dispatch(type, event);
    if (!isBeginning(event) && type !== "end") this.#dispatch("*", event);
  }
  /** @param {State} state @param {string} why */
  #changeState(state, why) {
    if (state === this.#state || !this.#isRunning) return;
    this.#state = state;
    this.#dispatch("state", new StreamEvent("state", state, "", why));
    if (state === "retrying" || state === "stale") {
      this.#dispatch("error", new StreamEvent("error", why));
      if (state === "retrying" && why !== "lost")
        hints?.explain(this.#url, why);
    }
  }
  /** @param {Outcome} outcome */
  #end({ over = "closed", isFine, why }) {
    this.#leave();
    running.delete(this);
    this.#isRunning = false;
    this.#state = over;
    this.#dispatch("state", new StreamEvent("state", over, "", why));
    if (!isFine) {
      if (hints) hints.explain(this.#url, why);
      else warn(`${place(this.#url)}: ${why}`);
      this.#dispatch("error", new StreamEvent("error", why));
    }
    if (over === "unauthorized") this.#options.onUnauthorized?.();
  }
  /** @param {string} type @param {StreamEvent} event */
  #dispatch(type, event) {
    this.#target.dispatchEvent(new CustomEvent(type, { detail: event }));
  }
  // Keep the cursor over a reload. Without a value: return the kept one.
  /** @param {string} [cursor] */
  #kept(cursor) {
    if (!this.#options.persist) return;
    const name = `serversent ${this.#scope?.name} ${this.#key}`;
    try {
      if (!cursor) return sessionStorage.getItem(name);
      sessionStorage.setItem(name, cursor);
    } catch {
    }
  }
};
function connect(url, options) {
  return new Stream(url, options);
}
var running = /* @__PURE__ */ new Set();
var all = (what) => () => {
  for (const stream of [...running]) stream[what]();
};
var [join, leave, wake, rest] = [all("join"), all("leave"), all("wake"), all("rest")];
addEventListener("pagehide", leave);
document.addEventListener("freeze", leave);
for (const type of ["pageshow", "resume"]) addEventListener(type, join, true);
addEventListener("online", wake);
addEventListener("visibilitychange", () => document.hidden ? rest() : wake(), true);

// client/element.js
var TROUBLE_MILLISECONDS = 3e3;
var isList = ({ tagName }) => /^([OU]L|TBODY)$/.test(tagName);
var EventStreamElement = class extends HTMLElement {
  static observedAttributes = ["src", "state"];
  /** @type {Stream | null} */
  stream = null;
  #key = "";
  #shown = "idle";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #trouble;
  constructor() {
    super();
    this.addEventListener("click", (event) => {
      const target = (
        /** @type {Element} */
        event.target
      );
      if (target.closest("[data-sse-start]")) this.start();
      if (target.closest("[data-sse-stop]")) this.stop();
    });
  }
  connectedCallback() {
    const output = this.#output();
    if (isList(output)) output.ariaLive ??= "polite";
    else output.role ??= this.#mode.includes("replace") ? "status" : "log";
    this.#show(this.#shown);
    if (this.hasAttribute("autostart") && !this.stream) this.start();
  }
  disconnectedCallback() {
    setTimeout(() => {
      if (!this.isConnected) this.#close();
    });
  }
  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (name === "state") {
      if (now !== this.#shown) this.setAttribute("state", this.#shown);
    } else if (before !== null && this.stream && keyOf(now ?? "") !== this.#key) {
      queueMicrotask(() => {
        const wasRunning = this.#isRunning;
        this.#close();
        if (wasRunning) this.start();
      });
    }
  }
  start() {
    if (this.#isRunning) return;
    this.stream = this.#connect();
    this.stream.start();
  }
  stop() {
    this.stream?.stop();
  }
  get #isRunning() {
    return !/^(idle|closed|unauth)/.test(this.stream?.state ?? "idle");
  }
  get #mode() {
    return this.getAttribute("mode") ?? "";
  }
  #connect() {
    const src = this.getAttribute("src") ?? "";
    this.#key = keyOf(src);
    const stream = connect(src, {
      cursor: this.stream?.cursor || this.getAttribute("cursor") || "",
      persist: this.hasAttribute("persist"),
      share: this.getAttribute("share") ?? void 0,
      autostart: false
    });
    for (const type of (this.getAttribute("event") ?? "message").split(/[\s,]+/))
      stream.on(type, (event) => this.#take(event));
    stream.on("state", (event) => this.#tell(
      /** @type {State} */
      event.data,
      event
    ));
    return stream;
  }
  #close() {
    this.stream?.stop();
    this.stream = null;
  }
  /** @param {string} what @param {StreamEvent} detail @returns {boolean} whether the page lets it be shown */
  #announce(what, detail) {
    return this.dispatchEvent(new CustomEvent(`serversent:${what}`, { detail, bubbles: true, cancelable: true }));
  }
  // The state.
  /** @param {State} state @param {StreamEvent} event */
  #tell(state, event) {
    this.#announce("state", event);
    if (this.#shown === "open" && this.#isRunning && state !== "open")
      this.#trouble ??= setTimeout(() => this.#show(this.stream?.state ?? "idle"), TROUBLE_MILLISECONDS);
    else this.#show(state);
  }
  /** @param {string} state */
  #show(state) {
    clearTimeout(this.#trouble);
    this.#trouble = void 0;
    this.#shown = state;
    this.setAttribute("state", state);
    this.#output().ariaBusy = `${this.#isRunning && state !== "open"}`;
    for (const element of this.querySelectorAll("[data-sse-state]")) {
      element.role ??= "status";
      element.textContent = element.getAttribute(`data-${state}`) ?? state;
    }
    const [start, stop] = ["start", "stop"].map(
      (name) => (
        /** @type {HTMLButtonElement[]} */
        [...this.querySelectorAll(`[data-sse-${name}]`)]
      )
    );
    const [useful, useless] = this.#isRunning ? [stop, start] : [start, stop];
    for (const button of useful) button.disabled = false;
    for (const button of useless) {
      if (button === document.activeElement) useful[0]?.focus();
      button.disabled = true;
    }
  }
  // The events.
  /** @returns {Element} */
  #output() {
    const selector = this.getAttribute("target");
    const found = selector && document.querySelector(selector) || this.querySelector("[data-sse-output]");
    if (found) return found;
    const made = document.createElement("div");
    made.setAttribute("data-sse-output", "");
    this.append(made);
    return made;
  }
  /** @param {StreamEvent} event */
  #take(event) {
    if (this.stream?.cursor) this.setAttribute("cursor", this.stream.cursor);
    if (!this.#announce("event", event)) return;
    const output = this.#output();
    const mode = this.#mode;
    const isPrepended = mode.includes("prepend");
    const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 5;
    const node = this.#node(event, output);
    if (isPrepended) output.prepend(node);
    else if (/replace|^html$/.test(mode)) output.replaceChildren(node);
    else output.append(node);
    const limit = parseInt(this.getAttribute("limit") ?? "", 10);
    while (limit >= 0 && output.childElementCount > limit)
      output[isPrepended ? "lastElementChild" : "firstElementChild"]?.remove();
    if (isAtEnd && !isPrepended) output.scrollTop = output.scrollHeight;
  }
  /** @param {StreamEvent} event @param {Element} output @returns {Node} */
  #node(event, output) {
    let template = this.querySelector("template");
    if (template) return filled(template, event);
    if (this.#mode.includes("html")) {
      template = document.createElement("template");
      template.innerHTML = event.data;
      return template.content;
    }
    if (this.#mode === "replace") return new Text(event.data);
    const line = document.createElement(isList(output) ? "li" : "div");
    line.textContent = event.data;
    return line;
  }
};
function filled(template, event) {
  const copy = (
    /** @type {DocumentFragment} */
    template.content.cloneNode(true)
  );
  const values = { $data: event.data, $id: event.id, $type: event.type };
  try {
    Object.assign(values, event.json());
  } catch {
  }
  for (const element of copy.querySelectorAll("[data-sse-text]"))
    element.textContent = `${values[element.getAttribute("data-sse-text") || "$data"] ?? ""}`;
  return copy;
}

// client/serversent.js
if (!customElements.get("event-stream")) customElements.define("event-stream", EventStreamElement);
export {
  Parser,
  backoff,
  connect
};
