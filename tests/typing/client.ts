// Uses the browser client as a page does; it is only checked.
import { connect } from "../../src/serversent/static/serversent/serversent.js";

const stream = connect("/orders/5/", {
  headers: { "X-Test": "1" },
  withCredentials: true,
  cursor: "k3f9-1042",
  persist: true,
  share: "my circle",
  transport: "fetch",
  method: "POST",
  body: "text",
  onUnauthorized: () => location.assign("/login/"),
  signal: new AbortController().signal,
  autostart: false,
});
const off: () => void = stream.on("updated", (event) => {
  const text: string = event.data;
  const id: string = event.id;
  const type: string = event.type;
  const value: { status: string } = event.json();
  console.log(text, id, type, value.status);
});
off();
stream.start();
stream.stop();
const cursor: string = stream.cursor;
const isOpen: boolean = stream.state === "open";
// @ts-expect-error there is no such state
const isNot: boolean = stream.state === "opened";
// @ts-expect-error an option that is misspelt
connect("/", { curser: "" });
console.log(cursor, isOpen, isNot);

async function all(): Promise<void> {
  for await (const event of connect(new URL("https://example.org/"))) console.log(event.json());
}
void all();
