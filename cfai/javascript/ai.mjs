// env.AI as workerd itself makes it, over the service that this binding names.
//
// Before 1.0.41, npm's @cloudflare/ai asked its binding for the bare path "/run", as a service of 2023 took it. A
// service of today wants a whole URL.

import makeAi from "cloudflare-internal:ai-api";

const ORIGIN = "http://workers-binding.ai";

// A server that is not there is "Network connection lost." to workerd, which says neither whose nor what to do.
function explained({ fetcher, url }) {
  return {
    async fetch(input, init) {
      try {
        return await fetcher.fetch(input, init);
      } catch (error) {
        if (!/^network connection lost/i.test(error?.message)) throw error;
        const told = `cfai serve is not running at ${url}, or went away: start it with \`cfai serve\``;
        throw Object.assign(new Error(told, { cause: error }), { retryable: true });
      }
    },
  };
}

export default function makeBinding(env) {
  const ai = makeAi({ ...env, fetcher: explained(env) });
  const fetch = ai.fetch.bind(ai);
  ai.fetch = (input, init) => fetch(typeof input === "string" && input.startsWith("/") ? ORIGIN + input : input, init);
  return ai;
}
