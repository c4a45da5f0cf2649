// The page: its fields, its buttons, and who does what.

import { Conversation } from "./conversation.js";
import { byId, copy, element, isSending, isTouched } from "./elements.js";
import { Inspector } from "./inspector.js";
import { Refused, Run } from "./run.js";
import { FieldProblem, defaults, fromHash, requestBody, restore, toHash } from "./state.js";

const KEPT = "cfai.playground";
const TOKEN = "cfai.token";
const THEME = "cfai.theme";
const OTHER = "other…";
/** Chosen first if it is here: the model of the first published streaming example. */
const FIRST = "@cf/meta/llama-2-7b-chat-int8";

const STARTERS = [
  { title: "Where is New York?", about: "A streamed answer", text: "Where is New York?" },
  { title: "What is the weather in Paris?", about: "The model calls a tool", text: "What is the weather in Paris?", with: { "use-tools": true } },
  {
    title: "What is the capital of Japan?",
    about: "The answer is JSON that fits a schema",
    text: "What is the capital of Japan?",
    with: { format: "json_schema" },
    system: "Answer in JSON.",
  },
  { title: "Tell me a story", about: "See how the pieces come", text: "Tell me a story.", pieces: true },
];

/** `path` on the server that this page came from, wherever a proxy has put it. */
const at = (path) => new URL(path, document.baseURI.replace(/[?#].*$/, "")).href;
const address = at(".").replace(/\/$/, "");

let state = restore(fromHash(location.hash) ?? kept());
let run = null;
let models = [];
/** What the catalog says of the chosen model: context window, prices, ... */
let entry = null;

const inspector = new Inspector();
const conversation = new Conversation({
  edit(place, text, isAsked) {
    if (isAsked) {
      ask([...state.messages.slice(0, place), { ...state.messages[place], content: text }]);
    } else {
      state.messages[place].content = text;
      showMessages();
    }
  },
  remove(place) {
    settle();
    state.messages.splice(place, 1);
    showMessages();
    byId("draft").focus();
  },
  again: (place) => ask(state.messages.slice(0, place)),
  resume: () => follow(() => run.resume()),
  giveResults(place, texts) {
    const { calls } = state.messages[place];
    ask([...state.messages, ...calls.map(({ id, name }, index) => ({ role: "tool", name, callId: id, content: texts[index] }))]);
  },
});

// Fields

const FIELDS = Object.keys(defaults()).filter((name) => !["model", "messages"].includes(name));

function showFields() {
  for (const name of FIELDS) {
    const field = byId(name);
    if (field.type === "checkbox") field.checked = state[name];
    else field.value = state[name];
  }
  for (const slider of document.querySelectorAll("[data-for]")) slider.value = state[slider.dataset.for] || byId(slider.dataset.for).placeholder;
  showModels();
  showParts();
}

function showParts() {
  byId("schema-part").hidden = state.format !== "json_schema";
  byId("tools-part").hidden = !state["use-tools"];
}

byId("settings").addEventListener("input", ({ target }) => {
  if (target.dataset.for) {
    byId(target.dataset.for).value = target.value;
    state[target.dataset.for] = target.value;
  } else if (FIELDS.includes(target.id)) {
    state[target.id] = target.type === "checkbox" ? target.checked : target.value;
    const slider = document.querySelector(`[data-for="${target.id}"]`);
    if (slider) slider.value = target.value || target.placeholder;
  } else if (target.id === "show-pieces") {
    showPieces();
  } else if (target.id === "model") {
    chooseModel(target.value === OTHER ? "" : target.value);
    if (target.value === OTHER) {
      byId("other-model").focus();
      suggestModels();
    }
    return;
  } else if (target.id === "other-model") {
    state.model = target.value.trim();
  }
  showParts();
  changed();
});
byId("settings").addEventListener("submit", (event) => event.preventDefault());
byId("other-model").addEventListener("change", () => chooseModel(byId("other-model").value.trim()));
byId("defaults").addEventListener("click", () => {
  state = { ...defaults(), model: state.model, messages: state.messages };
  showFields();
  changed();
});

function showPieces() {
  byId("messages").classList.toggle("show-pieces", byId("show-pieces").checked);
}

/** Keep the state in this tab and show what it would send. */
function changed() {
  // A link described what there was before.
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(state));
  } catch {
    // The browser keeps nothing, or the conversation is too long: it is on the page still.
  }
  showRequest();
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

/** The body of the next request: with what is being typed, or else as the last one was. */
function showRequest() {
  showProblem(null);
  const typed = byId("draft").value.trim();
  let { messages } = state;
  if (typed) messages = [...messages, { role: "user", content: typed }];
  else if (messages.length === 0) messages = [{ role: "user", content: STARTERS[0].text }];
  else while (messages.length > 1 && messages.at(-1).role === "assistant") messages = messages.slice(0, -1);
  try {
    const body = requestBody(state, messages);
    inspector.showRequest({ model: state.model, body, address, url: runAddress(), needsToken: Boolean(token()) });
    return true;
  } catch (error) {
    if (!(error instanceof FieldProblem)) throw error;
    showProblem(error);
    return false;
  }
}

function showProblem(problem) {
  for (const name of ["schema", "tools"]) {
    const isWrong = problem?.field === name;
    byId(name).setAttribute("aria-invalid", String(isWrong));
    byId(`${name}-problem`).hidden = !isWrong;
    byId(`${name}-problem`).textContent = isWrong ? problem.message : "";
  }
}

// Models

const runAddress = () => at(`client/v4/accounts/local/ai/run/${state.model.split("/").map(encodeURIComponent).join("/").replaceAll("%40", "@")}`);

async function loadModels() {
  const listed = await get("v1/models");
  models = (listed?.data ?? []).map(({ id }) => id);
  if (!state.model) state.model = models.includes(FIRST) ? FIRST : (models.find((id) => !id.startsWith("@cfai/")) ?? models[0] ?? FIRST);
  showModels();
  chooseModel(state.model);
}

function showModels() {
  const select = byId("model");
  const makers = Map.groupBy ? Map.groupBy(models, maker) : models.reduce((all, id) => all.set(maker(id), [...(all.get(maker(id)) ?? []), id]), new Map());
  const groups = [...makers].map(([name, ids]) => element("optgroup", { label: name }, ...ids.map((id) => element("option", { value: id }, id))));
  select.replaceChildren(...groups, element("option", { value: OTHER }, models.length ? "Another id…" : "By its id"));
  const isListed = models.includes(state.model);
  select.value = isListed ? state.model : OTHER;
  byId("other-model").hidden = isListed;
  byId("other-model").value = isListed ? "" : state.model;
}

const maker = (id) => id.split("/").slice(0, -1).join("/") || "others";

async function chooseModel(id) {
  state.model = id;
  entry = null;
  showModels();
  changed();
  const found = id && (await get(`client/v4/accounts/local/ai/models/search?include_deprecated=true&search=${encodeURIComponent(id.split("/").at(-1))}`));
  if (state.model !== id) return;
  entry = found?.result?.find(({ name }) => name === id) ?? null;
  const window = property("context_window");
  const facts = [window && `${Number(window).toLocaleString()} tokens of context`, property("function_calling") === "true" && "calls tools", property("beta") === "true" && "beta"];
  byId("about-model").textContent = facts.filter(Boolean).join(", ");
  showServer();
}

/** Offer what the catalog has, once somebody wants another model than those here. */
async function suggestModels() {
  if (byId("catalog").childElementCount) return;
  const found = await get("client/v4/accounts/local/ai/models/search?task=Text%20Generation&include_deprecated=true&per_page=1000");
  byId("catalog").replaceChildren(...(found?.result ?? []).map(({ name }) => element("option", { value: name })));
}

const property = (name) => entry?.properties?.find(({ property_id: id }) => id === name)?.value;

/** Neurons for a usage: as the server said, or by the model's price of 0.011 dollars for 1000; null if nobody knows. */
function neurons(usage) {
  if (usage.neurons !== null) return usage.neurons;
  const prices = property("price");
  if (!Array.isArray(prices)) return null;
  const per = (unit) => (prices.find((price) => price.unit === unit)?.price ?? 0) / 0.011e-3 / 1e6;
  const cost = usage.prompt * per("per M input tokens") + usage.completion * per("per M output tokens");
  return cost || null;
}

// The server

const token = () => sessionStorage.getItem(TOKEN) ?? "";
const authorization = () => (token() ? { authorization: `Bearer ${token()}` } : {});

/** Who has said no once is asked for the token when they ask something, not for the lists. */
let isDeclined = false;

/** The JSON at `path`, or null; a server that wants a token is asked again with one. */
async function get(path) {
  try {
    const response = await fetch(at(path), { headers: authorization(), cache: "no-store" });
    if (response.status === 401 && !isDeclined && (await askForToken())) return get(path);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

async function showServer() {
  const line = byId("server");
  try {
    const health = await (await fetch(at("health"), { cache: "no-store" })).json();
    const loaded = Object.entries(health.models ?? {});
    const [name, model] = loaded.find(([id]) => id === state.model) ?? loaded.at(-1) ?? [];
    line.dataset.state = health.status === "ok" ? "good" : "bad";
    line.textContent = model ? `${name} on ${model.device}, ${model.dtype}` : `${location.host}, no model loaded yet`;
    if (health.status !== "ok") line.textContent += ": unhealthy, see the server's terminal";
    line.title = line.textContent;
  } catch {
    line.dataset.state = "bad";
    line.textContent = "The server does not answer";
  }
}

let asking = null;

/** Whether a token was given. Who asks while the dialog is open waits for the same one. */
function askForToken(isWanted = true) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("token-dialog");
    byId("token-title").textContent = isWanted ? (token() ? "That token was not the one" : "This server asks for a token") : "Token";
    byId("token-field").value = token();
    const end = (isGiven) => {
      byId("token-form").onsubmit = byId("token-cancel").onclick = dialog.oncancel = null;
      asking = null;
      dialog.close();
      isDeclined = !isGiven;
      resolve(isGiven);
    };
    byId("token-form").onsubmit = (event) => {
      event.preventDefault();
      const given = byId("token-field").value.trim();
      if (given) sessionStorage.setItem(TOKEN, given);
      else sessionStorage.removeItem(TOKEN);
      end(Boolean(given));
      showRequest();
    };
    byId("token-cancel").onclick = () => end(false);
    dialog.oncancel = () => end(false);
    dialog.showModal();
    byId("token-field").select();
  });
  return asking;
}

byId("token").addEventListener("click", async () => {
  if (await askForToken(false)) loadModels();
});

// Asking

/** End what runs or is paused: the conversation goes another way. */
function settle() {
  run?.discard();
  run = null;
}

/**
 * Ask with `messages`, which become the conversation; whether that could be done. Where a field holds no JSON, nothing
 * changes but that the field is shown, with what is wrong beside it.
 */
function ask(messages) {
  let body;
  try {
    body = requestBody(state, messages);
  } catch (error) {
    if (!(error instanceof FieldProblem)) throw error;
    openPane("settings");
    showProblem(error);
    byId(error.field).focus();
    byId(`${error.field}-problem`).scrollIntoView({ block: "nearest" });
    return false;
  }
  settle();
  state.messages = messages;
  begin(body);
  return true;
}

async function begin(body) {
  const { messages } = state;
  if (!state.model) {
    showMessages();
    await ready;
    // Somebody did something else meanwhile.
    if (state.messages !== messages) return;
  }
  const answer = { role: "assistant", content: "" };
  messages.push(answer);
  run = new Run({ address: runAddress(), body, authorization, answer, changed: (news) => hear(news) });
  inspector.clear();
  follow(() => run.start());
}

async function follow(go) {
  const mine = run;
  delete mine.answer.failure;
  delete mine.answer.finish;
  mine.state = "asking";
  showMessages();
  conversation.toEnd();
  showRunning();
  try {
    await go();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (mine === run && (await askForToken())) {
      await follow(() => mine.start());
      return;
    }
    mine.answer.failure = error.failure;
  }
  for (const [index, call] of (mine.answer.calls ?? []).entries()) call.id ||= `call_${state.messages.length}_${index}`;
  if (mine !== run) return;
  mine.answer.cost = cost(mine);
  showMessages();
  // The next thing to type is what the tool gives back.
  if (!isTouched && document.activeElement === draft && !draft.value) byId("result-0")?.focus();
  inspector.showRun(mine, neurons);
  showRunning();
  showServer();
  say(mine.answer.failure ? "The answer failed." : mine.answer.finish === "stopped" ? "Stopped." : `The answer is complete: ${mine.figures.tokens} tokens.`);
}

let isDue = false;

function hear(news) {
  conversation.add(news);
  if (isDue) return;
  isDue = true;
  // The figures change once a frame, however fast the pieces come.
  requestAnimationFrame(() => {
    isDue = false;
    if (!run) return;
    inspector.showRun(run, neurons);
    showRunning();
  });
}

function cost(of) {
  const { first, speed } = of.figures;
  const { usage, answer } = of;
  const spent = usage && neurons(usage);
  const parts = [
    first !== null && `first token ${seconds(first)}`,
    speed !== null && `${speed < 10 ? speed.toFixed(1) : Math.round(speed)} tokens/s`,
    usage && `${usage.prompt} tokens in, ${usage.completion} out`,
    spent !== null && spent && `${spent.toFixed(3)} neurons`,
    answer.finish,
  ];
  return parts.filter(Boolean).join(" · ");
}

const seconds = (milliseconds) => (milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(2)} s`);

function showRunning() {
  const isRunning = Boolean(run?.isRunning);
  const hadFocus = document.activeElement === byId("stop") || document.activeElement === byId("send");
  byId("send").hidden = isRunning;
  byId("stop").hidden = !isRunning;
  if (hadFocus && !isTouched) byId(isRunning ? "stop" : "draft").focus();
  const live = byId("live");
  live.hidden = !isRunning;
  if (!isRunning) return;
  const { first, speed, tokens } = run.figures;
  if (first === null) live.textContent = run.isKeptAlive ? "The model loads, or reads a long prompt" : "Waiting for the first token";
  else live.textContent = `${tokens} pieces${speed === null ? "" : `, ${Math.round(speed)} a second`}, the first after ${seconds(first)}`;
}

function showMessages() {
  conversation.show(state.messages, run);
  changed();
}

const say = (text) => (byId("said").textContent = text);

// The message field

const draft = byId("draft");
const fit = () => {
  if (CSS.supports("field-sizing", "content")) return;
  draft.style.height = "auto";
  draft.style.height = `${draft.scrollHeight}px`;
};

function send() {
  const text = draft.value.trim();
  if (!text || run?.isRunning) return;
  if (!ask([...state.messages, { role: "user", content: text }])) return;
  draft.value = "";
  fit();
  showRequest();
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
draft.addEventListener("input", () => {
  fit();
  showRequest();
});
draft.addEventListener("keydown", (event) => {
  if (!isSending(event)) return;
  event.preventDefault();
  send();
});
byId("stop").addEventListener("click", () => run?.stop());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && run?.isRunning && !byId("token-dialog").open) run.stop();
});

for (const starter of STARTERS) {
  const start = () => {
    Object.assign(state, { format: "text", "use-tools": false }, starter.with);
    // One's own system prompt stays; that of another example goes.
    if (!state.system.trim() || STARTERS.some(({ system }) => system === state.system)) state.system = starter.system ?? "";
    if (starter.pieces) byId("show-pieces").checked = true;
    showPieces();
    showFields();
    if (ask([...state.messages, { role: "user", content: starter.text }]) && !isTouched) draft.focus();
  };
  byId("starters").append(element("li", {}, element("button", { type: "button", onclick: start }, starter.title, element("small", {}, starter.about))));
}

// The head of the page

byId("new").addEventListener("click", () => {
  settle();
  state.messages = [];
  showMessages();
  showRunning();
  openPane("conversation");
  if (!isTouched) draft.focus();
});
byId("share").addEventListener("click", async () => {
  history.replaceState(null, "", `#${toHash(state)}`);
  const isCopied = await copy(location.href);
  byId("share").textContent = isCopied ? "Link copied" : "In the address";
  say(isCopied ? "The link was copied." : "The link is in the address bar.");
  setTimeout(() => (byId("share").textContent = "Share"), 1800);
});

const THEMES = { system: "◐", light: "☀", dark: "☾" };

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = THEMES[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${theme}`);
  byId("theme").title = `Colours: ${theme}`;
}

byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  localStorage.setItem(THEME, next);
  showTheme(next);
});

function openPane(name) {
  document.body.dataset.pane = name;
  for (const button of document.querySelectorAll(".panes button")) {
    if (button.dataset.pane === name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

for (const button of document.querySelectorAll(".panes button")) button.addEventListener("click", () => openPane(button.dataset.pane));

addEventListener("hashchange", () => {
  const given = fromHash(location.hash);
  if (!given) return;
  settle();
  state = restore(given);
  showFields();
  showMessages();
  chooseModel(state.model);
});
addEventListener("pagehide", () => run?.discard());

showTheme(localStorage.getItem(THEME) in THEMES ? localStorage.getItem(THEME) : "system");
showFields();
conversation.show(state.messages);
showRequest();
showServer();
/** There is a model to ask from then on. */
const ready = loadModels();
if (!isTouched) draft.focus({ preventScroll: true });
