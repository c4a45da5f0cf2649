// getPlatformProxy: env.AI of a wrangler config, in Node. `node SCRIPT ADDRESS TOKEN WHAT CONFIG`.

import { getPlatformProxy } from "wrangler";
import { model, pieces, prompt, tell, what } from "../javascript/told.mjs";

const { env, dispose } = await getPlatformProxy({ configPath: process.argv[5], persist: false });
if (what === "stream") {
  for await (const piece of pieces(await env.AI.run(model, { prompt, stream: true }))) tell(piece);
} else {
  tell(await env.AI.run(model, { prompt, temperature: 0 }));
}
await dispose();
