// One request, and its answer as it arrives.

import { EventReader, read } from "./events.js";

/** How often a connection that broke is made anew before the reader is asked. */
const RETRIES = 3;

/**
 * A run begins with `start`. `stop` lets go of the connection; a server that numbers its events keeps the answer for a
 * while, and `resume` goes on with it, behind the last event that came. `discard` tells the server that nobody will.
 *
 * `answer` is the message that the run fills in; `changed(news)` is called for each thing that the server says.
 */
export class Run {
  /** "asking", "streaming", "paused" or "ended" */
  state = "asking";
  events = [];
  /** When each piece came, in milliseconds from the start. */
  pieces = [];
  usage = null;
  isKeptAlive = false;

  #controller = new AbortController();
  #lastId = null;
  #streamId = null;
  #isComplete = false;
  #origin = 0;
  #pausedAt = 0;

  constructor({ address, body, authorization, answer, changed }) {
    this.address = address;
    this.body = body;
    this.answer = answer;
    this.#authorization = authorization;
    this.#changed = changed;
  }

  #authorization;
  #changed;

  get canResume() {
    return this.state === "paused" && this.#lastId !== null;
  }

  get isRunning() {
    return this.state === "asking" || this.state === "streaming";
  }

  /** Milliseconds on the clock of this answer, which stands still while it is paused. */
  get now() {
    return performance.now() - this.#origin;
  }

  async start() {
    this.#origin = performance.now();
    await this.#attempt();
  }

  async resume() {
    this.#origin += performance.now() - this.#pausedAt;
    await this.#attempt();
  }

  stop() {
    this.#controller.abort();
  }

  /** End the answer on the server too. */
  discard() {
    if (this.state === "ended") return;
    this.stop();
    if (this.#streamId !== null && !this.#isComplete) {
      const stream = this.address.replace(/\/run\/.*/, `/streams/${encodeURIComponent(this.#streamId)}`);
      // keepalive, because the page may be going away.
      fetch(stream, { method: "DELETE", headers: this.#authorization(), keepalive: true }).catch(() => {});
    }
    this.state = "ended";
  }

  /** What it took: milliseconds to the first piece, tokens a second, milliseconds in all. */
  get figures() {
    const first = this.pieces[0];
    const last = this.pieces.at(-1);
    const tokens = this.isRunning ? this.pieces.length : (this.usage?.completion ?? this.pieces.length);
    const speed = this.pieces.length > 1 && last > first ? ((tokens - 1) * 1000) / (last - first) : null;
    return { first: first ?? null, speed, total: this.isRunning ? this.now : (last ?? null), tokens };
  }

  async #attempt() {
    for (let attempt = 0; ; attempt += 1) {
      this.state = this.pieces.length ? "streaming" : "asking";
      this.#controller = new AbortController();
      try {
        await this.#follow();
        this.state = "ended";
        return;
      } catch (error) {
        if (error instanceof Refused) {
          this.state = "ended";
          if (error.status === 401) throw error;
          this.answer.failure = error.failure;
          this.#changed({ error: error.failure });
          return;
        }
        const isStopped = this.#controller.signal.aborted;
        if (!isStopped && this.#lastId !== null && attempt < RETRIES) {
          await new Promise((resume) => setTimeout(resume, 300 * 2 ** attempt));
          if (!this.#controller.signal.aborted) continue;
        }
        this.#pausedAt = performance.now();
        this.state = this.#lastId === null ? "ended" : "paused";
        this.answer.finish = "stopped";
        if (!isStopped) {
          this.answer.failure = {
            message: this.pieces.length ? "The connection was lost before the answer was complete." : "The server did not answer.",
            hint: error instanceof TypeError ? "Is it still running? Its terminal says more." : String(error.message),
          };
          this.#changed({ error: this.answer.failure });
        }
        return;
      }
    }
  }

  async #follow() {
    const headers = { ...this.#authorization(), "content-type": "application/json" };
    // With this header the server numbers its events; "0" asks for all of them.
    if (this.body.stream) headers["last-event-id"] = this.#lastId ?? "0";
    const { signal } = this.#controller;
    const response = await fetch(this.address, { method: "POST", headers, body: JSON.stringify(this.body), signal, cache: "no-store" });
    if (!response.ok) throw new Refused(response.status, await response.text());
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      await this.#takeWhole(response);
      return;
    }
    this.#streamId = response.headers.get("cfai-stream-id");
    const reader = response.body.getReader();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      for (const event of events.push(value)) this.#take(event);
      if (this.#isComplete) return;
    }
    // Each stream ends with [DONE]: this one was cut.
    throw new Error("The stream ended before its last event.");
  }

  async #takeWhole(response) {
    const text = await response.text();
    this.events.push({ at: this.now, raw: text });
    const { result = {} } = JSON.parse(text);
    this.#isComplete = true;
    for (const news of read(result)) this.#tell(news);
    const neurons = Number(response.headers.get("cf-ai-neurons") ?? NaN);
    if (this.usage && this.usage.neurons === null && Number.isFinite(neurons)) this.usage.neurons = neurons;
  }

  #take(event) {
    this.events.push({ at: this.now, raw: event.raw, isComment: event.data === undefined });
    if (event.id !== undefined) this.#lastId = event.id;
    if (event.data === undefined) {
      this.isKeptAlive = true;
      this.#changed({ comment: event.comment });
    } else if (event.data === "[DONE]") {
      this.#isComplete = true;
      this.#changed({ done: true });
    } else {
      let said = [{ error: { message: `The server sent what is no JSON: ${event.data}` } }];
      try {
        said = read(JSON.parse(event.data));
      } catch {
        // Said above.
      }
      for (const news of said) this.#tell(news);
      if (said.length === 0) this.#changed({});
    }
  }

  #tell(news) {
    const { answer } = this;
    if (news.text || news.reasoning || news.call) {
      this.pieces.push(this.now);
      this.state = "streaming";
    }
    if (news.text) answer.content += news.text;
    if (news.reasoning) answer.reasoning = (answer.reasoning ?? "") + news.reasoning;
    if (news.call) addCall(answer, news.call);
    if (news.usage) this.usage = news.usage;
    if (news.finish) answer.finish = news.finish;
    if (news.error) answer.failure = news.error;
    this.#changed(news);
  }
}

function addCall(answer, { index, id, name, arguments: text }) {
  answer.calls ??= [];
  const known = answer.calls.find((call) => call.index === index);
  if (known && !(id && known.id && id !== known.id)) {
    known.id ||= id;
    known.name ||= name;
    known.arguments += text;
  } else {
    answer.calls.push({ index, id, name, arguments: text });
  }
}

/** The server answered with a status that is none of success. */
export class Refused extends Error {
  constructor(status, text) {
    super(`The server answered ${status}.`);
    this.status = status;
    this.failure = { status, message: text.slice(0, 500) || this.message };
    try {
      const { errors, error, messages } = JSON.parse(text);
      const first = (Array.isArray(errors) ? errors[0] : errors) ?? error;
      if (first) this.failure = { status, code: first.code, message: first.message, hint: messages?.[0]?.message };
    } catch {
      // Not JSON: a proxy's page, or the guard's line.
    }
  }
}
