/** A stream, as a page has it. */
import { StreamEvent } from "./event.js";
import type { State } from "./outcome.js";
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
     * one connection for all tabs: shared with the tabs of the same user, whom `{% sse_script %}`
     * names, if the stream has cursors. `true`: also without cursors. A string: shared with the tabs that give the same one.
     * `false`: never.
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
/**
 * Return the name under which tabs share a stream. Signed URLs differ from page to page: the part after # names the grant.
 * @param {string} url
 */
export declare function keyOf(url: string): string;
/** The result of `connect`. */
export declare class Stream {
    #private;
    /** @param {string | URL} url @param {Options} [options] */
    constructor(url: string | URL, options?: Options);
    /** @returns {State} */
    get state(): State;
    /** The cursor with which the stream can be resumed. "" before anything is known. */
    get cursor(): string;
    /**
     * Call `fn` for each event of a type; for "*", each event that the server sends. Returns a function that removes it.
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
