/**
 * Server-sent events in the browser: one connection for all tabs, which comes back by itself and loses nothing.
 *
 * The way of an event, downwards: Parser (text to events), Connection (one response after another), Party (the
 * connection of one tab serves all), Stream (the result of `connect`), EventStreamElement (`<event-stream>`).
 *
 * Source: WHATWG HTML, section 9.2. License: BSD-3-Clause, django-serversent.
 */

/**
 * @typedef {"idle" | "connecting" | "open" | "retrying" | "stale" | "closed" | "unauthorized"} State
 *   idle: not started. retrying: it comes back by itself. stale: too long without a sign of life. closed: stopped,
 *   ended or refused. unauthorized: the server wants a login.
 *
 * @typedef {object} Options
 * @property {HeadersInit | (() => HeadersInit | Promise<HeadersInit>)} [headers] sent with each request, or a function that
 *   returns them.
 * @property {boolean} [withCredentials] send cookies to another origin.
 * @property {string} [cursor] where the stream begins: the value of `serversent.cursor()` in the view.
 * @property {boolean} [persist] keep the cursor over a reload, in sessionStorage.
 * @property {boolean | string} [share] one connection for all tabs: of those of the user that `{% sse_script %}`
 *   names, if the stream has cursors. `true`: also if it has none. A string names another circle. `false`: never.
 * @property {"fetch" | "eventsource"} [transport] the browser's EventSource knows neither status codes nor heartbeats.
 * @property {string} [method] other than GET: it is never sent twice, once an answer has begun.
 * @property {BodyInit} [body]
 * @property {() => void} [onUnauthorized] called once when the server wants a login.
 * @property {AbortSignal} [signal] stops the stream.
 * @property {boolean} [autostart] `false`: wait for `start()`.
 *
 * @typedef {{ over?: State, all?: boolean, why: string, isFine?: boolean, after?: number, soon?: boolean,
 *   status?: number }} Outcome
 *   how an attempt ended. over: for good. all: for every tab. isFine: without an error. after: milliseconds to wait at
 *   least. soon: without waiting. status: of the answer that ended it.
 */

const MAX_EVENT_CHARACTERS = 1 << 24;
const MAX_MILLISECONDS = 2 ** 31 - 1; // the limit of timers
const DEFAULT_RETRY_MILLISECONDS = 3000;
const MAX_RETRY_MILLISECONDS = 30_000;
const GOOD_MILLISECONDS = 10_000; // a connection that held so long was a good one
const SLOW_ANSWER_MILLISECONDS = 5000;
const NO_ANSWER_MILLISECONDS = 40_000;
const NO_BYTE_MILLISECONDS = 20_000;
const TROUBLE_MILLISECONDS = 3000; // shown after this: most are over before
const LEADER_ASKED_MILLISECONDS = 1500;
const LEADER_LOST_MILLISECONDS = 3500;
const LAST_WORD_MILLISECONDS = 200;
const WHO_LEADS = 0;
const MAX_WAITING_EVENTS = 10_000;
const EARLY_MILLISECONDS = 1000; // a URL that expires so soon is renewed
// Over HTTP/1.1 a browser has six connections to a host, for all tabs together. Two are left for pages.
const PLACES = 4;
const MANY_PLACES = 3; // of one page: it is told
const PLACE_MILLISECONDS = 100;
const MAX_PLACE_MILLISECONDS = 500;
const HIDDEN_PLACE_MILLISECONDS = 5000;

/** An event: of the server's, or of the stream's own types `state`, `ready`, `reset`, `end`, `error`. */
class StreamEvent {
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
}

/** Turns the text of one response into events, in any pieces. */
export class Parser {
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
      this.#size += 1; // endless empty lines meet the bound too
      return;
    }
    this.#size -= line.length;
    if (name === "") this.#sink.comment?.(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#sink.retry?.(Number(value));
  }
}

/**
 * Return the milliseconds before the next attempt: full jitter on top of the server's own delay.
 * @param {number} least milliseconds
 * @param {number} failures in a row before this one
 */
export function backoff(least, failures) {
  const most = Math.max(MAX_RETRY_MILLISECONDS, least);
  return Math.min(most, least + Math.random() * Math.min(most, least * 2 ** failures));
}

/**
 * Return how an answer ends the attempt; null: it is a stream.
 * @param {Response} response
 * @param {boolean} once
 * @returns {Outcome | null}
 */
function judge(response, once) {
  const { status, headers } = response;
  const type = headers.get("Content-Type") ?? "no type";
  const isFine = status === 200;
  if (isFine && /^text\/event-stream *(;|$)/i.test(type)) return null;
  const why = `answered ${status} with ${type} at ${place(response.url)}`;
  if (status === 401 || (isFine && response.redirected && /^text\/html/i.test(type)))
    return { over: "unauthorized", why };
  // A request that may have had an effect is not repeated, unless the server says that it had none.
  if ([408, 425, 429, 503].includes(status) || (status >= 500 && !once))
    return { why, after: retryAfter(headers.get("Retry-After")) };
  return { over: "closed", all: status === 204 || status === 205, why, status };
}

/** Return the plain text of an answer, for the author of a page. @param {Response} response */
async function said(response) {
  if (!response.headers.get("Content-Type")?.startsWith("text/plain")) return "";
  return `: ${(await response.text()).slice(0, 300)}`;
}

/** Where a URL leads, without its query: that may have a signature. @param {string} url */
const place = (url) => url.replace(/[?#].*/, "");

/** Whether `sse_url` has signed a URL, which can be renewed then. @param {string} url */
const isSigned = (url) => new URL(url).hash.startsWith("#sse-");

/** @param {string | null} value seconds, or a date @returns {number} milliseconds */
function retryAfter(value) {
  const wait = Number(value) * 1000 || Date.parse(value ?? "") - Date.now();
  return Math.max(wait, 0) || 0;
}

/**
 * Whether everything up to `there` was seen at `here`, both as `serversent.cursor()` writes them.
 * @param {string} here
 * @param {string} there
 */
function reached(here, there) {
  const [mine, theirs] = [here, there].map((text) => /^(\w+)-(\d+)$/.exec(text));
  return !!mine && !!theirs && mine[1] === theirs[1] && +mine[2] >= +theirs[2];
}

/** Whether a request must not be sent again once it may have been answered. @param {Options} options */
const isOnce = ({ method = "GET" }) => method.toUpperCase() !== "GET";

/** Whom the page is for, as `{% sse_script %}` says; "" if it does not. */
function pageUser() {
  /** @type {NodeListOf<HTMLElement>} */
  const scripts = document.querySelectorAll("script[data-serversent-user]");
  return [...scripts].at(-1)?.dataset.serversentUser ?? "";
}

/** @param {{ type: string }} event */
const isBeginning = ({ type }) => type === "ready" || type === "reset";

// Code behind `import.meta.minified` is not in the file for production: the unminified client has more hints.

/** @type {{ explain(url: string, why: string): void } | undefined} */
let hints;
if (!(/** @type {any} */ (import.meta).minified))
  import(new URL("./hints.js", import.meta.url).href).then((module) => {
    hints = module;
  });

/** @param {string} text */
const warn = (text) => console.warn(`serversent: ${text}`);

/** Whether the browser's connections to a host are few. Of another host nobody says. @param {string} url */
function areFew(url) {
  const [page] = performance.getEntriesByType("navigation");
  const { nextHopProtocol } = /** @type {PerformanceNavigationTiming} */ (page ?? {});
  return new URL(url).origin !== location.origin || !/^h[23]/.test(nextHopProtocol ?? "");
}

/**
 * Take one of the places that all tabs have for streams of a host. Returns a function that releases it; undefined: none is free.
 * @param {string} host
 * @returns {Promise<(() => void) | undefined>}
 */
async function takePlace(host) {
  if (!navigator.locks) return taken.get(host) === PLACES || document.hidden ? undefined : () => {};
  const first = Math.floor(Math.random() * PLACES);
  for (let number = 0; number < PLACES; number += 1) {
    const name = `serversent place ${host} ${(first + number) % PLACES}`;
    /** @type {(() => void) | undefined} */
    const release = await new Promise((resolve) => {
      navigator.locks
        .request(name, { ifAvailable: true }, (lock) => lock && new Promise((done) => resolve(() => done(null))))
        .then(() => resolve(undefined))
        .catch(() => resolve(() => {})); // a document that may have no locks
    });
    if (release) return release;
  }
}

/** @type {Map<string, number>} the places that this page has, by host */
const taken = new Map();

/** @type {Set<string>} hosts of which the page was told that it has many streams */
const isCrowded = new Set();

/** @type {Outcome} */
const REFUSED = { over: "closed", why: "expired", status: 403 };

/** @type {Outcome} */
const AGAIN = { why: "", soon: true, isFine: true };

/** @type {Outcome} */
const ENDED = { over: "closed", all: true, isFine: true, why: "ended" };

/** How an `end` of the server's ends the stream. It has a status if the view failed. @param {{ data: string }} end */
function endOf({ data }) {
  const [status] = /\d+/.exec(data) ?? [];
  return status ? { over: /** @type {State} */ ("closed"), status: +status, why: `ended with ${status}` } : ENDED;
}

/**
 * @typedef {object} Sink receives the events of a connection
 * @property {(event: StreamEvent) => void} event
 * @property {(state: State, why: string) => void} state
 * @property {(outcome: Outcome) => void} over
 * @property {() => void} moved the cursor, or the knowledge of the stream, has changed
 */

/** The connection of this tab, one response after another. Used while the tab has one of its own. */
class Connection {
  cursor = "";
  /** @type {boolean | undefined} whether it is of a log, and so has cursors; undefined: not known yet */
  ofLog = undefined;
  #url;
  /** @type {Sink} */
  sink;
  #options;
  #once;
  #user = pageUser(); // of this page, even if another user logs in later
  /** @type {AbortController | null} */
  #attempt = null;
  #id = ""; // the last one; an event without has the one before it
  #run = 0; // changes with each start and stop, which ends what was begun before
  #types = new Set(["message", "ready", "reset", "end"]);
  /** @type {EventSource | null} */
  #source = null;
  #retry = DEFAULT_RETRY_MILLISECONDS;
  /** @type {State} */
  #state = "idle";
  #answered = false;
  #isRenewed = false; // since it was answered last
  #isLoggedOut = false; // a renewal said so, once
  #expires = Infinity; // when the URL does, as far as the server has told
  #received = false;
  #heard = 0; // the wall clock's: the others stand still while the machine sleeps
  #heartbeat = 0; // milliseconds; 0: none is known of
  #waitsUntil = 0; // earlier than this nothing that happens here may end a wait
  #due = 0; // when it ends
  /** @type {(() => void) | null} */
  #endWait = null;
  /** @type {(() => void) | null} gives its place back */
  #leavePlace = null;
  /** @type {BroadcastChannel | null} to those of other tabs that have places */
  #neighbours = null;
  gaveWay = false; // to a tab that somebody looks at
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {string} url @param {Options} options @param {Sink} sink */
  constructor(url, options, sink) {
    this.#url = url;
    this.#options = options;
    this.sink = sink;
    this.#once = isOnce(options);
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
    this.#loop(++this.#run);
  }

  close() {
    this.#run += 1;
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
  #say(state, why = "") {
    if (state === this.#state) return;
    this.#state = state;
    this.sink.state(state, why);
  }

  /** @param {number} run */
  async #loop(run) {
    for (let failures = 0; ; failures += 1) {
      const began = Date.now();
      this.#say("connecting");
      if (run !== this.#run) return; // by the page
      await this.#takePlace(run);
      if (run !== this.#run) return;
      let outcome = this.#isExpired
        ? REFUSED
        : await (this.#options.transport === "eventsource" ? this.#native(run) : this.#fetch(run));
      if (outcome.status === 403 && isSigned(this.#url) && !this.#isRenewed) outcome = await this.#renew(outcome);
      if (run !== this.#run) return;
      this.#leavePlace?.();
      clearTimeout(this.#timer);
      if (outcome.over) {
        this.#state = "idle";
        return this.sink.over(outcome);
      }
      if (outcome.isFine || (this.#answered && Date.now() - began >= GOOD_MILLISECONDS)) failures = 0;
      if (!outcome.isFine) this.#say("retrying", outcome.why);
      if (!outcome.soon && run === this.#run) {
        const least = outcome.after ?? 0;
        this.#waitsUntil = Date.now() + least;
        const wait = Math.max(least, backoff(this.#retry, failures));
        this.#due = Date.now() + wait;
        await this.#wait(wait);
      }
      if (run !== this.#run) return;
    }
  }

  /**
   * Ask for a URL that is valid as long again: the page is open for longer than this one was.
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
        this.#url = new URL((await response.json()).url, this.#url).href;
        this.#isRenewed = true;
        this.#isLoggedOut = false;
        this.#expires = Infinity;
        return AGAIN;
      }
      const { status, headers } = response;
      const why = `answered ${status}`;
      if (status === 401) {
        // While a password is changed the old session is over and the new one not there yet.
        if (this.#isLoggedOut) return { over: "unauthorized", why };
        this.#isLoggedOut = true;
        return { why, after: DEFAULT_RETRY_MILLISECONDS };
      }
      if (status === 429 || status >= 500) return { why, after: retryAfter(headers.get("Retry-After")) };
      return refused;
    } catch (error) {
      return { why: `${error}` };
    }
  }

  // Places.

  /** Wait for a place. A tab that somebody looks at gets one from a hidden one. @param {number} run */
  async #takePlace(run) {
    const { transport } = this.#options;
    if (this.#once || transport === "eventsource" || !areFew(this.#url)) return;
    const host = new URL(this.#url).host;
    if (!this.#neighbours) {
      this.#neighbours = new BroadcastChannel(`serversent places ${host}`);
      this.#neighbours.onmessage = () => this.#giveWay();
    }
    let wait = PLACE_MILLISECONDS;
    for (let mayTake = !document.hidden || !this.gaveWay; ; mayTake = true) {
      const release = mayTake ? await takePlace(host) : undefined;
      if (run !== this.#run) return release?.();
      if (release) return this.#keepPlace(host, release);
      if (!document.hidden) this.#neighbours.postMessage("wanted");
      this.#waitsUntil = 0;
      const due = document.hidden ? HIDDEN_PLACE_MILLISECONDS : wait;
      this.#due = Date.now() + due;
      await this.#wait(due);
      if (run !== this.#run) return;
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
        `this page has ${count} connections to ${host}. Over HTTP/1.1 all tabs have ${PLACES} for streams, and others ` +
          'wait. Use HTTP/2, or share="name"',
      );
    }
    this.#leavePlace = () => {
      this.#leavePlace = null;
      taken.set(host, /** @type {number} */ (taken.get(host)) - 1);
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
    // Another user has logged in meanwhile, in another tab: this page is not theirs.
    if (this.#user && this.#url.startsWith(`${location.origin}/`)) sent.set("Serversent-User", this.#user);
    const credentials = withCredentials ? "include" : "same-origin";
    return fetch(this.#url, { method, body, headers: sent, credentials, cache: "no-store", signal });
  }

  /** @param {number} run @returns {Promise<Outcome>} */
  async #fetch(run) {
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#answered = this.#received = false;
    this.#heartbeat = 0;
    this.#hear();
    try {
      const response = await this.#request(attempt.signal);
      if (run !== this.#run) return ENDED;
      const verdict = judge(response, this.#once);
      if (verdict) {
        if (!(/** @type {any} */ (import.meta).minified)) verdict.why += await said(response);
        response.body?.cancel().catch(() => {});
        return verdict;
      }
      this.#answered = true;
      this.#isRenewed = this.gaveWay = false;
      this.#hear();
      this.#say("open");
      return await this.#read(response, run);
    } catch (error) {
      if (run !== this.#run) return ENDED;
      const isDead = attempt.signal.aborted;
      const why = isDead ? "no sign of life" : `${error instanceof Error ? error.message : error}`;
      // The body cannot be read a second time, and the request may have had an effect.
      if (error instanceof RangeError || this.#once) return { over: "closed", why };
      return { why, soon: isDead, isFine: this.gaveWay };
    } finally {
      attempt.abort(); // the rest of the body is not needed
    }
  }

  /** @param {Response} response @param {number} run @returns {Promise<Outcome>} */
  async #read(response, run) {
    /** @type {Outcome | null} */
    let ended = null;
    this.#id = this.cursor;
    const parser = new Parser(
      {
        id: (id) => run === this.#run && this.#move(id),
        retry: (milliseconds) => {
          this.#retry = Math.max(1, milliseconds);
        },
        comment: (text) => run === this.#run && this.#comment(text),
        event: (event) => {
          if (ended || run !== this.#run) return;
          if (event.type === "end") ended = endOf(event);
          this.#emit(event);
        },
      },
      this.cursor,
    );
    const body = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body);
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (run !== this.#run) return ENDED;
      if (done) break;
      this.#received = true;
      this.#hear();
      if (this.#state === "stale") this.#say("open");
      parser.feed(value);
      if (run !== this.#run) return ENDED; // by the page
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
    if (event.id && event.id !== "end") this.cursor = event.id; // the end is not a place to come back to
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
    if (!(/** @type {any} */ (import.meta).minified) && text.endsWith("(shown because DEBUG is on)"))
      warn(`${place(this.#url)}: ${text}`);
    if (opening) {
      this.#heartbeat = Number(opening[2]) * 1000;
      this.#hear();
      this.#know(!!opening[1]);
      const valid = /valid for (\d+)/.exec(text);
      if (valid) this.#expires = Date.now() + Number(valid[1]) * 1000 - EARLY_MILLISECONDS;
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
      const why = `${what} for ${Math.round(quiet / 1000)} s from ${place(this.#url)}${hint}`;
      warn(why);
      this.#say("stale", why);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#watch, (quiet < late ? late : dead) - quiet);
  };

  // The browser's own EventSource. It comes back by itself, until it gives up and does not say why.

  /** @param {number} run @returns {Promise<Outcome>} */
  async #native(run) {
    const url = new URL(this.#url);
    if (this.cursor) url.searchParams.set("lastEventId", this.cursor);
    const source = new EventSource(url, { withCredentials: this.#options.withCredentials });
    this.#source = source;
    const outcome = await new Promise((resolve) => {
      source.onopen = () => {
        this.#answered = true;
        this.#isRenewed = false;
        this.#say("open");
      };
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) resolve(null);
        else this.#say("retrying", "lost");
      };
      source.addEventListener("end", (event) => resolve(endOf(event)));
      for (const type of this.#types) source.addEventListener(type, this.#fromSource);
    });
    source.close();
    return outcome ?? (run === this.#run ? this.#fetch(run) : ENDED); // which knows why
  }

  /** @param {MessageEvent} event */
  #fromSource = (event) => {
    this.#emit(new StreamEvent(event.type, event.data, event.lastEventId));
  };
}

const pageName = Math.random();

/**
 * @typedef {object} Said what the leader says: all of it, each time
 * @property {number} term of its leadership, later ones are higher
 * @property {number} n counts what it says
 * @property {State} state
 * @property {string} why
 * @property {string} cursor
 * @property {string} last the cursor of the last event, or the beginning: a tab that has reached it has missed nothing
 * @property {boolean | undefined} ofLog
 * @property {boolean} gaveWay it has no connection, because nobody looks at its tab
 * @property {{ type: string, data: string, id: string }} [event]
 * @property {Outcome} [over]
 * @property {string} url
 */

/**
 * The tabs that share a connection, as one of them sees them. The tab that holds the lock is the leader: it has the
 * connection, and sends each event to the others. A follower has no connection, unless it has missed events that the
 * leader no longer has, or needs an initial state: then it reads by itself until it has reached the leader.
 */
class Party {
  #name;
  #url;
  #own;
  #sink;
  #forced;
  #channel;
  #isLeader = false;
  #isSynced = false; // a follower that needs no connection of its own
  #isFresh = false; // after a reset, the first id is where it begins, not what it has seen
  #last = "";
  #term = 0;
  #n = 0;
  /** @type {Said | null} */
  #said = null;
  /** @type {(() => void) | null} */
  #release = null;
  /** @type {AbortController | null} */
  #request = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #heard = Date.now();
  #checked = Date.now();
  #isOver = false;
  #wasOver = false; // for everybody
  /** @type {State} */
  #state = "connecting";
  #why = "";

  /**
   * @param {string} name of the circle of tabs; "" for this page alone
   * @param {string} key of the stream
   * @param {string} url
   * @param {boolean} forced share what has no cursors, too
   * @param {Connection} own
   * @param {Sink} sink of this tab
   */
  constructor(name, key, url, forced, own, sink) {
    this.#url = url;
    this.#own = own;
    this.#sink = sink;
    this.#forced = forced;
    this.#name = `serversent ${name || pageName} ${key}`;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#channel.postMessage(WHO_LEADS);
    this.#queue();
    this.#timer = setInterval(this.#check, 500);
  }

  leave() {
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#channel.close();
    this.#request?.abort();
    // The last message has to arrive before another leader follows. A frozen page has no timers.
    if (this.#wasOver) setTimeout(() => this.#release?.(), LAST_WORD_MILLISECONDS);
    else this.#release?.();
  }

  /** A leader that nobody looks at, and that gave way, is replaced by a tab that somebody looks at. */
  wake() {
    if (this.#said?.gaveWay && !this.#isLeader && !document.hidden) this.#queue(true);
  }

  /** Wait for the lock, or take it from a leader that does not answer. */
  #queue(steal = false) {
    this.#request?.abort();
    const request = new AbortController();
    this.#request = request;
    const lead = () => {
      if (this.#isOver || request !== this.#request) return Promise.resolve();
      this.#lead();
      return /** @type {Promise<void>} */ (
        new Promise((resolve) => {
          this.#release = resolve;
        })
      );
    };
    navigator.locks.request(this.#name, steal ? { steal } : { signal: request.signal }, lead).catch(() => {
      if (request !== this.#request || this.#isOver) return;
      if (this.#isLeader) {
        this.#follow(); // another tab took the lock, because this one did not answer
      } else {
        this.#channel.onmessage = null; // a document that may have no locks is alone
        lead();
      }
    });
  }

  #lead() {
    // The former leader may have been behind: read its events again.
    const said = this.#isSynced && this.#said;
    this.#last = (said && reached(said.cursor, this.#own.cursor) && said.last) || this.#own.cursor;
    this.#isLeader = true;
    this.#term = Math.max(this.#term + 1, Date.now());
    this.#n = 0;
    this.#own.open();
    this.#say();
  }

  #follow() {
    this.#release?.();
    this.#isLeader = this.#isSynced = false;
    this.#said = null;
    this.#heard = Date.now();
    this.#channel.postMessage(WHO_LEADS);
    this.#queue();
  }

  // The events of this tab's own connection.

  /** @param {StreamEvent} event */
  event(event) {
    // A tab that joins between a reset and its cursor has to begin by itself.
    if (event.id || isBeginning(event)) this.#last = event.id;
    if (this.#isLeader) this.#say({ event });
    this.#sink.event(event);
    this.#compare();
  }

  moved() {
    if (this.#isLeader) this.#say();
    this.#compare();
    this.#sink.moved();
  }

  /** @param {State} state @param {string} why */
  state(state, why) {
    this.#state = state;
    this.#why = why;
    this.#sink.state(state, why);
    if (this.#isLeader) this.#say();
  }

  /** @param {Outcome} outcome */
  over(outcome) {
    this.#wasOver = true;
    if (this.#isLeader) this.#say({ over: outcome });
    this.#sink.over(outcome);
  }

  /** @param {Partial<Said>} [more] */
  #say(more) {
    if (this.#isOver) return;
    this.#n += 1;
    /** @type {Said} */
    const said = {
      term: this.#term,
      n: this.#n,
      state: this.#state,
      why: this.#why,
      cursor: this.#own.cursor,
      last: this.#last,
      ofLog: this.#own.ofLog,
      gaveWay: this.#own.gaveWay,
      url: this.#url,
      ...more,
    };
    this.#channel.postMessage(said);
  }

  // The messages of the leader.

  /** @param {Said | typeof WHO_LEADS} said */
  #hear(said) {
    if (this.#isOver) return;
    if (said === WHO_LEADS) {
      if (this.#isLeader) {
        this.#say();
        this.#own.catchUp();
      }
      return;
    }
    if (said.term < this.#term || (this.#isLeader && said.term === this.#term)) return;
    if (this.#isLeader) this.#follow(); // replaced, and the lock has not told us yet
    this.#heard = Date.now();
    const isNext = said.term === this.#term && said.n === this.#n + 1;
    this.#term = said.term;
    this.#n = said.n;
    this.#said = said;
    this.wake();
    if (said.over) {
      // A tab that reads by itself gets it by itself. The URL of another page may have a signature that ends at another time.
      const isOurs = (said.ofLog || this.#forced) && !this.#own.isRunning;
      if (isOurs && (said.over.all || said.url === this.#url)) this.#sink.over(said.over);
    } else if (this.#isSynced && isNext) {
      this.#take(said);
    } else {
      this.#isSynced = false;
      this.#compare();
    }
  }

  /** @param {Said} said */
  #take({ event, cursor, state, why }) {
    const isNew = event ? this.#isNew(event) : !reached(this.#own.cursor, cursor);
    if (isNew && cursor) this.#own.cursor = cursor;
    if (isNew && event) this.#sink.event(new StreamEvent(event.type, event.data, event.id));
    if (!this.#isOver) this.#sink.state(state, why);
  }

  /** @param {{ type: string, id: string }} event */
  #isNew({ type, id }) {
    if (isBeginning({ type })) this.#isFresh = true;
    const isNew = this.#isFresh || !this.#said?.ofLog || !id || !reached(this.#own.cursor, id);
    if (id) this.#isFresh = false;
    return isNew;
  }

  /** Need we a connection of our own? */
  #compare() {
    const said = this.#said;
    if (!said || said.over || this.#isLeader || this.#isSynced || this.#isOver) return;
    const isLive = this.#forced && said.ofLog === false;
    if (isLive || (said.ofLog && reached(this.#own.cursor, said.last))) {
      this.#isSynced = true;
      this.#isFresh = false;
      this.#own.close();
    } else if (said.ofLog || (!this.#forced && said.state === "open")) {
      this.#own.open();
    }
    if (!this.#own.isRunning) this.#sink.state(said.state, said.why);
  }

  // A leader that was frozen is replaced by a tab that somebody looks at.

  #check = () => {
    const now = Date.now();
    const hasSlept = now - this.#checked > LEADER_ASKED_MILLISECONDS;
    if (hasSlept || this.#isLeader || document.hidden) this.#heard = now;
    this.#checked = now;
    const silence = now - this.#heard;
    if (silence > LEADER_LOST_MILLISECONDS) {
      this.#heard = now;
      this.#queue(true);
    } else if (silence > LEADER_ASKED_MILLISECONDS) {
      this.#channel.postMessage(WHO_LEADS);
    }
  };
}

/**
 * Return the scope of a shared stream. It needs a secure context (Web Locks). A stream with a method, a body or headers
 * of the page is not shared.
 * @param {Options} options
 * @param {string} url
 * @returns {{ name: string, forced: boolean } | undefined}
 */
function circle(options, url) {
  const { share, transport, body, headers } = options;
  if (!navigator.locks || share === false || transport === "eventsource" || body || isOnce(options)) return;
  if (typeof share === "string") return { name: share, forced: true };
  if (!headers) return { name: url.includes("#sse-public-") ? "public" : pageUser(), forced: !!share };
}

/**
 * Return the name under which tabs share a stream. Signed URLs differ from page to page: the part after # names the grant.
 * @param {string} url
 */
function keyOf(url) {
  const { origin, pathname, hash, href } = new URL(url, document.baseURI);
  return hash.startsWith("#sse-") ? origin + pathname + hash : href;
}

/** The result of `connect`. */
class Stream {
  #options;
  #circle;
  #url;
  #key;
  #own;
  /** @type {Party | null} */
  #party = null;
  #target = new EventTarget();
  /** @type {State} */
  #state = "idle";
  #isRunning = false;
  /** @type {Sink} */
  #sink = {
    event: (event) => this.#take(event),
    state: (state, why) => this.#say(state, why),
    over: (outcome) => this.#end(outcome),
    moved: () => this.#kept(this.cursor),
  };

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, options = {}) {
    this.#options = options;
    this.#url = new URL(url, document.baseURI).href;
    this.#circle = circle(options, this.#url);
    this.#key = keyOf(this.#url);
    this.#own = new Connection(this.#url, options, this.#sink);
    this.#own.cursor = this.#kept() || options.cursor || "";
    options.signal?.addEventListener("abort", () => this.stop());
    if (options.autostart !== false && !options.signal?.aborted) this.start();
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** The cursor with which the stream can be resumed. "" before anything is known. */
  get cursor() {
    return this.#own.cursor;
  }

  /**
   * Call `fn` for each event of a type; of every type of the server's for "*". Returns a function that removes it.
   * @param {string} type
   * @param {(event: StreamEvent) => void} fn
   */
  on(type, fn) {
    /** @param {Event} event */
    const handler = (event) => fn(/** @type {CustomEvent} */ (event).detail);
    this.#target.addEventListener(type, handler);
    if (type !== "error") this.#own.listen(type);
    return () => this.#target.removeEventListener(type, handler);
  }

  /** Begin, or go on from the cursor. */
  start() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    running.add(this);
    this.join();
    this.#say("connecting", "");
  }

  /** Stop, and stay stopped. The cursor stays where it is. */
  stop() {
    if (this.#isRunning) this.#end({ over: "closed", isFine: true, why: "" });
  }

  /** Events of the server's, of every type, until the stream is closed. Leaving the loop stops the stream. */
  async *[Symbol.asyncIterator]() {
    /** @type {StreamEvent[]} */
    const waiting = [];
    let wake = () => {};
    const off = this.on("*", (event) => {
      waiting.push(event);
      wake();
    });
    const offState = this.on("state", () => wake());
    try {
      for (;;) {
        while (waiting.length) {
          if (waiting.length > MAX_WAITING_EVENTS) throw RangeError("too many");
          yield/** @type {StreamEvent} */ (waiting.shift());
        }
        if (!this.#isRunning) return;
        await /** @type {Promise<void>} */ (
          new Promise((resolve) => {
            wake = resolve;
          })
        );
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
    const found = this.#circle;
    if (found) {
      this.#party ??= new Party(found.name, this.#key, this.#url, found.forced, this.#own, this.#sink);
      this.#own.sink = this.#party;
    } else this.#own.open();
    this.wake();
  }

  /** @internal */
  leave() {
    if (isOnce(this.#options)) this.stop();
    else this.#leave();
  }

  #leave() {
    this.#own.close();
    this.#party?.leave();
    this.#party = null;
    this.#own.sink = this.#sink;
  }

  /** @internal */
  wake() {
    this.#own.wake();
    this.#party?.wake();
  }

  /** @internal */
  rest() {
    this.#own.rest();
  }

  // The events.

  /** @param {StreamEvent} event */
  #take(event) {
    this.#kept(this.cursor);
    const { type } = event;
    if (type !== "state" && type !== "error") this.#dispatch(type, event); // which are the stream's own
    if (!isBeginning(event) && type !== "end") this.#dispatch("*", event);
  }

  /** @param {State} state @param {string} why */
  #say(state, why) {
    if (state === this.#state || !this.#isRunning) return;
    this.#state = state;
    this.#dispatch("state", new StreamEvent("state", state, "", why));
    if (state === "retrying" || state === "stale") {
      this.#dispatch("error", new StreamEvent("error", why));
      if (!(/** @type {any} */ (import.meta).minified) && state === "retrying" && why !== "lost")
        hints?.explain(this.#url, why);
    }
  }

  /** @param {Outcome} outcome */
  #end({ over = "closed", isFine, why }) {
    this.#leave();
    running.delete(this);
    this.#isRunning = false; // before the page is told: it may begin again
    this.#state = over;
    this.#dispatch("state", new StreamEvent("state", over, "", why));
    if (!isFine) {
      if (!(/** @type {any} */ (import.meta).minified) && hints) hints.explain(this.#url, why);
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
    const name = `serversent ${this.#circle?.name} ${this.#key}`;
    try {
      if (!cursor) return sessionStorage.getItem(name);
      sessionStorage.setItem(name, cursor);
    } catch {
      // Full, or forbidden here.
    }
  }
}

/**
 * Open a stream of server-sent events.
 * @param {string | URL} url
 * @param {Options} [options]
 * @returns {Stream}
 */
export function connect(url, options) {
  return new Stream(url, options);
}

// A page that is put aside keeps no connection, which would keep it out of the back/forward cache and hold up the tabs
// that wait for it; and it has one as soon as it is back.

/** @type {Set<Stream>} */
const running = new Set();

/** @param {"join" | "leave" | "wake" | "rest"} what */
const all = (what) => () => {
  for (const stream of [...running]) stream[what]();
};
const [join, leave, wake, rest] = [all("join"), all("leave"), all("wake"), all("rest")];

addEventListener("pagehide", leave);
document.addEventListener("freeze", leave);
for (const type of ["pageshow", "resume"]) addEventListener(type, join, true);
addEventListener("online", wake);
addEventListener("visibilitychange", () => (document.hidden ? rest() : wake()), true);

/** @param {Element} element */
const isList = ({ tagName }) => /^([OU]L|TBODY)$/.test(tagName);

/**
 * `<event-stream src="..." autostart>`: shows what comes, without a script of the page's own.
 *
 * Attributes: `src`; `cursor`; `event`, the types to show, "message"; `mode`, of "append", "prepend", "replace", and
 * "html" for data that is HTML of yours; `limit`, how many to keep; `target`, a selector of where to, or else the
 * child `[data-sse-output]`; `autostart`, `persist`, `share`.
 *
 * Buttons inside with `data-sse-start` and `data-sse-stop` do that. `[data-sse-state]` shows the state, which the
 * attribute `state` has too. A `<template>` inside is filled in for each event: `data-sse-text="name"` with a value of
 * its JSON, `$data`, `$id` and `$type` with its own.
 */
class EventStreamElement extends HTMLElement {
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
      const target = /** @type {Element} */ (event.target);
      if (target.closest("[data-sse-start]")) this.start();
      if (target.closest("[data-sse-stop]")) this.stop();
    });
  }

  connectedCallback() {
    const output = this.#output();
    // A list stays a list for screen readers.
    if (isList(output)) output.ariaLive ??= "polite";
    else output.role ??= this.#mode.includes("replace") ? "status" : "log";
    this.#show(this.#shown);
    if (this.hasAttribute("autostart") && !this.stream) this.start();
  }

  disconnectedCallback() {
    // One that is moved is back by then.
    setTimeout(() => {
      if (!this.isConnected) this.#close();
    });
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (name === "state") {
      if (now !== this.#shown) this.setAttribute("state", this.#shown); // a page that was morphed lost it
    } else if (before !== null && this.stream && keyOf(now ?? "") !== this.#key) {
      // When all attributes that are replaced together are. A cursor is a place in the log, whatever the channels.
      queueMicrotask(() => {
        const wasRunning = this.#isRunning;
        this.#close();
        if (wasRunning) this.start();
      });
    }
  }

  start() {
    if (this.#isRunning) return;
    this.stream = this.#connect(); // anew: the signature of its address may be another
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
      share: this.getAttribute("share") ?? undefined,
      autostart: false,
    });
    for (const type of (this.getAttribute("event") ?? "message").split(/[\s,]+/))
      stream.on(type, (event) => this.#take(event));
    stream.on("state", (event) => this.#tell(/** @type {State} */ (event.data), event));
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
    this.#trouble = undefined;
    this.#shown = state;
    this.setAttribute("state", state);
    this.#output().ariaBusy = `${this.#isRunning && state !== "open"}`;
    for (const element of this.querySelectorAll("[data-sse-state]")) {
      element.role ??= "status";
      element.textContent = element.getAttribute(`data-${state}`) ?? state;
    }
    const [start, stop] = ["start", "stop"].map(
      (name) => /** @type {HTMLButtonElement[]} */ ([...this.querySelectorAll(`[data-sse-${name}]`)]),
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
    const found = (selector && document.querySelector(selector)) || this.querySelector("[data-sse-output]");
    if (found) return found;
    const made = document.createElement("div");
    made.setAttribute("data-sse-output", "");
    this.append(made);
    return made;
  }

  /** @param {StreamEvent} event */
  #take(event) {
    if (this.stream?.cursor) this.setAttribute("cursor", this.stream.cursor); // a copy of the page goes on from here
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
      template.innerHTML = event.data; // asked for, of the page's own server
      return template.content;
    }
    if (this.#mode === "replace") return new Text(event.data);
    const line = document.createElement(isList(output) ? "li" : "div");
    line.textContent = event.data;
    return line;
  }
}

/**
 * @param {HTMLTemplateElement} template
 * @param {StreamEvent} event
 */
function filled(template, event) {
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  /** @type {Record<string, unknown>} */
  const values = { $data: event.data, $id: event.id, $type: event.type };
  try {
    Object.assign(values, event.json());
  } catch {
    // Text, for $data.
  }
  for (const element of copy.querySelectorAll("[data-sse-text]"))
    element.textContent = `${values[element.getAttribute("data-sse-text") || "$data"] ?? ""}`;
  return copy;
}

if (!customElements.get("event-stream")) customElements.define("event-stream", EventStreamElement);
