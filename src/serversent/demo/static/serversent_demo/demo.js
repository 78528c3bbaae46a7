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

const buttons = [...document.querySelectorAll(".card")].flatMap(setUp);
if (typeof EventSource === "undefined") {
  document.getElementById("unsupported").hidden = false;
  for (const button of buttons) button.disabled = true;
}
