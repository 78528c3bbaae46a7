/** One connection to the server, over one response after another. */

import { isBeginning, StreamEvent } from "./event.js";
import { AGAIN, backoff, classifyResponse, ENDED, endOf, REFUSED, reasonOf, retryAfter } from "./outcome.js";
import { isSigned, pageUser, place, warn } from "./page.js";
import { Parser } from "./parser.js";
import { areFew, PLACES, taken, takePlace } from "./places.js";

/**
 * @import { Outcome, State } from "./outcome.js"
 * @import { Options } from "./stream.js"
 */

const MAX_MILLISECONDS = 2 ** 31 - 1; // the limit of timers
const DEFAULT_RETRY_MILLISECONDS = 3000;
const GOOD_MILLISECONDS = 10_000; // a connection that was open for so long resets the count of failures
const SLOW_ANSWER_MILLISECONDS = 5000;
const NO_ANSWER_MILLISECONDS = 40_000;
const NO_BYTE_MILLISECONDS = 20_000;
const EARLY_MILLISECONDS = 1000; // a URL is renewed so long before it expires
const MANY_PLACES = 3; // a page with so many connections gets a warning
const PLACE_MILLISECONDS = 100;
const MAX_PLACE_MILLISECONDS = 500;
const HIDDEN_PLACE_MILLISECONDS = 5000;

/** @type {Set<string>} hosts of which the page was told that it has many streams */
const isCrowded = new Set();

/** Whether a request must not be sent again once it may have been answered. @param {Options} options */
export const isNotIdempotent = ({ method = "GET" }) => method.toUpperCase() !== "GET";

/**
 * @typedef {object} Sink receives the events of a connection
 * @property {(event: StreamEvent) => void} event
 * @property {(state: State, why: string) => void} state
 * @property {(outcome: Outcome) => void} over
 * @property {() => void} moved the cursor, or the knowledge of the stream, has changed
 */

/** The connection of this tab, one response after another. Used while the tab has one of its own. */
export class Connection {
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
  #id = ""; // the newest id; an event without an id repeats it
  #run = new AbortController(); // of one start. A stop aborts it, and the work of that start ends
  #types = new Set(["message", "ready", "reset", "end"]);
  /** @type {EventSource | null} */
  #source = null;
  #retry = DEFAULT_RETRY_MILLISECONDS;
  /** @type {State} */
  #state = "idle";
  #answered = false;
  /** @type {"" | "renewed" | "unauthorized"} how the last renewal was answered, until a stream opens */
  #renewal = "";
  #expires = Infinity; // when the URL expires, in milliseconds of Date.now()
  #received = false;
  #heard = 0; // when bytes last came, by Date.now(): other clocks stand still while the machine sleeps
  #heartbeat = 0; // in milliseconds; 0: the server has not announced one
  #waitsUntil = 0; // the server's Retry-After: wake() does not end a wait before this time
  #due = 0; // when the wait ends
  /** @type {(() => void) | null} */
  #endWait = null;
  /** @type {(() => void) | null} gives its place back */
  #leavePlace = null;
  /** @type {BroadcastChannel | null} to those of other tabs that have places */
  #neighbours = null;
  gaveWay = false; // it released its place to a tab in the foreground
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
      if (run.aborted) return; // the page has stopped it in a callback
      await this.#takePlace(run);
      if (run.aborted) return;
      let outcome = this.#isExpired
        ? REFUSED
        : await (this.#options.transport === "eventsource" ? this.#native(run) : this.#fetch(run));
      if (outcome.status === 403 && isSigned(this.#url)) outcome = await this.#renew(outcome);
      if (run.aborted) return;
      this.#leavePlace?.();
      clearTimeout(this.#timer);
      if (outcome.over) {
        this.#state = "idle";
        return this.sink.over(outcome);
      }
      if (outcome.isFine || (this.#answered && Date.now() - began >= GOOD_MILLISECONDS)) failures = 0;
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
        if (this.#renewal === "renewed") return { why: "" }; // the session may have another key now: wait a little
        this.#url = new URL((await response.json()).url, this.#url).href;
        this.#renewal = "renewed";
        this.#expires = Infinity;
        return AGAIN;
      }
      const { status, headers } = response;
      const why = `answered ${status}`;
      if (status === 401) {
        // During a change of the password the old session has ended, and the new one does not exist yet.
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
      const release = mayTake ? await takePlace(host) : undefined;
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
        `this page has ${count} connections to ${host}. Over HTTP/1.1 all tabs have ${PLACES} for streams; others ` +
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
    // The server refuses it if another user has logged in meanwhile, in another tab.
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
        if (!(/** @type {any} */ (import.meta).minified)) verdict.why += await reasonOf(response);
        response.body?.cancel().catch(() => {});
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
      // The body cannot be read a second time, and the request may have had an effect.
      if (error instanceof RangeError || this.#once) return { over: "closed", why };
      return { why, soon: isDead, isFine: this.gaveWay };
    } finally {
      attempt.abort(); // the rest of the body is not needed
    }
  }

  /** @param {Response} response @param {AbortSignal} run @returns {Promise<Outcome>} */
  async #read(response, run) {
    /** @type {Outcome | null} */
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
        },
      },
      this.cursor,
    );
    const body = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body);
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (run.aborted) return ENDED;
      if (done) break;
      this.#received = true;
      this.#hear();
      if (this.#state === "stale") this.#changeState("open");
      parser.feed(value);
      if (run.aborted) return ENDED; // the page has stopped it in a callback
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
    if (event.id && event.id !== "end") this.cursor = event.id; // a stream cannot be resumed at its end
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
    // EventSource does not tell why it gave up; fetch() does.
    return outcome ?? (run.aborted ? ENDED : this.#fetch(run));
  }

  /** @param {MessageEvent} event */
  #fromSource = (event) => {
    this.#emit(new StreamEvent(event.type, event.data, event.lastEventId));
  };
}
