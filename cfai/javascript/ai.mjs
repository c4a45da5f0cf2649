// env.AI as workerd itself makes it, over the service that this binding names.
//
// Before 1.0.41, npm's @cloudflare/ai asked its binding for the bare path "/run", as a service of 2023 took it. A
// service of today wants a whole URL.

import makeAi from "cloudflare-internal:ai-api";

const ORIGIN = "http://workers-binding.ai";

export default function makeBinding(env) {
  const ai = makeAi(env);
  const fetch = ai.fetch.bind(ai);
  ai.fetch = (input, init) => fetch(typeof input === "string" && input.startsWith("/") ? ORIGIN + input : input, init);
  return ai;
}
