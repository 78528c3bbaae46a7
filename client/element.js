/** `<event-stream>`. */

import { connect, keyOf } from "./stream.js";

/**
 * @import { StreamEvent } from "./event.js"
 * @import { State } from "./outcome.js"
 * @import { Stream } from "./stream.js"
 */

const TROUBLE_MILLISECONDS = 3000; // shown after this: most are over before

/** @param {Element} element */
const isList = ({ tagName }) => /^([OU]L|TBODY)$/.test(tagName);

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
export class EventStreamElement extends HTMLElement {
  static observedAttributes = ["src", "state"];
  /** @type {Stream | null} */
  stream = null;
  #key = "";
  #shown = "idle";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #trouble;

  constructor() {
    super();
    this.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      if (target.closest("[data-sse-start]")) this.start();
      if (target.closest("[data-sse-stop]")) this.stop();
    });
  }

  connectedCallback() {
    const output = this.#output();
    // A list stays a list for screen readers.
    if (isList(output)) output.ariaLive ??= "polite";
    else output.role ??= this.#mode.includes("replace") ? "status" : "log";
    this.#show(this.#shown);
    if (this.hasAttribute("autostart") && !this.stream) this.start();
  }

  disconnectedCallback() {
    // An element that was only moved is connected again by then.
    setTimeout(() => {
      if (!this.isConnected) this.#close();
    });
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (name === "state") {
      if (now !== this.#shown) this.setAttribute("state", this.#shown); // a library that morphs the page has removed it
    } else if (before !== null && this.stream && keyOf(now ?? "") !== this.#key) {
      // Later, when all attributes of one update are set. The cursor stays valid: it is a place in the log.
      queueMicrotask(() => {
        const wasRunning = this.#isRunning;
        this.#close();
        if (wasRunning) this.start();
      });
    }
  }

  start() {
    if (this.#isRunning) return;
    this.stream = this.#connect(); // a new one: the address may have another signature
    this.stream.start();
  }

  stop() {
    this.stream?.stop();
  }

  get #isRunning() {
    return !/^(idle|closed|unauth)/.test(this.stream?.state ?? "idle");
  }

  get #mode() {
    return this.getAttribute("mode") ?? "";
  }

  #connect() {
    const src = this.getAttribute("src") ?? "";
    this.#key = keyOf(src);
    const stream = connect(src, {
      cursor: this.stream?.cursor || this.getAttribute("cursor") || "",
      persist: this.hasAttribute("persist"),
      share: this.getAttribute("share") ?? undefined,
      autostart: false,
    });
    for (const type of (this.getAttribute("event") ?? "message").split(/[\s,]+/))
      stream.on(type, (event) => this.#take(event));
    stream.on("state", (event) => this.#tell(/** @type {State} */ (event.data), event));
    return stream;
  }

  #close() {
    this.stream?.stop();
    this.stream = null;
  }

  /** @param {string} what @param {StreamEvent} detail @returns {boolean} whether the page lets it be shown */
  #announce(what, detail) {
    return this.dispatchEvent(new CustomEvent(`serversent:${what}`, { detail, bubbles: true, cancelable: true }));
  }

  // The state.

  /** @param {State} state @param {StreamEvent} event */
  #tell(state, event) {
    this.#announce("state", event);
    if (this.#shown === "open" && this.#isRunning && state !== "open")
      this.#trouble ??= setTimeout(() => this.#show(this.stream?.state ?? "idle"), TROUBLE_MILLISECONDS);
    else this.#show(state);
  }

  /** @param {string} state */
  #show(state) {
    clearTimeout(this.#trouble);
    this.#trouble = undefined;
    this.#shown = state;
    this.setAttribute("state", state);
    this.#output().ariaBusy = `${this.#isRunning && state !== "open"}`;
    for (const element of this.querySelectorAll("[data-sse-state]")) {
      element.role ??= "status";
      element.textContent = element.getAttribute(`data-${state}`) ?? state;
    }
    const [start, stop] = ["start", "stop"].map(
      (name) => /** @type {HTMLButtonElement[]} */ ([...this.querySelectorAll(`[data-sse-${name}]`)]),
    );
    const [useful, useless] = this.#isRunning ? [stop, start] : [start, stop];
    for (const button of useful) button.disabled = false;
    for (const button of useless) {
      if (button === document.activeElement) useful[0]?.focus();
      button.disabled = true;
    }
  }

  // The events.

  /** @returns {Element} */
  #output() {
    const selector = this.getAttribute("target");
    const found = (selector && document.querySelector(selector)) || this.querySelector("[data-sse-output]");
    if (found) return found;
    const made = document.createElement("div");
    made.setAttribute("data-sse-output", "");
    this.append(made);
    return made;
  }

  /** @param {StreamEvent} event */
  #take(event) {
    if (this.stream?.cursor) this.setAttribute("cursor", this.stream.cursor); // a copy of the page goes on from here
    if (!this.#announce("event", event)) return;
    const output = this.#output();
    const mode = this.#mode;
    const isPrepended = mode.includes("prepend");
    const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 5;
    const node = this.#node(event, output);
    if (isPrepended) output.prepend(node);
    else if (/replace|^html$/.test(mode)) output.replaceChildren(node);
    else output.append(node);
    const limit = parseInt(this.getAttribute("limit") ?? "", 10);
    while (limit >= 0 && output.childElementCount > limit)
      output[isPrepended ? "lastElementChild" : "firstElementChild"]?.remove();
    if (isAtEnd && !isPrepended) output.scrollTop = output.scrollHeight;
  }

  /** @param {StreamEvent} event @param {Element} output @returns {Node} */
  #node(event, output) {
    let template = this.querySelector("template");
    if (template) return filled(template, event);
    if (this.#mode.includes("html")) {
      template = document.createElement("template");
      template.innerHTML = event.data; // mode="html" was asked for, and the data comes from the server of the page
      return template.content;
    }
    if (this.#mode === "replace") return new Text(event.data);
    const line = document.createElement(isList(output) ? "li" : "div");
    line.textContent = event.data;
    return line;
  }
}

/**
 * @param {HTMLTemplateElement} template
 * @param {StreamEvent} event
 */
function filled(template, event) {
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  /** @type {Record<string, unknown>} */
  const values = { $data: event.data, $id: event.id, $type: event.type };
  try {
    Object.assign(values, event.json());
  } catch {
    // The data is no JSON object: $data has it as text.
  }
  for (const element of copy.querySelectorAll("[data-sse-text]"))
    element.textContent = `${values[element.getAttribute("data-sse-text") || "$data"] ?? ""}`;
  return copy;
}
