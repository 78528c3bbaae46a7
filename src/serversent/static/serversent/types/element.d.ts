/** `<event-stream>`. */
import type { Stream } from "./stream.js";
/**
 * `<event-stream src="..." autostart>`: shows what comes, without a script of the page's own.
 *
 * Attributes: `src`; `cursor`; `event`, the types to show, "message"; `mode`, of "append", "prepend", "replace", and
 * "html" for data that is HTML of yours; `limit`, how many to keep; `target`, a selector of where to, or else the
 * child `[data-sse-output]`; `autostart`, `persist`, `share`.
 *
 * Buttons inside with `data-sse-start` and `data-sse-stop` do that. `[data-sse-state]` shows the state, which the
 * attribute `state` has too. A `<template>` inside is filled in for each event: `data-sse-text="name"` with a value of
 * its JSON, `$data`, `$id` and `$type` with its own.
 */
export declare class EventStreamElement extends HTMLElement {
    #private;
    static observedAttributes: string[];
    /** @type {Stream | null} */
    stream: Stream | null;
    constructor();
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** @param {string} name @param {string | null} before @param {string | null} now */
    attributeChangedCallback(name: string, before: string | null, now: string | null): void;
    start(): void;
    stop(): void;
}
