import { ChatCloudflareWorkersAI } from "@langchain/cloudflare";
import { address, model, prompt, tell, token, what } from "../javascript/told.mjs";

const chat = new ChatCloudflareWorkersAI({
  model,
  cloudflareAccountId: "acc",
  cloudflareApiToken: token,
  baseUrl: `${address}/client/v4/accounts/acc/ai/run`,
});
if (what === "stream") {
  for await (const chunk of await chat.stream(prompt)) if (chunk.content) tell(chunk.content);
} else {
  tell((await chat.invoke(prompt)).content);
}
