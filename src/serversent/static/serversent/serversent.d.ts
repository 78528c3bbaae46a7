/**
 * Server-sent events in the browser: one connection for all tabs, which comes back by itself and loses nothing.
 *
 * The way of an event, downwards: Parser (text to events), Connection (one response after another), Party (the
 * connection of one tab serves all), Stream (the result of `connect`), EventStreamElement (`<event-stream>`).
 *
 * Source: WHATWG HTML, section 9.2. License: BSD-3-Clause, django-serversent.
 */
export type State = "idle" | "connecting" | "open" | "retrying" | "stale" | "closed" | "unauthorized";
export type Options = {
    /**
     * sent with each request, or a function that
     * returns them.
     */
    headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
    /**
     * send cookies to another origin.
     */
    withCredentials?: boolean;
    /**
     * where the stream begins: the value of `serversent.cursor()` in the view.
     */
    cursor?: string;
    /**
     * keep the cursor over a reload, in sessionStorage.
     */
    persist?: boolean;
    /**
     * one connection for all tabs: of those of the user that `{% sse_script %}`
     * names, if the stream has cursors. `true`: also if it has none. A string names another circle. `false`: never.
     */
    share?: boolean | string;
    /**
     * the browser's EventSource knows neither status codes nor heartbeats.
     */
    transport?: "fetch" | "eventsource";
    /**
     * other than GET: it is never sent twice, once an answer has begun.
     */
    method?: string;
    body?: BodyInit;
    /**
     * called once when the server wants a login.
     */
    onUnauthorized?: () => void;
    /**
     * stops the stream.
     */
    signal?: AbortSignal;
    /**
     * `false`: wait for `start()`.
     */
    autostart?: boolean;
};
export type Outcome = {
    over?: State;
    all?: boolean;
    why: string;
    isFine?: boolean;
    after?: number;
    soon?: boolean;
    status?: number;
};
/** An event: of the server's, or of the stream's own types `state`, `ready`, `reset`, `end`, `error`. */
declare class StreamEvent {
    type: string;
    data: string;
    id: string;
    why: string;
    /**
     * @param {string} type
     * @param {string} data text, as it was sent.
     * @param {string} id the cursor after it, if it has one.
     * @param {string} why of a `state`: its reason.
     */
    constructor(type: string, data: string, id?: string, why?: string);
    /** The value that was sent as JSON. Throws SyntaxError for other text. */
    json(): any;
}
/** Turns the text of one response into events, in any pieces. */
export declare class Parser {
    #private;
    /**
     * @param {{ event(event: StreamEvent): void, comment?(text: string): void, retry?(milliseconds: number): void,
     *   id?(id: string): void }} sink `id`: of a block that is no event
     * @param {string} id the last one of the response before
     */
    constructor(sink: {
        event(event: StreamEvent): void;
        comment?(text: string): void;
        retry?(milliseconds: number): void;
        id?(id: string): void;
    }, id?: string);
    /** @param {string} text */
    feed(text: string): void;
}
/**
 * Return the milliseconds before the next attempt: full jitter on top of the server's own delay.
 * @param {number} least milliseconds
 * @param {number} failures in a row before this one
 */
export declare function backoff(least: number, failures: number): number;
export type Sink = {
    event: (event: StreamEvent) => void;
    state: (state: State, why: string) => void;
    over: (outcome: Outcome) => void;
    /**
     * the cursor, or the knowledge of the stream, has changed
     */
    moved: () => void;
};
export type Said = {
    /**
     * of its leadership, later ones are higher
     */
    term: number;
    /**
     * counts what it says
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
/** The result of `connect`. */
declare class Stream {
    #private;
    /** @param {string | URL} url @param {Options} [options] */
    constructor(url: string | URL, options?: Options);
    /** @returns {State} */
    get state(): State;
    /** The cursor with which the stream can be resumed. "" before anything is known. */
    get cursor(): string;
    /**
     * Call `fn` for each event of a type; of every type of the server's for "*". Returns a function that removes it.
     * @param {string} type
     * @param {(event: StreamEvent) => void} fn
     */
    on(type: string, fn: (event: StreamEvent) => void): () => void;
    /** Begin, or go on from the cursor. */
    start(): void;
    /** Stop, and stay stopped. The cursor stays where it is. */
    stop(): void;
    /** Events of the server's, of every type, until the stream is closed. Leaving the loop stops the stream. */
    [Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, unknown>;
}
/**
 * Open a stream of server-sent events.
 * @param {string | URL} url
 * @param {Options} [options]
 * @returns {Stream}
 */
export declare function connect(url: string | URL, options?: Options): Stream;
export {};
