// All that one can set and say on the page, where it is kept, and what it asks of the server.

const NUMBERS = ["temperature", "top_p", "max_tokens", "top_k", "seed", "repetition_penalty", "frequency_penalty", "presence_penalty"];

const SCHEMA = { type: "object", properties: { answer: { type: "string" } }, required: ["answer"] };

const TOOLS = [
  {
    name: "get_weather",
    description: "What the weather is like in a city",
    parameters: { type: "object", properties: { city: { type: "string", description: "The city's name" } }, required: ["city"] },
  },
];

/** A page that nobody has touched. Texts are as they stand in the fields: a number that is not set is "". */
export function defaults() {
  return {
    model: "",
    system: "",
    ...Object.fromEntries(NUMBERS.map((name) => [name, ""])),
    stream: true,
    format: "text",
    schema: JSON.stringify(SCHEMA, null, 2),
    "use-tools": false,
    tools: JSON.stringify(TOOLS, null, 2),
    tool_choice: "",
    messages: [],
  };
}

/** The state that `given` describes, a link or what this tab kept; whatever in it is of the wrong kind is left out. */
export function restore(given) {
  const state = defaults();
  if (given === null || typeof given !== "object") return state;
  for (const name of Object.keys(state)) if (name !== "messages" && typeof given[name] === typeof state[name]) state[name] = given[name];
  if (Array.isArray(given.messages)) state.messages = given.messages.filter(isMessage);
  return state;
}

function isMessage(message) {
  return (
    ["user", "assistant", "tool"].includes(message?.role) &&
    typeof message.content === "string" &&
    (message.calls === undefined ||
      (Array.isArray(message.calls) && message.calls.every((call) => typeof call?.name === "string" && typeof call.arguments === "string" && typeof call.id === "string")))
  );
}

/** What a call of the model is given. Raises a `FieldProblem` for a field that holds no JSON. */
export function requestBody(state, messages) {
  const body = { messages: [...(state.system.trim() ? [{ role: "system", content: state.system }] : []), ...messages.filter(isSaid).map(asSent)] };
  if (state.stream) body.stream = true;
  for (const name of NUMBERS) if (state[name] !== "") body[name] = Number(state[name]);
  if (state.format === "json_object") body.response_format = { type: "json_object" };
  if (state.format === "json_schema") body.response_format = { type: "json_schema", json_schema: parse(state, "schema", "The schema") };
  if (state["use-tools"]) {
    body.tools = parse(state, "tools", "The list of tools");
    if (!Array.isArray(body.tools)) throw new FieldProblem("tools", "Tools are a list: [ ... ]");
    if (state.tool_choice) body.tool_choice = state.tool_choice;
  }
  return body;
}

// An answer that failed before it said anything is no part of the conversation.
const isSaid = (message) => message.role !== "assistant" || Boolean(message.content || message.calls?.length);

function asSent(message) {
  if (message.role === "tool") return { role: "tool", tool_call_id: message.callId ?? "", name: message.name ?? "", content: message.content };
  if (!message.calls?.length) return { role: message.role, content: message.content };
  const calls = message.calls.map(({ id, name, arguments: text }) => ({ id, type: "function", function: { name, arguments: text } }));
  return { role: message.role, content: message.content, tool_calls: calls };
}

export class FieldProblem extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function parse(state, field, name) {
  try {
    return JSON.parse(state[field]);
  } catch (error) {
    throw new FieldProblem(field, `${name} is not JSON: ${error.message}`);
  }
}

/** `state` for the part of an address behind the `#`, which browsers do not send. */
export function toHash(state) {
  const usual = defaults();
  const changed = Object.fromEntries(Object.entries(state).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(usual[name])));
  changed.messages = state.messages.map(({ role, content, calls, callId, name, reasoning }) => ({ role, content, calls, callId, name, reasoning }));
  const bytes = new TextEncoder().encode(JSON.stringify(changed));
  const letters = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** What `toHash` wrote, or null. */
export function fromHash(hash) {
  try {
    const letters = atob(hash.replace(/^#/, "").replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(letters, (letter) => letter.charCodeAt(0))));
  } catch {
    return null;
  }
}
