/** How an attempt to read a stream ends, and what follows. */

import { place } from "./page.js";

/**
 * @typedef {"idle" | "connecting" | "open" | "retrying" | "stale" | "closed" | "unauthorized"} State
 *   idle: not started. retrying: it comes back by itself. stale: too long without a sign of life. closed: stopped,
 *   ended or refused. unauthorized: the server wants a login.
 */

/**
 * @typedef {{ over?: State, all?: boolean, why: string, isFine?: boolean, after?: number, soon?: boolean,
 *   status?: number }} Outcome
 *   how an attempt ended. over: for good. all: for every tab. isFine: without an error. after: milliseconds to wait at
 *   least. soon: without waiting. status: of the answer that ended it.
 */

const MAX_RETRY_MILLISECONDS = 30_000;

/** @type {Outcome} */
export const REFUSED = { over: "closed", why: "expired", status: 403 };

/** @type {Outcome} */
export const AGAIN = { why: "", soon: true, isFine: true };

/** @type {Outcome} */
export const ENDED = { over: "closed", all: true, isFine: true, why: "ended" };

/** How an `end` of the server's ends the stream. It has a status if the view failed. @param {{ data: string }} end */
export function endOf({ data }) {
  const [status] = /\d+/.exec(data) ?? [];
  return status ? { over: /** @type {State} */ ("closed"), status: +status, why: `ended with ${status}` } : ENDED;
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
export function classifyResponse(response, once) {
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
export async function reasonOf(response) {
  if (!response.headers.get("Content-Type")?.startsWith("text/plain")) return "";
  return `: ${(await response.text()).slice(0, 300)}`;
}

/** @param {string | null} value seconds, or a date @returns {number} milliseconds */
export function retryAfter(value) {
  const wait = Number(value) * 1000 || Date.parse(value ?? "") - Date.now();
  return Math.max(wait, 0) || 0;
}
