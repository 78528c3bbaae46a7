// Reads a stream as the AI SDK's transport does, and prints the message that it makes of it, as JSON.
import { DefaultChatTransport, readUIMessageStream } from "ai";

const response = await fetch(process.argv[2]);
const transport = new DefaultChatTransport({ api: "http://localhost/", fetch: async () => response });
const seen = { text: "", finished: false, error: null };
try {
  const chunks = await transport.sendMessages({ chatId: "c", messages: [], trigger: "submit-message" });
  const watched = chunks.pipeThrough(
    new TransformStream({
      transform(chunk, out) {
        seen.finished ||= chunk.type === "finish";
        console.log(JSON.stringify(chunk.type));
        out.enqueue(chunk);
      },
    }),
  );
  const onError = (error) => {
    seen.error ??= String(error.message);
  };
  for await (const message of readUIMessageStream({ stream: watched, onError }))
    seen.text = message.parts.map((part) => part.text ?? "").join("");
} catch (error) {
  seen.error = String(error);
}
console.log(JSON.stringify(seen));
