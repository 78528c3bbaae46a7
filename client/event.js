/** Events, as a page gets them. */

/** An event: of the server's, or of the stream's own types `state`, `ready`, `reset`, `end`, `error`. */
export class StreamEvent {
  /**
   * @param {string} type
   * @param {string} data text, as it was sent.
   * @param {string} id the cursor after it, if it has one.
   * @param {string} why of a `state`: its reason.
   */
  constructor(type, data, id = "", why = "") {
    this.type = type;
    this.data = data;
    this.id = id;
    this.why = why;
  }

  /** The value that was sent as JSON. Throws SyntaxError for other text. */
  json() {
    return JSON.parse(this.data);
  }
}

/** @param {{ type: string }} event */
export const isBeginning = ({ type }) => type === "ready" || type === "reset";
