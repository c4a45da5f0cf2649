// A plugin for miniflare 4 and 5, and so for wrangler dev, vite, vitest and getPlatformProxy: env.AI over cfai.
//
//     "unsafe": {
//       "bindings": [
//         {
//           "name": "AI",
//           "type": "ai",
//           "dev": {
//             "plugin": { "package": "<the path of this file: cfai wrangler --plugin>", "name": "cfai" },
//             "options": { "url": "http://127.0.0.1:8788" }
//           }
//         }
//       ]
//     }
//
// options.url    where `cfai serve` is; default: the variable CFAI_URL, or http://127.0.0.1:8788
// options.token  its token, if it has one; default: the variable CFAI_TOKEN
//
// The Worker gets workerd's own env.AI, whose requests go to that address. Nothing else leaves the machine.

"use strict";

const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");

const NAME = "cfai";
const MODULE = "cfai-internal:ai";

function serviceName(binding) {
  // Workers that run together may ask different servers.
  return `cfai:ai:${binding.options?.url ?? ""}`;
}

function serverUrl(binding) {
  return binding.options?.url ?? process.env.CFAI_URL ?? "http://127.0.0.1:8788";
}

function externalService(binding) {
  const options = binding.options ?? {};
  const text = serverUrl(binding);
  const token = options.token ?? process.env.CFAI_TOKEN;
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`cfai: ${JSON.stringify(text)} is no URL; give where \`cfai serve\` is, like http://127.0.0.1:8788`);
  }
  const http = token ? { injectRequestHeaders: [{ name: "Authorization", value: `Bearer ${token}` }] } : {};
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const address = `${url.hostname}:${port}`;
  if (url.protocol === "https:") {
    const tlsOptions = { trustBrowserCas: true };
    return { name: serviceName(binding), external: { address, https: { options: http, tlsOptions } } };
  }
  return { name: serviceName(binding), external: { address, http } };
}

// getPlatformProxy, which hands env.AI to Node, looks for instances of a class of the miniflare that is running.
function miniflare() {
  const loaded = Object.values(require.cache).find(
    (module) => /[\\/]miniflare[\\/]dist[\\/]src[\\/]index\.js$/.test(module?.filename ?? "") && module.exports.Miniflare,
  );
  if (loaded) return loaded.exports;
  for (const place of [process.argv[1], join(process.cwd(), "package.json")].filter(Boolean)) {
    const from = createRequire(place);
    for (const by of [from, () => createRequire(from.resolve("wrangler"))("miniflare")]) {
      try {
        return by("miniflare");
      } catch {
        // the next place
      }
    }
  }
  throw new Error("cfai: miniflare is not installed here");
}

// miniflare 4 gives a Worker's bindings of this plugin, miniflare 5 all that the Worker is made of.
function ours(worker) {
  if (!worker || Array.isArray(worker)) return worker ?? [];
  return Object.entries(worker.config?.env ?? {})
    .filter(([, binding]) => binding.dev?.plugin?.name === NAME)
    .map(([name, binding]) => ({ name, options: binding.dev.options }));
}

const plugin = {
  getBindings(worker) {
    return ours(worker).map((binding) => ({
      name: binding.name,
      wrapped: {
        moduleName: MODULE,
        innerBindings: [
          { name: "fetcher", service: { name: serviceName(binding) } },
          { name: "url", text: serverUrl(binding) },
        ],
      },
    }));
  },

  getNodeBindings(worker) {
    const bindings = ours(worker);
    if (!bindings.length) return {};
    const { ProxyNodeBinding } = miniflare();
    return Object.fromEntries(bindings.map((binding) => [binding.name, new ProxyNodeBinding()]));
  },

  async getServices({ options }) {
    return ours(options).map(externalService);
  },

  getExtensions({ options }) {
    if (!options.some((worker) => ours(worker).length)) return [];
    const esModule = readFileSync(join(__dirname, "ai.mjs"), "utf8");
    return [{ modules: [{ name: MODULE, esModule, internal: true }] }];
  },
};

exports.plugins = { [NAME]: plugin };
