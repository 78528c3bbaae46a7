/** Over HTTP/1.1 a browser has six connections to a host, for all tabs together. Two are left for pages. */
export declare const PLACES = 4;
/** @type {Map<string, number>} the places that this page has, by host */
export declare const taken: Map<string, number>;
/** Whether the browser's connections to a host are few. Of another host nobody says. @param {string} url */
export declare function areFew(url: string): boolean;
/**
 * Take one of the places that all tabs have for streams of a host. Returns a function that releases it; undefined: none is free.
 * @param {string} host
 * @returns {Promise<(() => void) | undefined>}
 */
export declare function takePlace(host: string): Promise<(() => void) | undefined>;
