// Scripts on Pyodide, called as workerd calls them. Reads what to run as JSON, prints one JSON value per script.
import { readFileSync } from "node:fs";
import { STATUS_CODES } from "node:http";
import { pathToFileURL } from "node:url";

// A promise that a script leaves alone may fail; workerd logs that and goes on.
process.on("unhandledRejection", () => {});

const { pyodide: folder, version, sdk, has_class_handlers, flags, answers, vars, cases } = JSON.parse(readFileSync(0));

// The class of env.AI: the SDK asks an object's constructor for its name. What is sent is what JSON.stringify leaves,
// and an error has its name and message from the server (src/cloudflare/internal/ai-api.ts of workerd).
class Ai {
  lastRequestId = null;
  aiGatewayLogId = null;

  async run(model, inputs, options) {
    const sent = JSON.parse(JSON.stringify({ inputs, options }));
    this.lastRequestId = crypto.randomUUID();
    const answer = answers[model];
    if (answer.error) throw Object.assign(new Error(answer.error.message), { name: answer.error.name });
    if (answer.events && sent.inputs.stream) {
      return new Blob([answer.events.join("")], { type: "text/event-stream" }).stream();
    }
    return answer.echo ? sent : structuredClone(answer.json);
  }
}

// Node's classes are not workerd's. Where a script that does nothing unusual would see it, they are made like them:
// the reason of a status has a default (http.c++), and a form takes a file without a name as one without (form-data.c++).
const reason = Object.getOwnPropertyDescriptor(Response.prototype, "statusText").get;
Object.defineProperty(Response.prototype, "statusText", {
  get() {
    return reason.call(this) || STATUS_CODES[this.status] || "";
  },
});
for (const name of ["append", "set"]) {
  const original = FormData.prototype[name];
  FormData.prototype[name] = function (key, value, filename) {
    if (!(value instanceof Blob)) return original.call(this, key, value);
    return original.call(this, key, value, filename ?? value.name ?? key);
  };
}

class ExecutionContext {
  pending = [];
  props = {};

  get [Symbol.toStringTag]() {
    return "ExecutionContext";
  }

  // A coroutine of Python ends with the call that brings it, unless it is copied, as workerd does.
  waitUntil(promise) {
    const kept = promise.copy?.() ?? promise;
    this.pending.push(
      (async () => {
        await kept;
        kept.destroy?.();
      })().catch(() => {}),
    );
  }

  passThroughOnException() {}
}

const env = { AI: new Ai(), ...vars };
let ctx = new ExecutionContext();

const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`));
const pyodide = await loadPyodide({ stdout: () => {}, stderr: () => {} });
pyodide.registerJsModule("_cloudflare_compat_flags", flags);
pyodide.registerJsModule("_pyodide_entrypoint_helper", {
  cloudflareWorkersModule: { env, waitUntil: (promise) => ctx.waitUntil(promise) },
  cloudflareSocketsModule: { connect() {} },
  async doAnImport(name) {
    throw new Error(`No such module "${name}".`);
  },
  patchWaitUntil() {},
  *patch_env_helper(changes) {
    const before = { ...env };
    Object.assign(env, changes instanceof Map ? Object.fromEntries(changes) : changes);
    try {
      yield;
    } finally {
      for (const name of Object.keys(env)) delete env[name];
      Object.assign(env, before);
    }
  },
});
pyodide.FS.mkdirTree("/sdk");
pyodide.mountNodeFS("/sdk", sdk);
pyodide.globals.set("version", version);
// How workerd calls a class: internal/introspection.py.
const python = pyodide.runPython(`
import importlib, sys
import pyodide
pyodide.__version__ = version
sys.path.insert(0, "/sdk")

def load(folder):
    sys.path[:] = [folder, *[path for path in sys.path if not path.startswith("/cases/")]]
    for name in [name for name, module in sys.modules.items() if (getattr(module, "__file__", None) or "").startswith("/cases/")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return importlib.import_module("entry")

async def call(instance, name, *args):
    from inspect import isawaitable
    from pyodide.code import relaxed_call
    from workers import python_from_rpc, python_to_rpc
    result = relaxed_call(getattr(instance, name), *[python_from_rpc(arg) for arg in args])
    return python_to_rpc(await result if isawaitable(result) else result)

def is_entrypoint(module, name):
    from inspect import isclass
    from workers import WorkerEntrypoint
    found = getattr(module, name, None)
    return name in getattr(module, "__all__", [name]) and isclass(found) and issubclass(found, WorkerEntrypoint)

[load, call, is_entrypoint]
`);
const [load, call, is_entrypoint] = [0, 1, 2].map((at) => python.get(at));

async function answer(entry, request) {
  const name = has_class_handlers ? "fetch" : "on_fetch";
  if (is_entrypoint(entry, "Default")) {
    const instance = entry.Default(ctx, env);
    if (typeof instance[name] !== "function") throw new TypeError(`Method ${name} does not exist`);
    return await call(instance, name, request, undefined, undefined);
  }
  if (has_class_handlers) throw new TypeError("Handler does not export a fetch() function.");
  const handler = entry.on_fetch;
  if (!handler) throw new Error(`Python entrypoint "entry.py" does not export a handler named "on_fetch"`);
  const result = await handler.callRelaxed(request, env, ctx);
  return result?.js_response ?? result;
}

async function run({ name, script, request }) {
  ctx = new ExecutionContext();
  const place = `/cases/${name}`;
  pyodide.FS.mkdirTree(place);
  pyodide.FS.writeFile(`${place}/entry.py`, script);
  const body = request.body === null ? undefined : Buffer.from(request.body, "base64");
  const { method, headers } = request;
  const asked = new Request(request.url, { method, headers, body, redirect: "manual" });
  Object.defineProperty(asked, "cf", { value: request.cf });
  try {
    const response = await answer(load(place), asked);
    if (!(response instanceof Response)) {
      throw new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
    }
    const bytes = Buffer.from(await response.arrayBuffer());
    await Promise.all(ctx.pending);
    return {
      name,
      status: response.status,
      headers: [...response.headers],
      body: bytes.toString("base64"),
    };
  } catch (error) {
    // A Python error's message is its traceback.
    return { name, error: error.name === "PythonError" ? error.message : `${error.name}: ${error.message}` };
  }
}

for (const name of ["log", "info", "warn", "error", "debug", "trace"]) console[name] = () => {};
for (const one of cases) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, 10_000, { name: one.name, error: "TimedOut: no answer" });
  });
  const answered = await Promise.race([run(one), late]);
  clearTimeout(timer);
  process.stdout.write(`${JSON.stringify(answered)}\n`);
}
process.exit(0);
