// The request as code that runs as it is.

/** Whether Workers AI has, or had, a model of that id; the demo model and one's own are here only. */
const isCloudflares = (model) => /^@(cf|hf)\//.test(model);

/** `{name, note, write}` for each language; `note` takes the model, `write` `{model, body, address, needsToken}`. */
export const LANGUAGES = {
  "python-worker": {
    name: "Python Worker",
    note: (model) =>
      isCloudflares(model)
        ? "Save it as entry.py; `cfai dev entry.py` runs it, and so does Workers, for as long as it offers this model."
        : "Save it as entry.py; `cfai dev entry.py` runs it. Workers does not have this model.",
    write: pythonWorker,
  },
  "javascript-worker": {
    name: "JavaScript Worker",
    note: (model) => `Its wrangler config needs "ai": {"binding": "AI"}.${isCloudflares(model) ? "" : " Workers does not have this model."}`,
    write: javascriptWorker,
  },
  curl: { name: "curl", note: () => "For any shell but cmd.exe.", write: curl },
  openai: { name: "OpenAI SDK (Python)", note: () => "pip install openai", write: openai },
  python: { name: "Python", note: () => "pip install cfai", write: pythonScript },
};

function pythonWorker({ model, body }) {
  const run = `await self.env.AI.run(\n            ${python(model, 3)},\n            ${python(body, 3)},\n        )`;
  const answer = body.stream
    ? `stream = ${run}\n        return Response(stream, headers={"content-type": "text/event-stream"})`
    : `result = ${run}\n        return Response.json(result)`;
  return `from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        ${answer}
`;
}

function javascriptWorker({ model, body }) {
  const run = `await env.AI.run(${JSON.stringify(model)}, ${indented(JSON.stringify(body, null, 2), "    ")})`;
  const answer = body.stream
    ? `const stream = ${run};\n    return new Response(stream, { headers: { "content-type": "text/event-stream" } });`
    : `const result = ${run};\n    return Response.json(result);`;
  return `export default {
  async fetch(request, env) {
    ${answer}
  },
};
`;
}

function curl({ model, body, address, needsToken }) {
  const lines = [
    `curl ${body.stream ? "-N " : ""}${quoted(`${address}/client/v4/accounts/local/ai/run/${model}`)}`,
    // The shell fills the token in, so that it is in no copy of this.
    ...(needsToken ? ['  -H "Authorization: Bearer $CFAI_TOKEN"'] : []),
    "  -H 'Content-Type: application/json'",
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ];
  return `${lines.join(" \\\n")}\n`;
}

function openai({ model, body, address, needsToken }) {
  const { own, extra } = asOpenAi(body);
  const given = [`model=${python(model)}`, ...Object.entries(own).map(([name, value]) => `${name}=${python(value, 1)}`)];
  if (Object.keys(extra).length) given.push(`extra_body=${python(extra, 1)}`);
  const key = needsToken ? 'os.environ["CFAI_TOKEN"]' : '"not asked for"';
  const call = `client.chat.completions.create(\n    ${given.join(",\n    ")},\n)`;
  const answer = body.stream
    ? `stream = ${call}
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
        for call in choice.delta.tool_calls or []:
            print(call.function.name or "", call.function.arguments or "", end="", flush=True)
print()`
    : `answer = ${call}\nprint(answer.choices[0].message.model_dump_json(indent=2, exclude_none=True))`;
  return `${needsToken ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${python(`${address}/v1`)}, api_key=${key})

${answer}
`;
}

// What `chat.completions.create` knows by name; other inputs go through `extra_body`.
const OPENAI_NAMES = new Set(["messages", "stream", "temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty", "stop", "response_format", "tools", "tool_choice"]);

function asOpenAi(body) {
  const own = {};
  const extra = {};
  for (const [name, value] of Object.entries(body)) (OPENAI_NAMES.has(name) ? own : extra)[name] = value;
  if (own.response_format?.type === "json_schema" && !own.response_format.json_schema?.schema) {
    // Workers AI takes the bare schema; OpenAI wants it named.
    own.response_format = { type: "json_schema", json_schema: { name: "answer", schema: own.response_format.json_schema } };
  }
  if (own.tools) own.tools = own.tools.map((tool) => (tool.function ? tool : { type: "function", function: tool }));
  return { own, extra };
}

function pythonScript({ model, body, address, needsToken }) {
  const binding = `HttpBinding(${python(address)}${needsToken ? ', token=os.environ["CFAI_TOKEN"]' : ""})`;
  const run = `await ai.run(${python(model)}, ${python(body, 2)})`;
  const answer = body.stream
    ? `async with ${run} as stream:
            decoder = sse.Decoder()
            async for chunk in stream:
                for event in decoder.feed(chunk):
                    print(event, flush=True)`
    : `result = ${run}
        print(json.dumps(result, indent=2, ensure_ascii=False))`;
  const imports = ["asyncio", ...(body.stream ? [] : ["json"]), ...(needsToken ? ["os"] : [])];
  return `${imports.map((name) => `import ${name}\n`).join("")}
from cfai import Ai, HttpBinding${body.stream ? ", sse" : ""}


async def main():
    async with Ai(${binding}) as ai:
        ${answer}


asyncio.run(main())
`;
}

/** A JSON value as a Python literal, its lines indented by `depth` steps from the second on. */
export function python(value, depth = 0) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const items = isList ? value.map((item) => python(item, depth + 1)) : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item, depth + 1)}`);
  const [open, close] = isList ? "[]" : "{}";
  const flat = `${open}${items.join(", ")}${close}`;
  if (flat.length + 4 * depth < 88 && !flat.includes("\n")) return flat;
  const margin = "    ".repeat(depth);
  return `${open}\n${items.map((item) => `${margin}    ${item},\n`).join("")}${margin}${close}`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const indented = (text, margin) => text.replaceAll("\n", `\n${margin}`);
