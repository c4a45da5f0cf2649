// The AI SDK with workers-ai-provider, whose REST host is fixed but whose `fetch` may be given.

import { generateText, streamText } from "ai";
import { createWorkersAI } from "workers-ai-provider";
import { address, model, prompt, tell, token, what } from "./told.mjs";

const local = (url, init) => fetch(String(url).replace("https://api.cloudflare.com", address), init);
const workersai = createWorkersAI({ accountId: "acc", apiKey: token, fetch: local });

if (what === "whole") {
  const { text, usage, finishReason } = await generateText({ model: workersai(model), prompt, temperature: 0 });
  tell({ text, outputTokens: usage.outputTokens, finishReason });
} else {
  for await (const piece of streamText({ model: workersai(model), prompt }).textStream) tell(piece);
}
