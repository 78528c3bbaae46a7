/** Text to events: WHATWG HTML, section 9.2. */
import { StreamEvent } from "./event.js";
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
