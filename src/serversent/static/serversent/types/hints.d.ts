/**
 * In development, the console explains each mistake in a page, once, with the code that is right. The bundle for
 * production does not have this file.
 */
export type Stream = {
    on(type: string, fn: (event: {
        type: string;
        data: string;
    }) => void): unknown;
};
export type Element = HTMLElement & {
    stream: Stream | null;
};
/**
 * Explain why a stream has trouble.
 * @param {string} url
 * @param {string} why as the client says it
 */
export declare function explain(url: string, why: string): void;
