/** How an attempt to read a stream ends, and what follows. */
export type State = "idle" | "connecting" | "open" | "retrying" | "stale" | "closed" | "unauthorized";
export type Outcome = {
    over?: State;
    all?: boolean;
    why: string;
    isFine?: boolean;
    after?: number;
    soon?: boolean;
    status?: number;
};
/** @type {Outcome} */
export declare const REFUSED: Outcome;
/** @type {Outcome} */
export declare const AGAIN: Outcome;
/** @type {Outcome} */
export declare const ENDED: Outcome;
/** How an `end` of the server's ends the stream. It has a status if the view failed. @param {{ data: string }} end */
export declare function endOf({ data }: {
    data: string;
}): Outcome;
/**
 * Return the milliseconds before the next attempt: full jitter on top of the server's own delay.
 * @param {number} least milliseconds
 * @param {number} failures in a row before this one
 */
export declare function backoff(least: number, failures: number): number;
/**
 * Return how an answer ends the attempt; null: it is a stream.
 * @param {Response} response
 * @param {boolean} once
 * @returns {Outcome | null}
 */
export declare function classifyResponse(response: Response, once: boolean): Outcome | null;
/** Return the plain text of an answer, for the author of a page. @param {Response} response */
export declare function reasonOf(response: Response): Promise<string>;
/** @param {string | null} value seconds, or a date @returns {number} milliseconds */
export declare function retryAfter(value: string | null): number;
