import OpenAI from "openai";
import { address, messages, model, tell, token, what } from "./told.mjs";

const client = new OpenAI({ apiKey: token, baseURL: `${address}/client/v4/accounts/acc/ai/v1`, maxRetries: 0 });

if (what === "whole") {
  const answer = await client.chat.completions.create({ model, messages, temperature: 0 });
  tell({ text: answer.choices[0].message.content, finish: answer.choices[0].finish_reason, usage: answer.usage });
} else if (what === "stream") {
  const options = { include_usage: true };
  const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: options });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) tell(chunk.choices[0].delta.content);
} else if (what === "responses") {
  const stream = await client.responses.create({ model, input: messages, stream: true });
  for await (const event of stream) if (event.type === "response.output_text.delta") tell(event.delta);
} else if (what === "embeddings") {
  const answer = await client.embeddings.create({ model: "@cf/baai/bge-base-en-v1.5", input: ["a cat", "a dog"] });
  for (const row of answer.data) tell(Array.from(row.embedding));
} else {
  try {
    await client.chat.completions.create({ model: "@cf/no/such", messages });
  } catch (error) {
    tell({ kind: error.constructor.name, message: error.message });
  }
}
