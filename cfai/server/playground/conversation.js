// The messages, as one sees them.

import { byId, copy, element, isSending } from "./elements.js";

const NAMES = { user: "You", assistant: "Model", tool: "Tool result" };

/**
 * `actions` is what the buttons do: `edit(at, text, isAsked)`, `remove(at)`, `again(at)`, `resume()`,
 * `giveResults(at, texts)`. `at` is the message's place.
 */
export class Conversation {
  #log = byId("log");
  #list = byId("messages");
  #live = null;
  /** The pieces in which a message came, for as long as the page is open. */
  #pieces = new WeakMap();

  constructor(actions) {
    this.actions = actions;
  }

  /** Show `messages` anew; `run`, if it is given, fills in the last of them. */
  show(messages, run = null) {
    const isAtEnd = this.#isAtEnd();
    byId("welcome").hidden = messages.length > 0;
    this.#live = null;
    this.#list.replaceChildren(...messages.map((message, at) => this.#article(message, at, at === messages.length - 1, run)));
    if (isAtEnd) this.toEnd();
  }

  /** Add what the server has just said to the last message. */
  add(news) {
    const { article, body, answer } = this.#live;
    const isAtEnd = this.#isAtEnd();
    if (news.text) {
      if (!this.#pieces.has(answer)) this.#pieces.set(answer, []);
      this.#pieces.get(answer).push(news.text);
      body.append(element("span", {}, news.text));
    }
    if (news.reasoning) thinking(article, body).append(news.reasoning);
    if (news.call) showCalls(article, answer.calls);
    if (isAtEnd) this.toEnd();
  }

  toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  #isAtEnd() {
    return this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 60;
  }

  #article(message, at, isLast, run) {
    const isLive = isLast && Boolean(run?.isRunning);
    const body = element("div", { class: "body" });
    const title = message.role === "tool" && message.name ? `${NAMES.tool}: ${message.name}` : NAMES[message.role];
    const head = element("header", {}, element("h3", {}, title));
    const article = element("article", { class: `message ${message.role}`, "aria-label": title }, head, body);
    body.append(...this.#piecesOf(message).map((piece) => element("span", {}, piece)));
    if (message.reasoning) thinking(article, body, isLive).append(message.reasoning);
    if (message.calls) showCalls(article, message.calls);
    if (isLive) {
      article.classList.add("streaming");
      body.setAttribute("aria-live", "polite");
      body.setAttribute("aria-busy", "true"); // read out once it is whole, not in pieces
      this.#live = { article, body, answer: message };
      return article;
    }
    const button = (name, act) => element("button", { type: "button", class: "plain", onclick: act, "aria-label": `${name}: ${title}, message ${at + 1}` }, name);
    if (message.content) head.append(button("Copy", () => copy(message.content)));
    if (message.role === "assistant") head.append(button("Again", () => this.actions.again(at)));
    head.append(button("Edit", () => this.#edit(article, body, message, at)), button("Delete", () => this.actions.remove(at)));
    if (isLast && message.calls?.length) article.append(this.#results(message, at));
    if (message.failure) article.append(failure(message.failure));
    if (isLast && run?.canResume) {
      const resume = element("button", { type: "button", id: "resume", onclick: () => this.actions.resume() }, "Resume");
      article.append(element("p", { class: "paused" }, "Stopped. The server keeps the rest for a while.", resume));
    }
    if (message.role === "assistant") {
      body.hidden = !message.content;
      if (!message.content && !message.calls?.length && !message.failure && !run?.canResume) article.append(element("p", { class: "note" }, "The model said nothing."));
      article.append(element("p", { class: "cost" }, message.cost ?? ""));
    }
    return article;
  }

  #piecesOf(message) {
    const pieces = this.#pieces.get(message) ?? [];
    // One that was edited, or came with a link, is of one piece.
    return pieces.join("") === message.content ? pieces : [message.content];
  }

  #edit(article, body, message, at) {
    if (article.querySelector(".edit")) return;
    const field = element("textarea", { value: message.content, "aria-label": "The message's text" });
    const close = () => {
      form.remove();
      body.hidden = message.role === "assistant" && !message.content;
      article.querySelector("header button").focus();
    };
    const isUsers = message.role !== "assistant";
    const form = element(
      "form",
      { class: "edit" },
      field,
      element(
        "p",
        {},
        element("button", { type: "submit" }, isUsers ? "Save and ask again" : "Save"),
        isUsers ? element("button", { type: "button", class: "plain", onclick: () => this.actions.edit(at, field.value, false) }, "Save only") : "",
        element("button", { type: "button", class: "plain", onclick: close }, "Cancel"),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.actions.edit(at, field.value, isUsers);
    });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        form.requestSubmit();
      }
    });
    body.hidden = true;
    body.after(form);
    field.focus();
  }

  #results(message, at) {
    const fields = message.calls.map((call, index) => element("textarea", { rows: 2, id: `result-${index}`, placeholder: "18 degrees and sunny" }));
    const cards = fields.map((field, index) =>
      element("p", { class: "result" }, element("label", { for: field.id }, `You are the tool: what does ${message.calls[index].name} give back?`), field),
    );
    const form = element("form", { class: "results" }, ...cards, element("p", { class: "paused" }, element("button", { type: "submit" }, "Send")));
    form.addEventListener("keydown", (event) => {
      const place = fields.indexOf(event.target);
      if (place < 0 || !isSending(event)) return;
      event.preventDefault();
      if (!event.target.value.trim()) return;
      const next = fields.slice(place + 1).find((field) => !field.value.trim());
      if (next) next.focus();
      else form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.actions.giveResults(at, fields.map((field) => field.value));
    });
    return form;
  }
}

function thinking(article, body, isOpen = true) {
  let details = article.querySelector(".thinking");
  if (!details) {
    details = element("details", { class: "thinking", open: isOpen }, element("summary", {}, "Thinking"), element("p"));
    body.before(details);
  }
  return details.querySelector("p");
}

function showCalls(article, calls) {
  article.querySelectorAll(".call.made").forEach((card) => card.remove());
  const before = article.querySelector(".body");
  const cards = calls.map((call) =>
    element("section", { class: "call made", "aria-label": `Tool call: ${call.name}` }, element("h4", {}, call.name || "…"), element("pre", { class: "code" }, pretty(call.arguments))),
  );
  before.after(...cards);
}

/** JSON on several lines once it is whole, as it is until then. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function failure({ status, code, message, hint }) {
  const head = [code, status && `HTTP ${status}`].filter(Boolean).join(", ");
  const box = element("div", { class: "failure", role: "alert" }, element("p", {}, head ? element("strong", {}, `${head}: `) : "", message ?? "The answer failed."));
  if (hint) box.append(element("p", {}, hint));
  return box;
}
