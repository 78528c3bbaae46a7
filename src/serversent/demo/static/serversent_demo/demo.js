// The page's own script: the form, the tabs, and the raw bytes. The streams need no script.

// The board's form, without a reload. Without this script it works all the same.

const form = document.querySelector("#board form");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const isNote = !event.submitter?.hasAttribute("formaction");
  const body = new FormData(form);
  if (isNote) form.elements.text.value = "";
  form.elements.text.focus();
  const url = isNote ? form.action : event.submitter.formAction;
  const answer = await fetch(url, { method: "POST", body, headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) form.querySelector(".state").textContent = "it was not sent";
});

// The board's list grows at its end, and is shown there.

const notes = document.querySelector("#board .output");
new MutationObserver(() => {
  notes.scrollTop = notes.scrollHeight;
}).observe(notes, { childList: true, subtree: true });

// Tabs.

const tabs = document.getElementById("tabs");
const buttons = [...document.querySelectorAll("[data-tabs]")];
for (const button of buttons) {
  button.addEventListener("click", () => {
    const count = Number(button.dataset.tabs);
    const frames = Array.from({ length: count }, (_, number) => {
      const frame = document.createElement("iframe");
      frame.src = "tab/";
      frame.title = `Tab ${number + 2}`;
      return frame;
    });
    tabs.replaceChildren(...frames);
    document.getElementById("tabs-count").textContent = `${count + 1}`;
    for (const each of buttons) each.disabled = each === button;
    buttons.find((each) => each !== button).focus();
  });
}
document.querySelector("[data-freeze]").addEventListener("click", () => {
  const end = Date.now() + 10_000;
  while (Date.now() < end);
});

// On the wire.

const KEPT_LINES = 200;
const wire = document.getElementById("wire");
const [start, stop] = wire.querySelectorAll("button");
const state = wire.querySelector(".state");
const output = wire.querySelector(".output");
let controller = null;

function say(text, isLive = false) {
  state.textContent = text;
  wire.toggleAttribute("data-live", isLive);
}

function over(text) {
  start.disabled = false;
  stop.disabled = true;
  say(text);
}

function show(text) {
  const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  const line = document.createElement("div");
  line.textContent = text || "\u00a0";
  output.append(line);
  while (output.childElementCount > KEPT_LINES) output.firstElementChild.remove();
  if (isAtEnd) output.scrollTop = output.scrollHeight;
}

async function read(url, signal) {
  const response = await fetch(url, { headers: { Accept: "text/event-stream" }, signal });
  say(`${response.status} ${response.headers.get("content-type")}`, true);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) show(line);
  }
  over("ended by the server");
}

start.addEventListener("click", () => {
  start.disabled = true;
  stop.disabled = false;
  stop.focus();
  say("connecting");
  controller = new AbortController();
  read(wire.dataset.source, controller.signal).catch((error) => {
    if (error.name !== "AbortError") over("connection lost");
  });
});
stop.addEventListener("click", () => {
  controller.abort();
  over("stopped");
  start.focus();
});
