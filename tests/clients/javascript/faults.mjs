// What workers-ai-provider and a reader over plain fetch make of faults: `node SCRIPT ADDRESS TOKEN WHO FAULT...`. They
// are met at the same time, since the AI SDK waits for seconds before it asks again.

import { streamText } from "ai";
import { createWorkersAI } from "workers-ai-provider";
import { address, model, pieces, prompt, tell, token, what } from "./told.mjs";

const PATIENCE = 8000; // milliseconds that a client waits for the end of an answer that stalls

const clients = {
  provider: async (outcome, fetch, abortSignal) => {
    const workersai = createWorkersAI({ accountId: "acc", apiKey: token, fetch });
    const { fullStream } = streamText({ model: workersai(model), prompt, abortSignal, onError() {} });
    for await (const part of fullStream) {
      if (part.type === "text-delta") outcome.text += part.text;
      else if (part.type === "error") throw part.error;
      else if (part.type === "abort") throw abortSignal.reason;
      else if (part.type === "finish") outcome.finish = part.finishReason;
    }
  },
  fetch: async (outcome, fetch, signal) => {
    const url = `${address}/client/v4/accounts/acc/ai/run/${model}`;
    const response = await fetch(url, { method: "POST", body: JSON.stringify({ prompt, stream: true }), signal });
    if (!response.ok) throw Object.assign(new Error("refused"), { name: "HTTP", statusCode: response.status });
    for await (const piece of pieces(response.body)) outcome.text += piece;
  },
};

async function meet(fault) {
  const outcome = { fault, text: "", requests: 0 };
  const faulty = (url, init) => {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${token}`);
    headers.set("x-cfai-faults", fault);
    headers.set("x-stainless-retry-count", outcome.requests++);
    return fetch(String(url).replace("https://api.cloudflare.com", address), { ...init, headers });
  };
  try {
    const signal = fault.startsWith("stall") ? AbortSignal.timeout(PATIENCE) : undefined;
    await clients[what](outcome, faulty, signal);
  } catch (error) {
    Object.assign(outcome, { error: error.name, status: error.statusCode ?? error.lastError?.statusCode });
  }
  tell(outcome);
}

await Promise.all(process.argv.slice(5).map(meet));
