// Static assets as miniflare answers them: node assets.mjs FOLDER OPTIONS REQUESTS, the last two as JSON.
// A request is [method, path, headers]. Prints [status, headers, body] of each.
import http from "node:http";
import { Miniflare } from "miniflare";

const [folder, options, requests] = process.argv.slice(2).map((one, at) => (at ? JSON.parse(one) : one));
const first = options.run_worker_first;
const routing = Array.isArray(first)
  ? { static_routing: { asset_worker: first.filter((one) => one[0] === "!").map((one) => one.slice(1)), user_worker: first.filter((one) => one[0] !== "!") } }
  : { invoke_user_worker_ahead_of_assets: first };

const script = `export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (!url.pathname.startsWith("/via/")) return new Response("worker " + request.method + " " + url.pathname);
    return env.ASSETS.fetch(new Request("http://localhost" + url.pathname.slice(4) + url.search, request));
  }
}`;

const miniflare = new Miniflare({
  name: "worker",
  modules: true,
  compatibilityDate: options.date,
  script,
  assets: {
    directory: folder,
    binding: "ASSETS",
    workerName: "worker",
    routerConfig: { has_user_worker: true, ...routing },
    assetConfig: {
      compatibility_date: options.date,
      html_handling: options.html_handling,
      not_found_handling: options.not_found_handling,
      has_static_routing: Array.isArray(first),
    },
  },
});

function ask({ hostname, port }, [method, path, headers]) {
  return new Promise((resolve, reject) => {
    const request = http.request({ hostname, port, method, path, headers: { host: "localhost", ...headers } }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve([response.statusCode, response.headers, Buffer.concat(chunks).toString()]));
    });
    request.on("error", reject);
    request.end();
  });
}

const address = await miniflare.ready;
for (const request of requests) console.log(JSON.stringify(await ask(address, request)));
await miniflare.dispose();
