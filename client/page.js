/** The page: whom it is for, and lines in its console. */

/** Where a URL leads, without its query: that may have a signature. @param {string} url */
export const place = (url) => url.replace(/[?#].*/, "");

/** Whether `sse_url` has signed a URL, which can be renewed then. @param {string} url */
export const isSigned = (url) => new URL(url).hash.startsWith("#sse-");

/** Whom the page is for, as `{% sse_script %}` says; "" if it does not. */
export function pageUser() {
  /** @type {NodeListOf<HTMLElement>} */
  const scripts = document.querySelectorAll("script[data-serversent-user]");
  return [...scripts].at(-1)?.dataset.serversentUser ?? "";
}

/** @param {string} text */
export const warn = (text) => console.warn(`serversent: ${text}`);
