// What goes over the wire, what it costs, and the same as code.

import { byId, copy, element, showCode, showJson } from "./elements.js";
import { LANGUAGES } from "./snippets.js";

/** More would make the page slow, and nobody reads them. */
const MOST_EVENTS = 3000;
const MOST_BARS = 160;

const TABS = ["request", "events", "code"];

export class Inspector {
  #request = null;
  #shown = 0;
  #tab = "request";

  constructor() {
    for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => this.open(tab));
    byId("tab-request").parentElement.addEventListener("keydown", (event) => this.#walk(event));
    for (const [key, { name }] of Object.entries(LANGUAGES)) byId("language").append(element("option", { value: key }, name));
    byId("language").addEventListener("change", () => this.#showCode());
    byId("copy").addEventListener("click", () => this.#copy());
  }

  open(tab) {
    this.#tab = tab;
    for (const one of TABS) {
      const isOpen = one === tab;
      byId(`tab-${one}`).setAttribute("aria-selected", String(isOpen));
      byId(`tab-${one}`).tabIndex = isOpen ? 0 : -1;
      byId(`panel-${one}`).hidden = !isOpen;
    }
    byId("copy").textContent = "Copy";
  }

  /** Show `{model, body, address, url, needsToken}` as a request and as code. */
  showRequest(request) {
    this.#request = request;
    const { url, body, needsToken } = request;
    const headers = [...(needsToken ? ["authorization: Bearer •••"] : []), "content-type: application/json", ...(body.stream ? ["last-event-id: 0"] : [])];
    const json = element("span");
    showJson(json, JSON.stringify(body, null, 2));
    byId("request").replaceChildren(`POST ${url}\n${headers.join("\n")}\n\n`, json);
    this.#showCode();
  }

  #showCode() {
    const language = LANGUAGES[byId("language").value];
    byId("snippet-note").textContent = language.note(this.#request.model);
    showCode(byId("snippet"), language.write(this.#request));
  }

  /** Show how `run` is doing; `neurons` says what a usage costs, or null. */
  showRun(run, neurons) {
    const { first, speed } = run.figures;
    figure("first", first === null ? null : first < 1000 ? Math.round(first) : (first / 1000).toFixed(2), first !== null && first < 1000 ? "ms" : "s");
    figure("speed", speed === null ? null : speed < 10 ? speed.toFixed(1) : Math.round(speed), "tokens/s");
    if (run.usage) figure("tokens", `${run.usage.prompt} + ${run.usage.completion}`, run.usage.cached ? `(${run.usage.cached} cached)` : "");
    else figure("tokens", run.pieces.length || null, "pieces");
    const cost = run.usage && neurons(run.usage);
    figure("neurons", cost === null ? null : cost < 10 ? cost.toFixed(3) : Math.round(cost), "");
    this.#showRhythm(run.pieces);
    this.#showEvents(run.events);
  }

  #showRhythm(pieces) {
    const from = Math.max(1, pieces.length - MOST_BARS);
    const waits = pieces.slice(from).map((at, index) => at - pieces[from + index - 1]);
    // One long wait, for the network or a busy machine, must not flatten all the others.
    const highest = Math.max(1, [...waits].sort((a, b) => a - b)[Math.floor(waits.length * 0.95)] * 1.4 || 1);
    const width = 100 / Math.max(waits.length, 24);
    const bars = waits.map((wait, index) => {
      const height = Math.max(0.6, Math.min(1, wait / highest) * 24);
      return `M${(index * width).toFixed(2)} 24v${(-height).toFixed(2)}h${(width * 0.72).toFixed(2)}v${height.toFixed(2)}z`;
    });
    byId("rhythm").firstElementChild.setAttribute("d", bars.join(""));
    const middle = [...waits].sort((a, b) => a - b)[waits.length >> 1];
    byId("rhythm-note").textContent = waits.length
      ? `${pieces.length} pieces, mostly ${middle < 10 ? middle.toFixed(1) : Math.round(middle)} ms apart; each bar is a wait`
      : "Each bar is a piece, as high as the wait for it was long";
  }

  #showEvents(events) {
    const list = byId("events");
    byId("no-events").hidden = events.length > 0;
    if (events.length < this.#shown) this.#shown = 0;
    if (this.#shown === 0) list.replaceChildren();
    const panel = byId("panel-events");
    const isAtEnd = panel.scrollHeight - panel.scrollTop - panel.clientHeight < 60;
    for (const { at, raw, isComment } of events.slice(this.#shown, MOST_EVENTS)) {
      const text = element("code", {}, ...lines(raw));
      list.append(element("li", isComment ? { class: "comment" } : {}, element("time", {}, at < 10000 ? `${Math.round(at)} ms` : `${(at / 1000).toFixed(1)} s`), text));
    }
    this.#shown = events.length;
    this.#events = events;
    if (isAtEnd) panel.scrollTop = panel.scrollHeight;
  }

  #events = [];

  /** Forget the last run's events. */
  clear() {
    this.#shown = 0;
    this.#events = [];
    byId("events").replaceChildren();
    byId("no-events").hidden = false;
  }

  async #copy() {
    const text = {
      request: () => JSON.stringify(this.#request.body, null, 2),
      events: () => this.#events.map(({ raw }) => `${raw}\n\n`).join(""),
      code: () => LANGUAGES[byId("language").value].write(this.#request),
    }[this.#tab]();
    byId("copy").textContent = (await copy(text)) ? "Copied" : "The browser did not let it";
    setTimeout(() => (byId("copy").textContent = "Copy"), 1600);
  }

  #walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(this.#tab) + step + TABS.length) % TABS.length];
    this.open(next);
    byId(`tab-${next}`).focus();
    event.preventDefault();
  }
}

function lines(raw) {
  const shown = [];
  for (const line of raw.split("\n")) {
    const [, field, rest] = /^(data: ?|(?:id|event|):.*|)(.*)$/s.exec(line);
    const json = element("span");
    showJson(json, rest);
    shown.push(element("span", { class: field.startsWith("id:") ? "id" : "line" }, element("span", { class: "dim" }, field), json, "\n"));
  }
  return shown;
}

function figure(name, value, unit) {
  byId(`figure-${name}`).replaceChildren(...(value === null ? ["–"] : [String(value), unit ? element("small", {}, ` ${unit}`) : ""]));
}
