// Server-sent events, cut out of bytes wherever the network cut them, and what they say.

/** Cuts bytes into events: `{data, id, raw}`, or `{comment, raw}` for a comment line such as the server's keep-alive. */
export class EventReader {
  #decoder = new TextDecoder();
  #pending = "";
  #lines = [];

  /** The events that these bytes complete. */
  push(bytes) {
    this.#pending += this.#decoder.decode(bytes, { stream: true });
    const events = [];
    for (let line = this.#nextLine(); line !== null; line = this.#nextLine()) {
      if (line !== "") {
        this.#lines.push(line);
      } else if (this.#lines.length) {
        events.push(this.#event(this.#lines));
        this.#lines = [];
      }
    }
    return events;
  }

  #nextLine() {
    const end = this.#pending.search(/[\r\n]/);
    if (end < 0) return null;
    // A line feed may still follow this carriage return, and belongs to the same line end.
    if (this.#pending[end] === "\r" && end + 1 === this.#pending.length) return null;
    const line = this.#pending.slice(0, end);
    this.#pending = this.#pending.slice(end + (this.#pending.startsWith("\r\n", end) ? 2 : 1));
    return line;
  }

  #event(lines) {
    const event = { raw: lines.join("\n") };
    const data = [];
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === "data") data.push(value);
      else if (field === "id") event.id = value;
      else if (field === "") event.comment = value;
    }
    if (data.length) event.data = data.join("\n");
    return event;
  }
}

/**
 * What one JSON object of a stream, or a whole answer, says: a list of
 * `{text}`, `{reasoning}`, `{call: {index, id, name, arguments}}`, `{usage}`, `{finish}` and `{error: {code, message}}`.
 *
 * Workers AI has several forms, by model: `{"response"}`, OpenAI's chat completions, and OpenAI's responses.
 */
export function read(answer) {
  const said = [];
  if (answer.error) said.push({ error: { code: answer.error.code ?? "", message: answer.error.message ?? String(answer.error) } });
  for (const error of list(answer.errors)) said.push({ error: { code: error.code, message: error.message } });
  // Now and then Workers AI sends a number, and in JSON mode an object.
  const response = answer.response;
  if (typeof response === "string" || typeof response === "number") said.push({ text: String(response) });
  else if (response && answer.type === undefined) said.push({ text: JSON.stringify(response, null, 2) });
  list(answer.tool_calls).forEach((call, at) => said.push(...readCall(call, at)));
  for (const choice of list(answer.choices)) {
    const part = choice.delta ?? choice.message ?? { content: choice.text };
    const reasoning = part.reasoning_content ?? part.reasoning;
    if (reasoning) said.push({ reasoning });
    if (part.content) said.push({ text: part.content });
    list(part.tool_calls).forEach((call, at) => said.push(...readCall(call, at)));
    if (choice.finish_reason) said.push({ finish: choice.finish_reason });
  }
  if (typeof answer.type === "string") said.push(...readResponsesEvent(answer));
  for (const [index, item] of list(answer.output).entries()) said.push(...readOutput(item, index));
  if (answer.usage) said.push({ usage: readUsage(answer.usage) });
  return said.filter((one) => one.text !== "");
}

function readCall(call, at) {
  const made = call.function ?? call;
  // Some streams close a call with one of null names, which says nothing.
  if (!made.name && !made.arguments) return [];
  const text = typeof made.arguments === "string" ? made.arguments : JSON.stringify(made.arguments ?? "");
  return [{ call: { index: call.index ?? at, id: call.id ?? "", name: made.name ?? "", arguments: text === '""' ? "" : text } }];
}

function readResponsesEvent(event) {
  switch (event.type) {
    case "response.output_text.delta":
      return [{ text: event.delta }];
    case "response.reasoning_text.delta":
    case "response.reasoning_summary_text.delta":
      return [{ reasoning: event.delta }];
    case "response.output_item.added":
      return event.item.type === "function_call" ? [{ call: { index: event.output_index, id: event.item.call_id, name: event.item.name, arguments: "" } }] : [];
    case "response.function_call_arguments.delta":
      return [{ call: { index: event.output_index, id: "", name: "", arguments: event.delta } }];
    case "response.completed":
    case "response.incomplete":
      return event.response.usage ? [{ usage: readUsage(event.response.usage) }] : [];
    case "error":
      return event.error ? [] : [{ error: { code: event.code, message: event.message } }];
    case "response.failed":
      return [{ error: { code: event.response.error.code, message: event.response.error.message } }];
    default:
      return [];
  }
}

function readOutput(item, index) {
  if (item.type === "function_call") return [{ call: { index, id: item.call_id, name: item.name, arguments: item.arguments } }];
  const texts = list(item.content).map((part) => part.text ?? "").join("");
  return [item.type === "reasoning" ? { reasoning: texts } : { text: texts }];
}

function readUsage(usage) {
  return {
    prompt: usage.prompt_tokens ?? usage.input_tokens ?? 0,
    completion: usage.completion_tokens ?? usage.output_tokens ?? 0,
    cached: (usage.prompt_tokens_details ?? usage.input_tokens_details)?.cached_tokens ?? 0,
    neurons: usage.neurons ?? null,
  };
}

const list = (value) => (Array.isArray(value) ? value : []);
