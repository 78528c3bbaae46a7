/** Tabs that share one connection. */

import { reached } from "./cursor.js";
import { isBeginning, StreamEvent } from "./event.js";

/**
 * @import { Connection, Sink } from "./connection.js"
 * @import { Outcome, State } from "./outcome.js"
 */

const LEADER_ASKED_MILLISECONDS = 1500;
const LEADER_LOST_MILLISECONDS = 3500;
const LAST_WORD_MILLISECONDS = 200;
const WHO_LEADS = 0;

const pageName = Math.random();

/**
 * @typedef {object} LeaderMessage what the leader says: all of it, each time
 * @property {number} term the term of the leader: a later leader has a higher one
 * @property {number} n the number of the message
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
 * @typedef {"candidate" | "follower" | "leader" | "gone"} Role of a tab. A candidate has not reached the leader yet: it
 *   waits for its message, or reads by itself. A follower has reached it, and needs no connection.
 */

/**
 * The tabs that share a connection, as one of them sees them. The tab that holds the lock is the leader: it has the
 * connection, and sends each event to the others. A follower has no connection, unless it has missed events that the
 * leader no longer has, or needs an initial state: then it reads by itself until it has reached the leader.
 */
export class TabGroup {
  #name;
  #url;
  #ownConnection;
  #sink;
  #forced;
  #channel;
  /** @type {Role} */
  #role = "candidate";
  #isFresh = false; // after a reset, the first id is the place where the tab begins, and no event was seen up to it
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
  #wasOver = false; // the stream has ended for all tabs
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
    // The last message has to arrive before another leader follows. A frozen page has no timers.
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
    const lead = () =>
      /** @type {Promise<void>} */ (
        new Promise((resolve) => {
          if (this.#role === "gone" || request !== this.#request) return resolve();
          this.#release = resolve; // before the page hears of it: it may leave
          this.#lead();
        })
      );
    navigator.locks.request(this.#name, steal ? { steal } : { signal: request.signal }, lead).catch(() => {
      if (request !== this.#request || this.#role === "gone") return;
      if (this.#role === "leader") {
        this.#follow(); // another tab stole the lock, because this one did not answer
      } else {
        this.#channel.onmessage = null; // a document without permission for locks stays alone
        lead();
      }
    });
  }

  #lead() {
    // The former leader may have been behind: read its events again.
    const message = this.#role === "follower" && this.#leaderMessage;
    this.#last =
      (message && reached(message.cursor, this.#ownConnection.cursor) && message.last) || this.#ownConnection.cursor;
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
    // A tab that joins between a reset and its cursor has to begin by itself.
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
    /** @type {LeaderMessage} */
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
      ...more,
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
    if (message.term < this.#term || (this.#role === "leader" && message.term === this.#term)) return;
    if (this.#role === "leader") this.#follow(); // another tab has replaced this one, and the lock is not released yet
    this.#heard = Date.now();
    const isNext = message.term === this.#term && message.n === this.#n + 1;
    this.#term = message.term;
    this.#n = message.n;
    this.#leaderMessage = message;
    this.wake();
    if (message.over) {
      // A tab with its own connection gets the end there. The signed URL of another page may expire at another time.
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
    if (isLive || (message.ofLog && reached(this.#ownConnection.cursor, message.last))) {
      this.#role = "follower";
      this.#isFresh = false;
      this.#ownConnection.close();
    } else if (message.ofLog || (!this.#forced && message.state === "open")) {
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
}
