// A KV namespace of miniflare: node kv.mjs FOLDER. Reads [method, ...arguments] from stdin, a line each, and prints what
// comes of it, after one line that says that it is there. {"bytes": [...]} and {"stream": "..."} stand for such values.
import readline from "node:readline";
import { Miniflare } from "miniflare";

const script = `
const value = (given) => given?.bytes ? new Uint8Array(given.bytes) : given?.stream ? new Response(given.stream).body : given;
async function shown(given) {
  if (given instanceof ArrayBuffer) return { bytes: [...new Uint8Array(given)] };
  if (given instanceof ReadableStream) return { stream: await new Response(given).text() };
  if (given instanceof Map) return { map: Object.fromEntries(given) };
  return given ?? null;
}
export default {
  async fetch(request, env) {
    const [method, ...given] = await request.json();
    try {
      return Response.json(await shown(await env.KV[method](...given.map(value))));
    } catch (error) {
      return Response.json({ error: error.name + ": " + error.message });
    }
  },
};`;

const miniflare = new Miniflare({
  modules: true,
  compatibilityDate: "2026-04-01",
  kvNamespaces: { KV: "test-kv" },
  kvPersist: process.argv[2],
  script,
});
await miniflare.ready;
console.log('"ready"');
for await (const line of readline.createInterface({ input: process.stdin })) {
  const response = await miniflare.dispatchFetch("http://localhost/", { method: "POST", body: line });
  console.log(await response.text());
}
await miniflare.dispose();
