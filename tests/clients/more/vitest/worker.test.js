import { env, exports } from "cloudflare:workers";
import { expect, it } from "vitest";

it("answers a request", async () => {
  const response = await exports.default.fetch("http://worker/");
  expect((await response.json()).response).toContain("New York is located in");
});

it("gives the test its binding, streams too", async () => {
  const stream = await env.AI.run("@cf/meta/llama-2-7b-chat-int8", { prompt: "hi", stream: true });
  expect(await new Response(stream).text()).toContain("data: [DONE]");
});
