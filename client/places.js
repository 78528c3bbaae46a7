/** Over HTTP/1.1 a browser has six connections to a host, for all tabs together. Two are left for pages. */

export const PLACES = 4;

/** @type {Map<string, number>} the places that this page has, by host */
export const taken = new Map();

/** Whether the browser's connections to a host are few. Of another host nobody says. @param {string} url */
export function areFew(url) {
  const [page] = performance.getEntriesByType("navigation");
  const { nextHopProtocol } = /** @type {PerformanceNavigationTiming} */ (page ?? {});
  return new URL(url).origin !== location.origin || !/^h[23]/.test(nextHopProtocol ?? "");
}

/**
 * Take one of the places that all tabs have for streams of a host. Returns a function that releases it; undefined: none is free.
 * @param {string} host
 * @returns {Promise<(() => void) | undefined>}
 */
export async function takePlace(host) {
  if (!navigator.locks) return taken.get(host) === PLACES || document.hidden ? undefined : () => {};
  const first = Math.floor(Math.random() * PLACES);
  for (let number = 0; number < PLACES; number += 1) {
    const name = `serversent place ${host} ${(first + number) % PLACES}`;
    /** @type {(() => void) | undefined} */
    const release = await new Promise((resolve) => {
      navigator.locks
        .request(name, { ifAvailable: true }, (lock) => lock && new Promise((done) => resolve(() => done(null))))
        .then(() => resolve(undefined))
        .catch(() => resolve(() => {})); // a document without permission for locks
    });
    if (release) return release;
  }
}
