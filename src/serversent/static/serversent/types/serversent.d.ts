/**
 * Server-sent events in the browser: one connection for all tabs, which comes back by itself and loses nothing.
 *
 * The way of an event, downwards:
 *
 * - `parser.js`: text to events (`event.js`)
 * - `connection.js`: one response after another; `outcome.js` says how each ends, `places.js` how many there may be
 * - `tab_group.js`: tabs that share the connection of one of them
 * - `stream.js`: the result of `connect()`; it starts and stops with the page
 * - `element.js`: `<event-stream>`
 * - `hints.js`: in development, lines in the console where a page would stay empty
 *
 * Source: WHATWG HTML, section 9.2. License: BSD-3-Clause, django-serversent.
 */
export type State = import("./outcome.js").State;
export type Options = import("./stream.js").Options;
/**
 * @typedef {import("./outcome.js").State} State
 * @typedef {import("./stream.js").Options} Options
 */
export { backoff } from "./outcome.js";
export { Parser } from "./parser.js";
export { connect } from "./stream.js";
