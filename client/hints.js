/**
 * In development, the console explains each mistake in a page, once, with the code that is right. The bundle for
 * production does not have this file.
 */

/**
 * @typedef {{ on(type: string, fn: (event: { type: string, data: string }) => void): unknown }} Stream
 * @typedef {HTMLElement & { stream: Stream | null }} Element an `<event-stream>`
 */

const MODES = ["append", "prepend", "replace", "html"];
const START_MILLISECONDS = 1000; // in which a script of the page may start a stream
const SHOWN_CHARACTERS = 60;

/** @type {Set<string>} */
const told = new Set();

/** @param {string} text @param {unknown} [about] an element, which the console then shows */
function tell(text, about) {
  if (told.has(text)) return;
  told.add(text);
  console.warn(`serversent: ${text}`, ...(about ? [about] : []));
}

/**
 * Explain why a stream has trouble.
 * @param {string} url
 * @param {string} why as the client says it
 */
export function explain(url, why) {
  const { origin, pathname } = new URL(url);
  const path = origin + pathname;
  if (/fetch|NetworkError|Load failed/i.test(why)) tell(explainNoAnswer(origin, path));
  else if (/answered 404/.test(why)) tell(`${path} answered 404: no view is there. Is its path() in urls.py?`);
  else if (/answered 406/.test(why))
    tell(
      `${path} answered 406. For a view of Django REST Framework: renderer_classes = [EventStreamRenderer], from ` +
        "serversent.contrib.drf.",
    );
  else if (/answered 200 with/.test(why))
    tell(`${path} is no stream (${why}). Its view needs @event_stream or @channel_stream directly above its def.`);
  else if (why) tell(`${path}: ${why}`);
}

/** @param {string} origin @param {string} path */
function explainNoAnswer(origin, path) {
  if (origin === location.origin)
    return (
      `no answer from ${path}. The server is not running, or the page's Content-Security-Policy does not allow the ` +
      "connection: it needs connect-src 'self'."
    );
  return (
    `no answer from ${path}, which is another origin. Its server has to allow this page (with django-cors-headers: ` +
    `CORS_ALLOWED_ORIGINS = ["${location.origin}"]); for its cookies also CORS_ALLOW_CREDENTIALS = True and ` +
    "connect(url, { withCredentials: true })."
  );
}

/** @param {Element} element */
function check(element) {
  const get = (/** @type {string} */ name) => element.getAttribute(name);
  if (!get("src")) tell('<event-stream> has no src: write src="/clock/", or {% event_stream "news" %}.', element);
  const mode = get("mode");
  const wrong = mode?.split(/\s+/).find((word) => !MODES.includes(word));
  if (wrong !== undefined)
    tell(`mode="${mode}" is none of ${MODES.join(", ")}, and not two of them, as "append html".`, element);
  const limit = get("limit");
  if (limit !== null && !/^\d+$/.test(limit)) tell(`limit="${limit}" is no number of events to keep.`, element);
  const target = get("target");
  if (target && !document.querySelector(target))
    tell(`target="${target}" finds no element of the page. It is a selector: target="#orders".`, element);
  setTimeout(() => checkStarted(element), START_MILLISECONDS);
}

/** @param {Element} element */
function checkStarted(element) {
  const hasButton = element.querySelector("[data-sse-start]");
  if (!element.isConnected || element.stream || hasButton || element.hasAttribute("autostart")) return;
  tell(
    "<event-stream> was not started: write <event-stream autostart>, or put a button into it: " +
      "<button type=button data-sse-start>Start</button>.",
    element,
  );
}

/** @type {WeakSet<object>} */
const watched = new WeakSet();

/** @param {Element} element */
function watch(element) {
  const { stream } = element;
  if (!stream || watched.has(stream)) return;
  watched.add(stream);
  stream.on("*", (event) => {
    const types = (element.getAttribute("event") ?? "message").split(/[\s,]+/);
    if (!types.includes(event.type))
      tell(
        `an event of type "${event.type}" came, which <event-stream> does not show: write ` +
          `event="${[...types, event.type].join(", ")}".`,
        element,
      );
    else checkTemplate(element, event.data);
  });
}

/** @param {Element} element @param {string} data */
function checkTemplate(element, data) {
  const template = element.querySelector("template");
  if (!template) return;
  const fields = template.content.querySelectorAll("[data-sse-text]");
  if (!fields.length)
    tell('the <template> shows nothing of an event: write <span data-sse-text="$data"></span> in it.', element);
  const values = valuesOf(data);
  for (const field of fields) {
    const name = field.getAttribute("data-sse-text") || "$data";
    if (name[0] === "$" || (values && name in values)) continue;
    const shown = data.length > SHOWN_CHARACTERS ? `${data.slice(0, SHOWN_CHARACTERS)}...` : data;
    const instead = values
      ? `It has ${Object.keys(values).join(", ") || "no values"}.`
      : `It is text; write data-sse-text="$data", or send a dict: send_event(channel, {"${name}": ...}).`;
    tell(`data-sse-text="${name}" finds nothing in the data ${JSON.stringify(shown)}. ${instead}`, element);
  }
}

/** @param {string} data @returns {object | null} */
function valuesOf(data) {
  try {
    const value = JSON.parse(data);
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** @param {ParentNode} root */
function checkAll(root) {
  for (const element of root.querySelectorAll("event-stream")) {
    check(/** @type {Element} */ (element));
    watch(/** @type {Element} */ (element));
  }
}

addEventListener("serversent:state", ({ target }) => watch(/** @type {Element} */ (target)), true);
if (document.readyState === "complete") checkAll(document);
else addEventListener("load", () => checkAll(document)); // other scripts of the page complete its elements
new MutationObserver((changes) => {
  for (const { addedNodes } of changes)
    for (const node of addedNodes)
      if (node instanceof HTMLElement && node.isConnected) {
        if (node.matches("event-stream")) check(/** @type {Element} */ (node));
        checkAll(node);
      }
}).observe(document, { childList: true, subtree: true });
