/** One connection to the server, over one response after another. */
import { StreamEvent } from "./event.js";
import type { Outcome, State } from "./outcome.js";
import type { Options } from "./stream.js";
/** Whether a request must not be sent again once it may have been answered. @param {Options} options */
export declare const isNotIdempotent: ({ method }: Options) => boolean;
export type Sink = {
    event: (event: StreamEvent) => void;
    state: (state: State, why: string) => void;
    over: (outcome: Outcome) => void;
    /**
     * the cursor, or the knowledge of the stream, has changed
     */
    moved: () => void;
};
/**
 * @typedef {object} Sink receives the events of a connection
 * @property {(event: StreamEvent) => void} event
 * @property {(state: State, why: string) => void} state
 * @property {(outcome: Outcome) => void} over
 * @property {() => void} moved the cursor, or the knowledge of the stream, has changed
 */
/** The connection of this tab, one response after another. Used while the tab has one of its own. */
export declare class Connection {
    #private;
    cursor: string;
    /** @type {boolean | undefined} whether it is of a log, and so has cursors; undefined: not known yet */
    ofLog: boolean | undefined;
    /** @type {Sink} */
    sink: Sink;
    gaveWay: boolean;
    /** @param {string} url @param {Options} options @param {Sink} sink */
    constructor(url: string, options: Options, sink: Sink);
    get isRunning(): boolean;
    open(): void;
    close(): void;
    /** Nobody looks at this tab. Where tabs cannot tell each other what they need, it needs nothing. */
    rest(): void;
    /** The page, the machine or the network is awake again: come back at once, but leave what is healthy alone. */
    wake(): void;
    /** Do what timers are late with: those of a tab in the background are, by a minute. */
    catchUp(): void;
    /** @param {string} type also has to be asked of EventSource */
    listen(type: string): void;
}
