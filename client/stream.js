/** A stream, as a page has it. */

import { Connection, isNotIdempotent } from "./connection.js";
import { isBeginning, StreamEvent } from "./event.js";
import { pageUser, place, warn } from "./page.js";
import { TabGroup } from "./tab_group.js";

/**
 * @import { Sink } from "./connection.js"
 * @import { Outcome, State } from "./outcome.js"
 */

/**
 * @typedef {object} Options
 * @property {HeadersInit | (() => HeadersInit | Promise<HeadersInit>)} [headers] sent with each request, or a function that
 *   returns them.
 * @property {boolean} [withCredentials] send cookies to another origin.
 * @property {string} [cursor] where the stream begins: the value of `serversent.cursor()` in the view.
 * @property {boolean} [persist] keep the cursor over a reload, in sessionStorage.
 * @property {boolean | string} [share] one connection for all tabs: shared with the tabs of the same user, whom `{% sse_script %}`
 *   names, if the stream has cursors. `true`: also without cursors. A string: shared with the tabs that give the same one.
 *   `false`: never.
 * @property {"fetch" | "eventsource"} [transport] the browser's EventSource knows neither status codes nor heartbeats.
 * @property {string} [method] other than GET: it is never sent twice, once an answer has begun.
 * @property {BodyInit} [body]
 * @property {() => void} [onUnauthorized] called once when the server wants a login.
 * @property {AbortSignal} [signal] stops the stream.
 * @property {boolean} [autostart] `false`: wait for `start()`.
 */

const MAX_WAITING_EVENTS = 10_000;

// Code behind `import.meta.minified` is not in the file for production: the unminified client has more hints.

/** @type {{ explain(url: string, why: string): void } | undefined} */
let hints;
if (!(/** @type {any} */ (import.meta).minified))
  import("./hints.js").then((module) => {
    hints = module;
  });

/**
 * Return the scope of a shared stream. It needs a secure context (Web Locks). A stream with a method, a body or headers
 * of the page is not shared.
 * @param {Options} options
 * @param {string} url
 * @returns {{ name: string, forced: boolean } | undefined}
 */
function shareScope(options, url) {
  const { share, transport, body, headers } = options;
  if (!navigator.locks || share === false || transport === "eventsource" || body || isNotIdempotent(options)) return;
  if (typeof share === "string") return { name: share, forced: true };
  if (!headers) return { name: url.includes("#sse-public-") ? "public" : pageUser(), forced: !!share };
}

/**
 * Return the name under which tabs share a stream. Signed URLs differ from page to page: the part after # names the grant.
 * @param {string} url
 */
export function keyOf(url) {
  const { origin, pathname, hash, href } = new URL(url, document.baseURI);
  return hash.startsWith("#sse-") ? origin + pathname + hash : href;
}

/** The result of `connect`. */
export class Stream {
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
    moved: () => this.#kept(this.cursor),
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
    /** @param {Event} event */
    const handler = (event) => fn(/** @type {CustomEvent} */ (event).detail);
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
    if (type !== "state" && type !== "error") this.#dispatch(type, event); // these two are types of the stream itself
    if (!isBeginning(event) && type !== "end") this.#dispatch("*", event);
  }

  /** @param {State} state @param {string} why */
  #changeState(state, why) {
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
    this.#isRunning = false; // before the event: its handler may call start()
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
    const name = `serversent ${this.#scope?.name} ${this.#key}`;
    try {
      if (!cursor) return sessionStorage.getItem(name);
      sessionStorage.setItem(name, cursor);
    } catch {
      // The storage is full or forbidden.
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
