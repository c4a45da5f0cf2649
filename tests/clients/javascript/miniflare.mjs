// env.AI of miniflare, through a remote proxy or through cfai's plugin: `node SCRIPT ADDRESS TOKEN WHAT HOW [PLUGIN]`.

import { Miniflare } from "miniflare";
import { address, model, pieces, prompt, tell, token, what } from "./told.mjs";

const [how, plugin] = process.argv.slice(5);
const url = new URL(`/remote-proxy?token=${token}`, address);
const ai =
  how === "proxy"
    ? { ai: { binding: "AI", remoteProxyConnectionString: url } }
    : {
        unsafeBindings: [
          { name: "AI", type: "ai", plugin: { package: plugin, name: "cfai" }, options: { url: address, token } },
        ],
      };
const miniflare = new Miniflare({
  modules: true,
  compatibilityDate: "2025-01-01",
  ...ai,
  script: `
    export default {
      async fetch(request, env) {
        const { model, inputs, options } = await request.json();
        try {
          const answer = await env.AI.run(model, inputs, options);
          if (!inputs.stream) return Response.json({ answer, id: env.AI.lastRequestId });
          return new Response(answer, { headers: { "content-type": "text/event-stream" } });
        } catch (error) {
          return Response.json({ name: error.name, message: error.message });
        }
      },
    };`,
});
const ask = (id, inputs, options = {}) =>
  miniflare.dispatchFetch("http://worker/", { method: "POST", body: JSON.stringify({ model: id, inputs, options }) });

if (what === "stream") {
  for await (const piece of pieces((await ask(model, { prompt, stream: true })).body)) tell(piece);
} else if (what === "whole") {
  tell(await (await ask(model, { prompt, temperature: 0 })).json());
} else if (what === "fault") {
  tell(await (await ask(model, { prompt }, { extraHeaders: { "x-cfai-faults": "capacity" } })).json());
} else {
  tell(await (await ask("@cf/no/such", { prompt })).json());
}
await miniflare.dispose();
