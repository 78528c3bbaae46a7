/**
 * Whether everything up to `there` was seen at `here`, both as `serversent.cursor()` writes them.
 * @param {string} here
 * @param {string} there
 */
export function reached(here, there) {
  const [mine, theirs] = [here, there].map((text) => /^(\w+)-(\d+)$/.exec(text));
  return !!mine && !!theirs && mine[1] === theirs[1] && +mine[2] >= +theirs[2];
}
