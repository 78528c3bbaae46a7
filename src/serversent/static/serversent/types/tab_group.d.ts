/** Tabs that share one connection. */
import { StreamEvent } from "./event.js";
import type { Connection, Sink } from "./connection.js";
import type { Outcome, State } from "./outcome.js";
export type LeaderMessage = {
    /**
     * the term of the leader: a later leader has a higher one
     */
    term: number;
    /**
     * the number of the message
     */
    n: number;
    state: State;
    why: string;
    cursor: string;
    /**
     * the cursor of the last event, or the beginning: a tab that has reached it has missed nothing
     */
    last: string;
    ofLog: boolean | undefined;
    /**
     * it has no connection, because nobody looks at its tab
     */
    gaveWay: boolean;
    event?: {
        type: string;
        data: string;
        id: string;
    };
    over?: Outcome;
    url: string;
};
export type Role = "candidate" | "follower" | "leader" | "gone";
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
export declare class TabGroup {
    #private;
    /**
     * @param {string} name of the circle of tabs; "" for this page alone
     * @param {string} key of the stream
     * @param {string} url
     * @param {boolean} forced share what has no cursors, too
     * @param {Connection} ownConnection of this tab
     * @param {Sink} sink of this tab
     */
    constructor(name: string, key: string, url: string, forced: boolean, ownConnection: Connection, sink: Sink);
    leave(): void;
    /** A leader that nobody looks at, and that gave way, is replaced by a tab that somebody looks at. */
    wake(): void;
    /** @param {StreamEvent} event */
    event(event: StreamEvent): void;
    moved(): void;
    /** @param {State} state @param {string} why */
    state(state: State, why: string): void;
    /** @param {Outcome} outcome */
    over(outcome: Outcome): void;
}
