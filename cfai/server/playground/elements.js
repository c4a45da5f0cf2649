// Elements, made without markup: what a model says is always text.

/** An element with these properties (`class`, `data-...` and `aria-...` are attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.includes("-") || name === "class" || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** On a phone, focus opens the keyboard, and its Enter is a new line. */
export const isTouched = matchMedia("(pointer: coarse)").matches;

/** Whether this key sends what is typed. While an input method composes a word, Enter accepts it. */
export const isSending = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && !isTouched;

export const byId = (id) => document.getElementById(id);

const JSON_WORDS = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\b\d[\d.eE+-]*)|\b(true|false|null)\b/g;
const CODE_WORDS =
  /((?:^|\s)#.*$|\/\/ .*$)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\]|\\.)*')|\b(\d[\d.]*)\b|\b(from|import|class|def|async|await|return|for|in|if|or|with|as|print|export|default|const|new|env|True|False|None|true|false|null|curl)\b/gm;

/** Fill `target` with JSON text, lightly coloured. */
export function showJson(target, text) {
  colour(target, text, JSON_WORDS, ([, string, colon, number, word]) => (string ? (colon ? "key" : "string") : number ? "number" : word && "word"));
}

/** Fill `target` with code, lightly coloured. */
export function showCode(target, text) {
  colour(target, text, CODE_WORDS, ([, comment, string, number]) => (comment ? "comment" : string ? "string" : number ? "number" : "word"));
}

function colour(target, text, words, kindOf) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(words)) {
    parts.push(text.slice(end, match.index), element("span", { class: `c-${kindOf(match)}` }, match[0]));
    end = match.index + match[0].length;
  }
  target.replaceChildren(...parts, text.slice(end));
}

/** Put `text` on the clipboard, also where the page came over plain HTTP from another machine. */
export async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // The browser may not have granted it; the old way needs no grant.
    }
  }
  const before = document.activeElement;
  const field = element("textarea", { value: text, class: "unseen", readOnly: true, tabIndex: -1 });
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  before?.focus();
  return copied;
}
