/** Text to events: WHATWG HTML, section 9.2. */

import { StreamEvent } from "./event.js";

const MAX_EVENT_CHARACTERS = 1 << 24;

/** Turns the text of one response into events, in any pieces. */
export class Parser {
  #sink;
  #id;
  #type = "";
  #afterCr = false;
  #size = 0;
  /** @type {string[]} pieces of the line that has not ended: joined once, so that tiny ones cost linear time */
  #line = [];
  /** @type {string[]} */
  #data = [];

  /**
   * @param {{ event(event: StreamEvent): void, comment?(text: string): void, retry?(milliseconds: number): void,
   *   id?(id: string): void }} sink `id`: of a block that is no event
   * @param {string} id the last one of the response before
   */
  constructor(sink, id = "") {
    this.#sink = sink;
    this.#id = id;
  }

  /** @param {string} text */
  feed(text) {
    if (this.#afterCr && text) {
      this.#afterCr = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    let start = 0;
    for (const end of text.matchAll(/\r\n|\n|\r/g)) {
      this.#grow(text.slice(start, end.index));
      start = end.index + end[0].length;
      this.#endLine();
    }
    if (start < text.length) this.#grow(text.slice(start));
    if (text.endsWith("\r")) this.#afterCr = true;
  }

  /** @param {string} piece */
  #grow(piece) {
    this.#size += piece.length;
    if (this.#size > MAX_EVENT_CHARACTERS) throw new RangeError("event too large");
    this.#line.push(piece);
  }

  #endLine() {
    const line = this.#line.join("");
    this.#line.length = 0;
    if (line) return this.#field(line);
    const [data, type] = [this.#data, this.#type || "message"];
    this.#data = [];
    this.#type = "";
    this.#size = 0;
    if (data.length) this.#sink.event(new StreamEvent(type, data.join("\n"), this.#id));
    else this.#sink.id?.(this.#id);
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (name === "data") {
      this.#data.push(value);
      this.#size += 1; // so that endless empty lines reach the bound, too
      return;
    }
    this.#size -= line.length;
    if (name === "") this.#sink.comment?.(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#sink.retry?.(Number(value));
  }
}
