"""What an answer may be, as the text of a grammar: JSON that fits a schema, or calls of the caller's tools.

The engine builds a constraint of it (`engine/grammar.py`). llguidance does the work of both; it is imported when the
first grammar is made. `tasks/json_schemas.py` says which schemas can be enforced. A tool is not refused for its own; of
its parameters what cannot be is left out. Between tokens of JSON stands one space at most, so no model can get lost
there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cfai.tasks.json_schemas import SPACED, enforceable, enforced_in_part, refusal
from cfai.tasks.tool_formats import THINK, THINK_END, Thinking, ToolFormat, ToolLike

__all__ = ["check_grammar", "json_grammar", "tool_grammar"]


def json_grammar(
    schema: Mapping[str, Any] | bool,
    *,
    form: ToolFormat | None = None,
    specials: Mapping[str, int] | None = None,
    thinking: Thinking = "off",
) -> str:
    """The grammar of an answer that is JSON of this schema. A `BadInput` says what cannot be enforced.

    ```python
    json_grammar({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    ```

    form      how the model writes, if that asks for more than the bare JSON: gpt-oss names a channel before it
    specials  the ids of the tokenizer's special tokens, by their texts
    thinking  whether the model may think before the JSON, or is in the midst of it
    """
    rules = _Rules(specials or {})
    return check_grammar(rules.text(_answer(rules, form, rules.json(enforceable(schema)), thinking)))


def _answer(rules: _Rules, form: ToolFormat | None, value: str, thinking: Thinking) -> str:
    if form is not None and form.kind == "channels":
        return f'{rules.analysis()} {rules.marks("<|channel|>")} "final" {rules.marks("<|message|>")} {value}'
    return f"{rules.thought(thinking)} / ?/ {value}"


def tool_grammar(
    form: ToolFormat,
    tools: Sequence[ToolLike],
    *,
    required: bool = True,
    parallel: bool = True,
    answer: Mapping[str, Any] | None = None,
    specials: Mapping[str, int] | None = None,
    thinking: Thinking = "off",
) -> str:
    """The grammar of an answer that calls some of these tools, with arguments that fit their parameters.

    form      how the model writes calls
    tools     those that may be called; a forced tool is the only one
    required  false lets the answer be text as well, with calls behind it or without
    parallel  there may be several calls
    answer    the schema that the answer must fit where it calls nothing; None lets it be any text
    specials, thinking  as for `json_grammar`
    """
    rules = _Rules(specials or {})
    write = rules.tags if form.kind == "tags" else rules.json
    arguments = [write(enforced_in_part({"type": "object", **tool.parameters})) for tool in tools]
    named = [(tool.name, rule) for tool, rule in zip(tools, arguments, strict=True)]
    start = _CALLS[form.kind](rules, form, named, required or answer is not None, parallel)
    if form.kind != "channels":
        start = f"{rules.thought(thinking)} {start}"
    if answer is not None and not required:
        start = _any([start, _answer(rules, form, rules.json(enforceable(answer)), thinking)])
    return check_grammar(rules.text(start))


def check_grammar(grammar: str) -> str:
    """The grammar, if it can be enforced; a `BadInput` says what in it cannot."""
    from llguidance import LLMatcher

    # Special tokens are known to a tokenizer only; that it has no such complaint is seen when a constraint is built.
    if problem := LLMatcher.validate_grammar(grammar):
        raise refusal(problem)
    return grammar


# Grammars, in llguidance's dialect of Lark


class _Rules:
    """The rules of a grammar, and what its parts are written as."""

    def __init__(self, specials: Mapping[str, int]) -> None:
        self._specials = specials
        self._rules: list[str] = []

    def text(self, start: str) -> str:
        return "\n".join([f"start: {start}", *self._rules, ""])

    def rule(self, right: str, *, is_lazy: bool = False) -> str:
        """The name of a new rule."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{'[lazy]' if is_lazy else ''}: {right}")
        return name

    def json(self, schema: Mapping[str, Any]) -> str:
        spaced = {"x-guidance": SPACED, **schema}
        return self.rule(f"%json {json.dumps(spaced)}")

    def marks(self, mark: str) -> str:
        """A marker: a special token, or text."""
        return f"<[{self._specials[mark]}]>" if mark in self._specials else _quoted(mark)

    def until(self, mark: str) -> str:
        """Any text, up to a marker and with it."""
        if mark in self._specials:
            return f"{self.free()} {self.marks(mark)}"
        return self.rule(f"/(.|\\n)*{_escaped(mark)}/", is_lazy=True)

    def free(self) -> str:
        return self.rule("/(.|\\n)*/")

    def thought(self, thinking: Thinking) -> str:
        if thinking == "off":
            return ""
        rest = f"{self.until(THINK_END)} /\\n{{0,2}}/"
        return rest if thinking == "open" else f"({self.marks(THINK)} {rest})?"

    def analysis(self) -> str:
        """What gpt-oss may think and tell before it comes to the point."""
        turn = f'{self.marks("<|message|>")} {self.until("<|end|>")} {self.marks("<|start|>")} "assistant"'
        return f'({self.marks("<|channel|>")} "analysis" {turn})?'

    def tags(self, schema: Mapping[str, Any]) -> str:
        """Arguments as a `<parameter=...>` each. Of a string's keywords only `enum` and `const` are kept to."""
        required = schema.get("required") or ()
        parts = []
        for name, item in (schema.get("properties") or {}).items():
            is_text = isinstance(item, Mapping) and item.get("type") == "string"
            if is_text and (words := item.get("enum") or ([item["const"]] if "const" in item else None)):
                value = "(" + " | ".join(_quoted(f"{word}\n</parameter>") for word in words) + ")"
            elif is_text:
                value = self.until("\n</parameter>")
            else:
                within = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
                value = f'{self.json({**within, **(item if isinstance(item, Mapping) else {})})} "\\n</parameter>"'
            part = f'{_quoted(f"<parameter={name}>" + chr(10))} {value} "\\n"'
            parts.append(part if name in required else f"({part})?")
        return self.rule(" ".join(parts) or '""')


_Tools = Sequence[tuple[str, str]]
"""The tools' names, and the rules of their arguments."""


def _objects(rules: _Rules, form: ToolFormat, tools: _Tools, required: bool, parallel: bool) -> str:
    call = rules.rule(_any(_object(form, name, arguments) for name, arguments in tools))
    space = _quoted(form.space) if form.space != " " else "/ ?/"
    behind = f"{space} {rules.marks(form.end)}" if form.end else ""
    # Who was not taught an end behind a call was taught one call.
    return _repeated(rules, form, f"{space} {call} {behind}", required, parallel and bool(form.end))


def _list(rules: _Rules, form: ToolFormat, tools: _Tools, required: bool, parallel: bool) -> str:
    call = rules.rule(_any(_object(form, name, arguments) for name, arguments in tools))
    calls = f'{call} ("," / ?/ {call})*' if parallel else call
    end = rules.marks(form.end) if form.end else ""
    return _repeated(rules, form, f'/ ?/ "[" {calls} "]" {end}', required, parallel=False)


def _named(rules: _Rules, form: ToolFormat, tools: _Tools, required: bool, parallel: bool) -> str:
    call = rules.rule(_any(f"{_quoted(name)} {rules.marks('[ARGS]')} {arguments}" for name, arguments in tools))
    return _repeated(rules, form, call, required, parallel)


def _tagged(rules: _Rules, form: ToolFormat, tools: _Tools, required: bool, parallel: bool) -> str:
    call = rules.rule(
        _any(
            f"{_quoted(f'<function={name}>' + chr(10))} {arguments} {_quoted('</function>')}"
            for name, arguments in tools
        )
    )
    return _repeated(rules, form, f'"\\n" {call} "\\n" {rules.marks(form.end)}', required, parallel)


def _bare(rules: _Rules, form: ToolFormat, tools: _Tools, required: bool, parallel: bool) -> str:
    call = rules.rule(_any(_object(form, name, arguments) for name, arguments in tools))
    several = f'{call} (";" / ?/ {call})*' if parallel else call
    # The begin of the answer decides: what begins with a bracket is a call.
    return several if required else f'({several} | {rules.rule("/[^{](.|" + chr(92) + "n)*/")} | "")'


def _channels(rules: _Rules, form: ToolFormat, tools: _Tools, required: bool, parallel: bool) -> str:
    begin = f'{rules.marks("<|channel|>")} "commentary to=functions."'
    behind = f'/ ?/ {rules.marks("<|constrain|>")} "json" {rules.marks("<|message|>")}'
    call = f"{begin} ({_any(f'{_quoted(name)} {behind} {arguments}' for name, arguments in tools)})"
    final = f'{rules.marks("<|channel|>")} "final" {rules.marks("<|message|>")} {rules.free()}'
    return f"{rules.analysis()} ({call}{'' if required else f' | {final}'})"


_CALLS: dict[str, Callable[[_Rules, ToolFormat, _Tools, bool, bool], str]] = {
    "objects": _objects,
    "list": _list,
    "named": _named,
    "tags": _tagged,
    "bare": _bare,
    "channels": _channels,
}


def _repeated(rules: _Rules, form: ToolFormat, call: str, required: bool, parallel: bool) -> str:
    """A call behind its marker, and more of them; text before, unless calls are required, and nothing behind."""
    begin = rules.marks(form.begin)
    again = f"({'/' + chr(92) + 'n?/'} {begin} {call})*" if parallel else ""
    if required:
        return f"/ ?/ {begin} {call} {again}"
    return f"({rules.until(form.begin)} {call} {again} | {rules.free()})"


def _object(form: ToolFormat, name: str, arguments: str) -> str:
    key = f'/ ?/ "{chr(92)}"name{chr(92)}":" / ?/ {_quoted(json.dumps(name, ensure_ascii=False))} "," / ?/'
    return f'"{{" {key} {_quoted(json.dumps(form.arguments) + ":")} / ?/ {arguments} / ?/ "}}"'


def _any(alternatives: Iterable[str]) -> str:
    return " | ".join(alternatives)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    """A text in a regular expression between slashes."""
    return "".join(f"\\{char}" if char in "\\/[](){}.*+?^$|" else "\\n" if char == "\n" else char for char in text)
