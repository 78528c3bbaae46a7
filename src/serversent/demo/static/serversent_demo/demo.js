// The demo page. Text from the server is always set as text, never as HTML.

const KEPT_LINES = 200;

function show(output, text) {
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  const line = document.createElement("div");
  line.textContent = text;
  output.append(line);
  while (output.childElementCount > KEPT_LINES) output.firstElementChild.remove();
  if (atEnd) output.scrollTop = output.scrollHeight;
}

function openEventSource(url, card) {
  const source = new EventSource(url);
  source.onopen = () => card.say("connected", true);
  source.onmessage = (event) => card.show(event.data);
  source.onerror = () => card.say(source.readyState === EventSource.CLOSED ? "closed" : "reconnecting");
  return () => source.close();
}

function openWire(url, card) {
  const controller = new AbortController();
  read(url, card, controller.signal).catch((error) => {
    if (error.name !== "AbortError") card.over("connection lost");
  });
  return () => controller.abort();
}

async function read(url, card, signal) {
  const response = await fetch(url, { headers: { Accept: "text/event-stream" }, signal });
  card.say(`${response.status} ${response.headers.get("content-type")}`, true);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) card.show(line || "\u00a0");
  }
  card.over("ended by the server");
}

function setUp(element) {
  const start = element.querySelector('[data-action="start"]');
  const stop = element.querySelector('[data-action="stop"]');
  const state = element.querySelector(".state");
  const output = element.querySelector(".output");
  const open = element.dataset.reader === "wire" ? openWire : openEventSource;
  let close = null;

  const card = {
    show: (text) => show(output, text),
    say(text, live = false) {
      state.textContent = text;
      element.classList.toggle("live", live);
    },
    over(text) {
      close = null;
      start.disabled = false;
      stop.disabled = true;
      card.say(text);
    },
  };

  start.addEventListener("click", () => {
    start.disabled = true;
    stop.disabled = false;
    stop.focus();
    card.say("connecting");
    close = open(element.dataset.source, card);
  });
  stop.addEventListener("click", () => {
    close();
    card.over("stopped");
    start.focus();
  });
  return [start, stop];
}

// The board: one EventSource from the start. The browser resumes by itself; only a connection that was closed on purpose
// has to hand the id over.

const DROP_SECONDS = 5;

function note(output, event, reopenedAt) {
  const { text, at } = parsed(event.data);
  const line = document.createElement("li");
  const id = document.createElement("code");
  id.textContent = event.lastEventId;
  line.append(id, ` ${text}`);
  if (at < reopenedAt) {
    const mark = document.createElement("mark");
    mark.textContent = "replayed";
    line.append(" ", mark);
  }
  output.append(line);
  while (output.childElementCount > KEPT_LINES) output.firstElementChild.remove();
  output.scrollTop = output.scrollHeight;
}

function parsed(data) {
  try {
    const value = JSON.parse(data);
    if (typeof value?.text === "string") return value;
  } catch {
    // Sent from elsewhere as plain text.
  }
  return { text: data, at: Infinity };
}

function setUpBoard(element) {
  const form = element.querySelector("form");
  const drop = element.querySelector('[data-action="drop"]');
  const state = element.querySelector(".state");
  const output = element.querySelector(".output");
  let lastEventId = "";
  let reopenedAt = 0;

  const say = (text, live = false) => {
    state.textContent = text;
    element.classList.toggle("live", live);
  };

  function open() {
    const query = lastEventId && `?${new URLSearchParams({ lastEventId })}`;
    const source = new EventSource(element.dataset.source + query);
    source.onopen = () => say("connected", true);
    source.onerror = () => say(source.readyState === EventSource.CLOSED ? "closed" : "reconnecting");
    source.addEventListener("ready", (event) => { lastEventId = event.lastEventId; });
    source.addEventListener("reset", (event) => { lastEventId = event.lastEventId; });
    source.onmessage = (event) => {
      lastEventId = event.lastEventId;
      note(output, event, reopenedAt);
    };
    return source;
  }

  let source = open();
  drop.addEventListener("click", async () => {
    drop.disabled = true;
    source.close();
    for (let seconds = DROP_SECONDS; seconds > 0; seconds -= 1) {
      say(`dropped after ${lastEventId}, back in ${seconds} s`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    reopenedAt = Date.now();
    source = open();
    drop.disabled = false;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = new FormData(form);
    form.elements.text.value = "";
    form.elements.text.focus();
    const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
    if (!answer?.ok) say("the note was not sent");
  });
}

const buttons = [...document.querySelectorAll(".card[data-reader]")].flatMap(setUp);
const board = document.getElementById("board");
if (typeof EventSource === "undefined") {
  document.getElementById("unsupported").hidden = false;
  for (const button of [...buttons, ...board.querySelectorAll("button")]) button.disabled = true;
} else {
  setUpBoard(board);
}
