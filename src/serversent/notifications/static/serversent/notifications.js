/**
 * `<notification-bell>` and `<notification-toasts>`, which `{% notification_bell %}` and `{% notification_toasts %}`
 * put into a page. Both take the events of one `<event-stream>`, which serversent.js defines.
 *
 * Their content is in their templates, which may be overridden: an element is found by its `data-` attribute. Text is
 * always text.
 *
 * License: BSD-3-Clause, django-serversent.
 */

/**
 * @typedef {object} Item a notification, as the server describes it
 * @property {number} id
 * @property {string} text
 * @property {string} level debug, info, success, warning or error
 * @property {string} url "" if it leads nowhere
 * @property {unknown} data
 * @property {string} created_at
 * @property {boolean} read
 *
 * @typedef {{ unread: number, change?: "read" | "unread" | "deleted", ids?: number[] | null }} Change
 *   `ids`: `null` if they are too many.
 */

const RECOUNT_MILLISECONDS = 1000;
const MAX_TOASTS = 5; // of many that come at once, the newest; the bell has all
const SAFE_PROTOCOLS = ["http:", "https:", "mailto:", "tel:"];

/** @param {string} url @returns {string} "" for text that must not be a link */
function safe(url) {
  try {
    return url && SAFE_PROTOCOLS.includes(new URL(url, document.baseURI).protocol) ? url : "";
  } catch {
    return "";
  }
}

/** @param {string} moment @returns {string} in the page's language, if it has one that the browser knows */
function written(moment) {
  const format = { dateStyle: /** @type {const} */ ("medium"), timeStyle: /** @type {const} */ ("short") };
  try {
    return new Date(moment).toLocaleString(document.documentElement.lang.replace("_", "-") || [], format);
  } catch {
    return new Date(moment).toLocaleString([], format);
  }
}

/** An element that takes the events of the user's stream. */
class NotificationElement extends HTMLElement {
  #isListening = false;

  connectedCallback() {
    if (!this.#isListening) document.addEventListener("serversent:event", this.#take);
    this.#isListening = true;
    const { src } = this;
    if (streamOf(src)) return;
    const stream = document.createElement("event-stream");
    stream.hidden = true;
    for (const [name, value] of [
      ["src", src],
      ["event", "notification notification-state"],
      ["autostart", ""],
    ])
      stream.setAttribute(name, value);
    document.documentElement.append(stream); // beside the body, of which a visit without a load makes another
  }

  disconnectedCallback() {
    // One that is moved, or replaced by its like, is back by then.
    setTimeout(() => {
      if (this.isConnected) return;
      document.removeEventListener("serversent:event", this.#take);
      this.#isListening = false;
      const others = /** @type {HTMLElement[]} */ ([
        ...document.querySelectorAll("notification-bell, notification-toasts"),
      ]);
      if (!others.some((other) => other.dataset.stream === this.src)) streamOf(this.src)?.remove();
    });
  }

  get src() {
    return this.dataset.stream ?? "";
  }

  /** @param {Event} event */
  #take = (event) => {
    if (/** @type {Element} */ (event.target).getAttribute("src") !== this.src) return;
    event.preventDefault(); // the stream's own element shows nothing
    const { detail } = /** @type {CustomEvent} */ (event);
    if (detail.type === "notification") this.arrived(detail.json());
    else this.changed(detail.json());
  };

  /** @param {Item} _item */
  arrived(_item) {}

  /** @param {Change} _change */
  changed(_change) {}

  /** @param {string} name @returns {HTMLElement | null} */
  piece(name) {
    return this.querySelector(`[data-${name}]`);
  }

  /**
   * Ask the server, or tell it something.
   * @param {string} path below the list's
   * @param {Record<string, string>} [form] what to post
   */
  async ask(path, form) {
    /** @type {RequestInit} */
    const options = { headers: { Accept: "application/json" } };
    if (form) {
      options.method = "POST";
      options.body = new URLSearchParams({ ...form, csrfmiddlewaretoken: this.dataset.csrf ?? "" });
      options.keepalive = true; // a click may lead to another page
    }
    const response = await fetch((this.dataset.list ?? "") + path, options);
    if (!response.ok) throw new Error(`${response.status} ${response.url}`);
    return response.json();
  }

  /** @param {Item} item @returns {HTMLElement} the template, filled in */
  filled(item) {
    const template = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    const element = /** @type {HTMLElement} */ (copy.firstElementChild);
    element.dataset.id = `${item.id}`;
    element.dataset.level = item.level;
    element.toggleAttribute("data-is-unread", !item.read);
    for (const text of copy.querySelectorAll("[data-text]")) text.textContent = item.text;
    for (const time of /** @type {NodeListOf<HTMLTimeElement>} */ (copy.querySelectorAll("[data-time]"))) {
      time.dateTime = item.created_at;
      time.textContent = written(item.created_at);
    }
    const url = safe(item.url);
    for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (copy.querySelectorAll("a[data-url]"))) {
      if (url) link.href = url;
    }
    return element;
  }
}

/** @param {string} src @returns {Element | undefined} */
function streamOf(src) {
  return [...document.querySelectorAll("event-stream")].find((stream) => stream.getAttribute("src") === src);
}

class NotificationBell extends NotificationElement {
  #unread = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #recount;
  /** Notifications that the number has already: their events do not raise it. */
  #counted = new Set();
  #next = "";
  #isSetUp = false;

  connectedCallback() {
    if (!this.#isSetUp) this.#setUp();
    super.connectedCallback();
  }

  #setUp() {
    this.#isSetUp = true;
    this.#unread = Number(this.dataset.unread);
    if ("popover" in this) {
      // The style sheet does the same, also when the page is morphed. This is for a page without it.
      for (const [name, isHidden] of /** @type {const} */ ([
        ["link", true],
        ["button", false],
      ])) {
        const piece = this.piece(name);
        if (piece) piece.hidden = isHidden;
      }
    }
    const toggled = (/** @type {Event} */ event) => {
      if (event.target === this.piece("panel")) this.#toggled(/** @type {ToggleEvent} */ (event));
    };
    this.addEventListener("toggle", toggled, true); // it does not bubble
    this.addEventListener("click", (event) => this.#clicked(event));
    this.#show();
  }

  get #isOpen() {
    return "popover" in this && !!this.piece("panel")?.matches(":popover-open");
  }

  /** @param {ToggleEvent} event */
  #toggled({ newState }) {
    const isOpen = newState === "open";
    this.piece("button")?.setAttribute("aria-expanded", `${isOpen}`);
    if (!isOpen) return;
    const button = /** @type {HTMLElement} */ (this.piece("button")).getBoundingClientRect();
    const panel = /** @type {HTMLElement} */ (this.piece("panel"));
    // Below the bell, and within the page.
    const left = Math.max(8, Math.min(button.right - panel.offsetWidth, innerWidth - panel.offsetWidth - 8));
    panel.style.setProperty("left", `${left}px`);
    panel.style.setProperty("top", `${button.bottom + 8}px`);
    this.#load();
  }

  async #load(path = "") {
    const list = /** @type {HTMLElement} */ (this.piece("items"));
    try {
      const { notifications, unread, next } = await this.ask(path);
      const items = notifications.map((/** @type {Item} */ item) => this.filled(item));
      if (path) list.append(...items);
      else list.replaceChildren(...items);
      this.#next = next ? new URL(next, document.baseURI).search : "";
      this.#unread = unread;
      for (const { id } of notifications) this.#counted.add(id);
    } catch (error) {
      console.warn("serversent:", error);
    }
    this.#show();
  }

  #show() {
    const count = this.#unread > 99 ? "99+" : `${this.#unread}`;
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll("[data-count]"))) {
      element.textContent = count;
      element.hidden = !this.#unread;
    }
    const status = this.piece("status");
    const said = (this.dataset.says ?? "").replace("#", `${this.#unread}`);
    if (status && status.textContent !== said) status.textContent = said;
    const [empty, more, readAll] = ["empty", "more", "read-all"].map((name) => this.piece(name));
    if (empty) empty.hidden = !!this.piece("items")?.childElementCount;
    if (more) more.hidden = !this.#next;
    if (readAll) readAll.toggleAttribute("disabled", !this.#unread);
  }

  /** @param {Item} item */
  arrived(item) {
    if (!item.read && !this.#counted.has(item.id)) this.#unread += 1;
    if (this.#isOpen && !this.#item(item.id)) this.piece("items")?.prepend(this.filled(item));
    this.#show();
  }

  /** @param {Change} change */
  changed({ unread, change, ids }) {
    this.#unread = unread;
    if (!change) this.#counted.clear(); // this one is the number without what follows
    for (const id of ids ?? []) {
      const item = this.#item(id);
      if (change === "deleted") item?.remove();
      else item?.toggleAttribute("data-is-unread", change === "unread");
    }
    if (change && !ids && this.#isOpen) this.#load();
    this.#show();
    // The number is the one that the change saw. Other changes may be on their way: ask once when it is quiet.
    clearTimeout(this.#recount);
    if (change) this.#recount = setTimeout(() => this.#count(), RECOUNT_MILLISECONDS * (1 + Math.random()));
  }

  async #count() {
    try {
      this.#unread = (await this.ask("count/")).unread;
      this.#show();
    } catch {
      // It was about right before.
    }
  }

  /** @param {number | string} id @returns {HTMLElement | null} */
  #item(id) {
    return this.querySelector(`[data-items] [data-id="${id}"]`);
  }

  /** @param {Event} event */
  #clicked(event) {
    const target = /** @type {Element} */ (event.target);
    const item = /** @type {HTMLElement | null} */ (target.closest("[data-id]"));
    const id = item?.dataset.id;
    if (id && target.closest("[data-delete]")) this.#tell(`${id}/delete/`);
    else if (item?.hasAttribute("data-is-unread")) this.#tell(`${id}/read/`);
    else if (target.closest("[data-read-all]")) {
      const shown = /** @type {HTMLElement[]} */ ([...this.querySelectorAll("[data-items] [data-id]")]);
      const newest = Math.max(...shown.map((item) => Number(item.dataset.id)));
      this.#tell("read-all/", shown.length ? { upto: `${newest}` } : {});
    } else if (target.closest("[data-more]")) this.#load(this.#next);
  }

  /** @param {string} path @param {Record<string, string>} [form] */
  async #tell(path, form = {}) {
    try {
      await this.ask(path, form); // the event of the change reaches all pages, and so this one
    } catch (error) {
      console.warn("serversent:", error);
    }
  }
}

class NotificationToasts extends NotificationElement {
  /** @param {Item} item */
  arrived(item) {
    if (item.read || this.querySelector(`[data-id="${item.id}"]`)) return;
    const toast = this.filled(item);
    if (item.level === "error" || item.level === "warning") toast.role = "alert";
    for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (toast.querySelectorAll("a[data-url]")))
      link.hidden = !link.hasAttribute("href");
    toast.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      if (target.closest("a[data-url]")) this.ask(`${item.id}/read/`, {}).catch(() => {});
      if (target.closest("[data-dismiss], a[data-url]")) this.#dismiss(toast);
    });
    const shown = this.piece("toasts");
    shown?.append(toast);
    if (shown && shown.childElementCount > MAX_TOASTS) shown.firstElementChild?.remove();
    if (item.level !== "error") this.#dismissLater(toast);
  }

  /** @param {Change} change */
  changed({ change, ids }) {
    if (change === "unread") return;
    const gone = change && !ids ? this.querySelectorAll("[data-id]") : [];
    for (const toast of gone) toast.remove();
    for (const id of ids ?? []) this.querySelector(`[data-id="${id}"]`)?.remove();
  }

  /** After the time for reading it, in which somebody has looked at the page. @param {HTMLElement} toast */
  #dismissLater(toast) {
    const seconds = Number(this.dataset.seconds ?? 8);
    if (!seconds) return;
    let left = seconds;
    const timer = setInterval(() => {
      const isRead = !document.hidden && !toast.matches(":hover, :focus-within");
      if (isRead) left -= 0.25;
      if (left > 0 && toast.isConnected) return;
      clearInterval(timer);
      toast.remove();
    }, 250);
  }

  /** @param {HTMLElement} toast */
  #dismiss(toast) {
    const next = /** @type {HTMLElement | null} */ (toast.nextElementSibling ?? toast.previousElementSibling);
    toast.remove();
    /** @type {HTMLElement | null | undefined} */ (next?.querySelector("[data-dismiss]"))?.focus();
  }
}

if (!customElements.get("notification-bell")) {
  customElements.define("notification-bell", NotificationBell);
  customElements.define("notification-toasts", NotificationToasts);
}
