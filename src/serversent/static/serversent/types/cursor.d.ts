/**
 * Whether everything up to `there` was seen at `here`, both as `serversent.cursor()` writes them.
 * @param {string} here
 * @param {string} there
 */
export declare function reached(here: string, there: string): boolean;
