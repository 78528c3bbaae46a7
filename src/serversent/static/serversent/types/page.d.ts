/** The page: whom it is for, and lines in its console. */
/** Where a URL leads, without its query: that may have a signature. @param {string} url */
export declare const place: (url: string) => string;
/** Whether `sse_url` has signed a URL, which can be renewed then. @param {string} url */
export declare const isSigned: (url: string) => boolean;
/** Whom the page is for, as `{% sse_script %}` says; "" if it does not. */
export declare function pageUser(): string;
/** @param {string} text */
export declare const warn: (text: string) => void;
