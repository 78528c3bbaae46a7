/** Events, as a page gets them. */
/** An event: of the server's, or of the stream's own types `state`, `ready`, `reset`, `end`, `error`. */
export declare class StreamEvent {
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
/** @param {{ type: string }} event */
export declare const isBeginning: ({ type }: {
    type: string;
}) => boolean;
