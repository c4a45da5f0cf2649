"""Calls and thinking, read out of what models write."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable
from typing import Any

import pytest

from cfai import weights
from cfai.catalog import Catalog
from cfai.tasks.output_parser import OutputParser
from cfai.tasks.parts import Answer, CallArguments, CallStart, Part, Reasoning, Text, TokenLogprob
from cfai.tasks.tool_formats import BARE, CHANNELS, HERMES, Thinking, ToolFormat, tool_format
from cfai.tasks.tools import Tool

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [Tool("weather", parameters=CITY), Tool("ping")]

DEMO = tool_format("{{ tools }}<|tool_call|>{{ ' ' }}{")
LIST = tool_format("{{ tools }}[TOOL_CALLS]")
NAMED = tool_format("{{ tools }}[TOOL_CALLS]{{ name }}[ARGS]")
TAGS = tool_format("{{ tools }}<function= <parameter=")
PHI = tool_format("{{ tools }}<|tool_call|>[{{ call }}]<|/tool_call|>")


def parse(form: ToolFormat | None, pieces: Iterable[str], thinking: Thinking = "off") -> list[Part]:
    parser = OutputParser(form, tools=TOOLS, thinking=thinking)
    return [part for piece in pieces for part in parser.put(piece)] + parser.end()


def told(parts: Iterable[Part]) -> tuple[str, str, list[tuple[str, str]]]:
    """Text, thinking and calls of an answer."""
    answer = Answer.of(parts, "stop")
    return answer.text, answer.reasoning, [(call.name, call.arguments) for call in answer.calls]


PARIS = '{"city": "Paris"}'

ANSWERS: list[tuple[ToolFormat, str, str, list[tuple[str, str]]]] = [
    (HERMES, f'<tool_call>\n{{"name": "weather", "arguments": {PARIS}}}\n</tool_call>', "", [("weather", PARIS)]),
    (
        HERMES,
        f'I look. <tool_call>\n{{"name": "weather", "arguments": {PARIS}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>\n',
        "I look. ",
        [("weather", PARIS), ("ping", "{}")],
    ),
    (HERMES, f'<tool_call>{{"name": "weather", "arguments": {PARIS}}}', "", [("weather", PARIS)]),
    (HERMES, f'<tool_call>{{"arguments": {PARIS}, "name": "weather"}}</tool_call>', "", [("weather", PARIS)]),
    (HERMES, '<tool_call>{"name": "ping"}</tool_call>', "", [("ping", "{}")]),
    (HERMES, '<tool_call>{"name": "ping", "arguments": null}</tool_call> Done.', " Done.", [("ping", "{}")]),
    (
        HERMES,
        '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Paris\\"}"}</tool_call>',
        "",
        [("weather", PARIS)],
    ),
    (
        HERMES,
        '<tool_call>{"name": "weather", "arguments": {"city": "</tool_call> }]\\" ü"}}</tool_call>',
        "",
        [("weather", '{"city": "</tool_call> }]\\" ü"}')],
    ),
    (DEMO, f'<|tool_call|> {{"name": "weather", "arguments": {PARIS}}}', "", [("weather", PARIS)]),
    (BARE, f'{{"name": "weather", "parameters": {PARIS}}}', "", [("weather", PARIS)]),
    (BARE, f'<|python_tag|>{{"name": "weather", "parameters": {PARIS}}}', "", [("weather", PARIS)]),
    (
        BARE,
        f'{{"name": "weather", "parameters": {PARIS}}}; {{"name": "ping", "parameters": {{}}}}',
        "",
        [("weather", PARIS), ("ping", "{}")],
    ),
    (
        LIST,
        f'[TOOL_CALLS] [{{"name": "weather", "arguments": {PARIS}}}, {{"name": "ping", "arguments": {{}}}}]',
        "",
        [("weather", PARIS), ("ping", "{}")],
    ),
    (PHI, f'<|tool_call|>[{{"name": "weather", "arguments": {PARIS}}}]<|/tool_call|>', "", [("weather", PARIS)]),
    (NAMED, f"[TOOL_CALLS]weather[ARGS]{PARIS}[TOOL_CALLS]ping[ARGS]{{}}", "", [("weather", PARIS), ("ping", "{}")]),
    (NAMED, f"One moment.[TOOL_CALLS]weather[CALL_ID]abc123DEF[ARGS]{PARIS}", "One moment.", [("weather", PARIS)]),
    (
        TAGS,
        "<tool_call>\n<function=weather>\n<parameter=city>\nParis\nand <b>\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
        "",
        [("weather", '{"city": "Paris\\nand <b>", "days": 2}')],
    ),
    (TAGS, "<tool_call>\n<function=ping>\n</function>\n</tool_call>", "", [("ping", "{}")]),
    (
        CHANNELS,
        f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{PARIS}<|call|>",
        "",
        [("weather", PARIS)],
    ),
    (
        CHANNELS,
        f"<|start|>assistant to=functions.weather<|channel|>commentary json<|message|>{PARIS}",
        "",
        [("weather", PARIS)],
    ),
]


@pytest.mark.parametrize(("form", "answer", "text", "calls"), ANSWERS)
def test_calls_are_read_however_the_answer_is_cut(
    form: ToolFormat, answer: str, text: str, calls: list[tuple[str, str]]
) -> None:
    assert told(parse(form, [answer])) == (text, "", calls)
    assert told(parse(form, answer)) == (text, "", calls)
    rng = random.Random(0)
    for _ in range(50):
        cuts = sorted(rng.sample(range(1, len(answer)), min(6, len(answer) - 1)))
        pieces = [answer[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(answer)])]
        assert told(parse(form, pieces)) == (text, "", calls)


BROKEN = [
    (HERMES, "<tool_call>"),
    (HERMES, "<tool_call>\nno JSON\n</tool_call>"),
    (HERMES, '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"arguments": {"a": 1}}</tool_call>'),
    (HERMES, '<tool_call>{"name": 1, "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "wea'),
    (HERMES, "a <tool_ca"),
    (HERMES, "<tool_call><tool_call>x"),
    (DEMO, "<|tool_call|> Paris"),
    (BARE, '{"answer": 42}'),
    (BARE, "{"),
    (LIST, "[TOOL_CALLS] none"),
    (NAMED, "[TOOL_CALLS] it is, what it is"),
    (NAMED, "[TOOL_CALLS]unknown[ARGS]{}"),
    (TAGS, "<tool_call>\nweather\n</tool_call>"),
    (TAGS, "<tool_call>\n<function=unknown>\n</function>\n</tool_call>"),
]


@pytest.mark.parametrize(("form", "answer"), BROKEN)
def test_a_broken_call_is_text_and_none_of_it_is_lost(form: ToolFormat, answer: str) -> None:
    assert told(parse(form, [answer])) == (answer, "", [])
    assert told(parse(form, answer)) == (answer, "", [])


def test_a_call_behind_a_broken_one_is_read() -> None:
    answer = '<tool_call>oh <tool_call>{"name": "ping", "arguments": {}}</tool_call>'
    assert told(parse(HERMES, answer)) == ("<tool_call>oh ", "", [("ping", "{}")])


def test_a_call_that_is_cut_off_keeps_what_was_told() -> None:
    answer = '<tool_call>{"name": "weather", "arguments": {"city": "Par'
    assert told(parse(HERMES, answer)) == ("", "", [("weather", '{"city": "Par')])


def test_any_text_comes_out_as_it_went_in() -> None:
    rng = random.Random(0)
    bits = [
        "<tool_call>",
        "</tool_call>",
        "{",
        "}",
        '"name"',
        ":",
        '"x"',
        "[",
        "]",
        ",",
        "<think>",
        "</think>",
        " ",
        "\n",
    ]
    bits += ["[TOOL_CALLS]", "[ARGS]", "<function=", ">", "</function>", "<|tool_call|>", "a", "ü", "<"]
    for _ in range(3000):
        pieces = rng.choices(bits, k=rng.randint(1, 12))
        for form in (HERMES, DEMO, BARE, LIST, NAMED, TAGS):
            assert told(parse(form, pieces)) == ("".join(pieces), "", []), (form.kind, pieces)


def test_pieces_pass_unchanged_and_at_once() -> None:
    parser = OutputParser(HERMES, tools=TOOLS)
    for piece in ("It", " is", " a", " < b", " and", "\n", "{", " c"):
        assert parser.put(piece) == [Text(piece)]
    assert parser.put(" <") == [Text(" ")]
    assert parser.put("tool") == []
    assert parser.put("box>") == [Text("<"), Text("tool"), Text("box>")]
    assert parser.end() == []


def test_a_name_and_arguments_are_told_as_they_come() -> None:
    parser = OutputParser(HERMES, tools=TOOLS)
    assert parser.put('<tool_call>\n{"name": "wea') == []
    [start] = parser.put('ther", ')
    assert start == CallStart(0, start.id, "weather")  # type: ignore[union-attr]
    assert parser.put('"arguments": {"ci') == [CallArguments(0, '{"ci')]
    assert parser.put('ty": "Pa') == [CallArguments(0, 'ty": "Pa')]
    assert parser.put('ris"}}\n') == [CallArguments(0, 'ris"}')]
    assert parser.put("</tool_call>") == []
    assert parser.end() == []


def test_ids_are_unique_and_such_as_the_template_takes() -> None:
    def ids(form: ToolFormat, answer: str) -> list[str]:
        return [part.id for part in parse(form, [answer]) if isinstance(part, CallStart)]

    two = '<tool_call>{"name": "ping"}</tool_call>' * 2
    first, second = ids(HERMES, two)
    assert first != second
    assert re.fullmatch(r"call_\w+", first)
    assert re.fullmatch(r"[A-Za-z0-9]{9}", ids(NAMED, "[TOOL_CALLS]ping[ARGS]{}")[0])


def test_logprobs_stay_with_their_text() -> None:
    def logprob(text: str) -> TokenLogprob:
        return TokenLogprob(text, text.encode(), -1.0)

    parser = OutputParser(HERMES, tools=TOOLS)
    assert parser.put("a", (logprob("a"),)) == [Text("a", (logprob("a"),))]
    assert parser.put("<", (logprob("<"),)) == []
    assert parser.put("b", (logprob("b"),)) == [Text("<", (logprob("<"),)), Text("b", (logprob("b"),))]


@pytest.mark.parametrize(
    ("answer", "thinking", "text", "reasoning"),
    [
        ("<think>\nhm </b>\n</think>\n\nYes.", "on", "Yes.", "\nhm </b>\n"),
        ("hm\n</think>\n\nYes.", "open", "Yes.", "hm\n"),
        ("Yes.", "on", "Yes.", ""),
        ("a <think> b", "on", "a <think> b", ""),
        ("<think>a</think>b", "off", "<think>a</think>b", ""),
        ("<think>never ends", "on", "", "never ends"),
        ("<thi", "on", "<thi", ""),
    ],
)
def test_thinking_is_told_from_the_answer(answer: str, thinking: Thinking, text: str, reasoning: str) -> None:
    for form in (None, HERMES):
        assert told(parse(form, [answer], thinking)) == (text, reasoning, [])
        assert told(parse(form, answer, thinking)) == (text, reasoning, [])


def test_a_call_may_follow_thinking() -> None:
    answer = '<think>\nI call <tool_call>.\n</think>\n\n<tool_call>\n{"name": "ping"}\n</tool_call>'
    assert told(parse(HERMES, answer, "on")) == ("", "\nI call <tool_call>.\n", [("ping", "{}")])


def test_channels_are_thinking_text_and_calls() -> None:
    answer = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>It is 3 < 4.<|return|>"
    )
    assert told(parse(CHANNELS, answer)) == ("I look.It is 3 < 4.", "Hm.", [])
    pieces = re.split(r"(<\|\w+\|>|(?<= ))", answer)
    parts = parse(CHANNELS, pieces)
    assert [part for part in parts if isinstance(part, Reasoning)] == [Reasoning("Hm.")]
    assert parts[1:3] == [Text("I "), Text("look.")]


def test_the_demo_models_own_template_is_known() -> None:
    demo = weights.find(Catalog.builtin().get(weights.DEMO_MODEL))
    form = tool_format((demo / "chat_template.jinja").read_text("utf-8"))
    assert (form.kind, form.begin, form.is_taught) == ("objects", "<|tool_call|>", True)
    assert "<|tool_call|>" in form.marks


@pytest.mark.parametrize(
    ("template", "kind", "is_taught"),
    [
        (None, "objects", False),
        ("{{ messages }}", "objects", False),
        ('{%- if tools %}<tools></tools><tool_call>\n{"name"', "objects", True),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", "list", True),
        ('{% if tools %}<|start_header_id|>{"name": x, "parameters": y}', "bare", True),
        ("{% if tools %}<|channel|>commentary to=functions.x", "channels", True),
        ("{% if tools %}some format that nobody has seen", "objects", False),
    ],
)
def test_the_template_says_how_calls_are_written(template: str | None, kind: str, is_taught: bool) -> None:
    form = tool_format(template)
    assert (form.kind, form.is_taught) == (kind, is_taught)


def test_a_model_that_knows_no_tools_is_told_of_them() -> None:
    tool = TOOLS[0].to_json()
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "dry", "tool_call_id": "c"},
    ]
    system, user, assistant, result = HERMES.messages(messages, [tool])
    assert system["role"] == "system"
    assert system["content"].startswith("Be brief.\n\n")
    assert json.dumps(tool) in system["content"]
    assert user == messages[1]
    assert told(parse(HERMES, [assistant["content"]])) == ("", "", [("weather", '{"city": "Zürich"}')])
    assert result == {"role": "user", "content": "<tool_response>\ndry\n</tool_response>"}
    assert HERMES.messages(messages[1:2], []) == messages[1:2]
    assert HERMES.messages(messages[1:2], [tool])[0]["role"] == "system"
    assert DEMO.messages(messages, [tool]) == messages
