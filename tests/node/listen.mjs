// Connects npm's `eventsource` to the URL given, and prints what happens, one JSON value a line.
import { EventSource } from "eventsource";

const print = (...values) => console.log(JSON.stringify(values));
const source = new EventSource(process.argv[2]);
source.onopen = () => print("open");
source.onerror = () => print("error");
for (const type of ["ready", "reset", "end"]) source.addEventListener(type, () => print(type));
source.onmessage = (event) => print("message", event.data, event.lastEventId);
