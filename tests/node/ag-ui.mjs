// Reads a stream as an AG-UI agent of a page does, and prints the messages that it makes of it, as JSON.
import { HttpAgent } from "@ag-ui/client";

const response = await fetch(process.argv[2]);
const agent = new HttpAgent({ url: "http://localhost/", threadId: "t", fetch: async () => response });
const seen = { text: "", finished: false, error: null };
try {
  await agent.runAgent(
    { runId: "r" },
    {
      onEvent: ({ event }) => console.log(JSON.stringify(event.type)),
      onRunFinishedEvent: () => {
        seen.finished = true;
      },
    },
  );
} catch (error) {
  seen.error = String(error);
}
seen.text = agent.messages.map((message) => message.content).join("");
console.log(JSON.stringify(seen));
