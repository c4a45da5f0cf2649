"""Which schemas can be enforced, and what is said of those that cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from cfai.errors import BadInput
from cfai.tasks.grammars import check_grammar, json_grammar, tool_grammar
from cfai.tasks.tool_formats import BARE, CHANNELS, HERMES, ToolFormat, tool_format
from cfai.tasks.tools import Tool
from tests.schemas import SCHEMAS

CALL, END = 256, 257


class Bytes:
    """A tokenizer with a token for every byte, one that begins a call and one that ends an answer."""

    tokens = [*(bytes([byte]) for byte in range(256)), b"\xff<|tool_call|>", b"\xff</s>"]  # noqa: RUF012
    special_token_ids = (CALL, END)
    eos_token_id = END
    bos_token_id = None

    def __call__(self, text: bytes) -> list[int]:
        return [*text]


@pytest.fixture(scope="module")
def tokens() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(Bytes()), eos_token=END)


def fits(tokens: LLTokenizer, grammar: str, text: str) -> bool:
    matcher = LLMatcher(tokens, grammar)
    assert not matcher.is_error(), matcher.get_error()
    ids: list[int] = []
    for at, part in enumerate(text.split("<|tool_call|>")):
        ids += ([CALL] if at else []) + [*part.encode()]
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_of_any_usual_kind_is_enforced(name: str) -> None:
    assert check_grammar(json_grammar(SCHEMAS[name]))


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ('{"city":"Paris"}', True),
        ('{"city": "Paris"}', True),
        (' { "city" : "Paris" }', True),
        ('{"city":  "Paris"}', False),
        ('{"city":\n"Paris"}', False),
        ('{"city": 1}', False),
        ("{}", False),
        ('{"city": "Paris", "more": 1}', False),
        ('{"city": "\\ud83d"}', False),
    ],
)
def test_json_has_one_space_at_most_between_its_tokens(tokens: LLTokenizer, text: str, is_allowed: bool) -> None:
    assert fits(tokens, json_grammar(SCHEMAS["one property"]), text) is is_allowed


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"not": {"type": "string"}}, "'/not'"),
        ({"type": "object", "properties": {"x": {"uniqueItems": True}}}, "'/properties/x/uniqueItems'"),
        ({"anyOf": [{"if": {}, "then": {}}]}, "'/anyOf/0/if'"),
        ({"type": "foo"}, "'/type': Invalid type: foo"),
        ({"$ref": "#/$defs/none"}, "Pointer '/$defs/none' does not exist"),
        ({"$ref": "https://example.com/schema"}, "https://example.com/schema"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems"),
        ({"type": "object", "minProperties": 1}, "minProperties"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "'a' is unsatisfiable"),
        ({"oneOf": [{"type": "object"}, {"type": "object", "title": "too"}]}, "'/oneOf': the branches"),
        (False, "allows nothing"),
        ({"type": "array", "items": {"type": "integer", "multipleOf": 1234567}}, "'/items/multipleOf'"),
        ({"type": "number", "multipleOf": 0.01}, "'/multipleOf'"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused_with_the_place(schema: Any, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        json_grammar(schema)
    assert problem in str(caught.value)
    assert caught.value.code == 5006


def test_a_schema_deeper_than_any_program_writes_is_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadInput, match="deep"):
        json_grammar(schema)


def test_what_means_nothing_is_passed_over(tokens: LLTokenizer) -> None:
    schema = {"type": "array", "uniqueItems": False, "x-mine": {"not": 1}, "title": "T", "items": {"format": "mine"}}
    assert fits(tokens, json_grammar(schema), '["a", 1]')


def test_a_schema_cannot_loosen_the_white_space(tokens: LLTokenizer) -> None:
    grammar = json_grammar({"type": "array", "x-guidance": {"whitespace_pattern": "[ ]*"}})
    assert not fits(tokens, grammar, "[   1]")


@pytest.mark.parametrize(
    ("more", "is_allowed"),
    [
        ({}, False),
        ({"additionalProperties": True}, True),
        ({"patternProperties": {"^[a-z]+$": {}}}, True),
        ({"required": ["city", "country"]}, True),
    ],
)
def test_an_object_has_no_properties_that_nobody_asked_for(
    tokens: LLTokenizer, more: dict[str, Any], is_allowed: bool
) -> None:
    grammar = json_grammar({"type": "object", "properties": {"city": {"type": "string"}}, **more})
    assert fits(tokens, grammar, '{"city":"Paris","country":"France"}') is is_allowed


def test_an_object_described_in_two_places_has_the_properties_of_both(tokens: LLTokenizer) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string"}}}
    grammar = json_grammar({**city, "allOf": [{"properties": {"country": {}}}]})
    assert fits(tokens, grammar, '{"country":"France","city":"Paris"}')


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29 2000-02-29 2023-02-28 1999-12-31", "2023-02-29 1900-02-29 0000-01-01 2023-04-31"),
        ("time", "23:59:59Z 00:00:00.25+12:30", "23:59:60Z 00:00:00z 00:00:00 24:00:00Z"),
        ("date-time", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z 2024-01-01t00:00:00Z 2024-01-01T00:00:60Z"),
    ],
)
def test_a_day_and_a_time_are_such_as_every_program_reads(tokens: LLTokenizer, form: str, good: str, bad: str) -> None:
    grammar = json_grammar({"type": "string", "format": form})
    assert all(fits(tokens, grammar, json.dumps(text)) for text in good.split())
    assert not any(fits(tokens, grammar, json.dumps(text)) for text in bad.split())


def test_more_patterns_at_once_than_memory_is_there_for_are_refused(tokens: LLTokenizer) -> None:
    many = {"allOf": [{"type": "string", "pattern": f".*{number}.*"} for number in range(30)]}
    for schema in (many, {"$defs": {"a": many}, "properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}]}}}):
        with pytest.raises(BadInput, match="asks one value for more than 8 patterns"):
            json_grammar(schema)
    tool = Tool("find", parameters={"type": "object", "properties": {"x": many}})
    assert fits(tokens, tool_grammar(BARE, [tool]), '{"name": "find", "parameters": {"x": 1}}')


@pytest.mark.parametrize("far", ["maximum", "exclusiveMaximum"])
def test_a_bound_that_excludes_0_does(tokens: LLTokenizer, far: str) -> None:
    grammar = json_grammar({"type": "number", "exclusiveMinimum": 0, far: 0.5})
    assert fits(tokens, grammar, "0.25") and not fits(tokens, grammar, "0") and not fits(tokens, grammar, "0.0")
    near = far.replace("Max", "Min").replace("max", "min")
    grammar = json_grammar({"type": "number", "exclusiveMaximum": 0, near: -0.5})
    assert fits(tokens, grammar, "-0.25") and not fits(tokens, grammar, "-0") and not fits(tokens, grammar, "0")


def test_thinking_may_come_before_json(tokens: LLTokenizer) -> None:
    schema = {"type": "integer"}
    assert fits(tokens, json_grammar(schema, thinking="on"), "<think>a < b</think>\n\n12")
    assert fits(tokens, json_grammar(schema, thinking="on"), "12")
    assert fits(tokens, json_grammar(schema, thinking="open"), "hm.\n</think>\n\n12")
    assert not fits(tokens, json_grammar(schema), "<think>a</think>12")
    channels = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>12"
    assert fits(tokens, json_grammar(schema, form=CHANNELS), channels)


ADD = Tool(
    "add",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "why": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    },
)
PING = Tool("ping", parameters={"properties": {}, "additionalProperties": False})

DEMO = tool_format("{{ tools }}<|tool_call|>{{ ' ' }}{")
LIST = tool_format("{{ tools }}[TOOL_CALLS]")
NAMED = tool_format("{{ tools }}[TOOL_CALLS]{{ name }}[ARGS]")
TAGS = tool_format("{{ tools }}<function= <parameter=")

WRITTEN: list[tuple[ToolFormat, str, str]] = [
    (
        HERMES,
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
        '\n<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>',
    ),
    (DEMO, '<|tool_call|> {"name": "add", "arguments": {"a": 1}}', ""),
    (LIST, '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}]', ""),
    (LIST, '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "ping", "arguments": {}}]', ""),
    (NAMED, '[TOOL_CALLS]add[ARGS]{"a": 1}', "[TOOL_CALLS]ping[ARGS]{}"),
    (BARE, '{"name": "add", "parameters": {"a": 1}}', '; {"name": "ping", "parameters": {}}'),
    (
        TAGS,
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n"
        '<parameter=why>\nsaid "so"\n</parameter>\n</function>\n</tool_call>',
        "\n<tool_call>\n<function=ping>\n</function>\n</tool_call>",
    ),
    (
        CHANNELS,
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
        '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}',
        "",
    ),
]


@pytest.mark.parametrize(("form", "call", "more"), WRITTEN, ids=lambda value: getattr(value, "kind", ""))
def test_calls_are_allowed_as_the_model_was_taught_to_write_them(
    tokens: LLTokenizer, form: ToolFormat, call: str, more: str
) -> None:
    specials = {"<|tool_call|>": CALL}
    required = tool_grammar(form, [ADD, PING], specials=specials)
    free = tool_grammar(form, [ADD, PING], required=False, specials=specials)
    assert fits(tokens, required, call + more)
    assert fits(tokens, free, call + more)
    assert not fits(tokens, required, "It is 3.")
    assert not fits(tokens, required, call.replace("add", "sub"))
    text = "<|channel|>final<|message|>It is 3." if form is CHANNELS else "It is 3."
    assert fits(tokens, free, text)
    if more:
        assert not fits(tokens, tool_grammar(form, [ADD, PING], parallel=False, specials=specials), call + more)


@pytest.mark.parametrize("form", [HERMES, DEMO])
def test_nothing_but_other_calls_may_follow_a_call(tokens: LLTokenizer, form: ToolFormat) -> None:
    call = f'{form.begin}{form.space}{{"name": "ping", "arguments": {{}}}}{form.space if form.end else ""}{form.end}'
    grammar = tool_grammar(form, [PING], required=False, specials={"<|tool_call|>": CALL})
    assert fits(tokens, grammar, call)
    assert fits(tokens, grammar, f"I look. {call}")
    assert not fits(tokens, grammar, f"{call} I looked.")
    assert fits(tokens, grammar, call + "\n" + call) is bool(form.end)  # the other one was taught one call


def test_arguments_fit_the_tools_own_schema(tokens: LLTokenizer) -> None:
    grammar = tool_grammar(HERMES, [ADD])
    call = '<tool_call>\n{"name": "add", "arguments": %s}\n</tool_call>'
    assert fits(tokens, grammar, call % '{"a": 1, "why": "b"}')
    for wrong in ('{"a": "1"}', "{}", '{"a": 1, "b": 2}'):
        assert not fits(tokens, grammar, call % wrong)


def test_a_tool_is_not_refused_for_what_cannot_be_enforced_of_it(tokens: LLTokenizer) -> None:
    tags = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    tool = Tool("tag", parameters={"type": "object", "properties": {"tags": tags}, "required": ["tags"]})
    call = '<tool_call>\n{"name": "tag", "arguments": %s}\n</tool_call>'
    assert fits(tokens, tool_grammar(HERMES, [tool]), call % json.dumps({"tags": ["a"]}))
    assert not fits(tokens, tool_grammar(HERMES, [tool]), call % json.dumps({"tags": [1]}))


def test_a_grammar_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be enforced"):
        check_grammar("start: nowhere")


@pytest.mark.parametrize("form", [HERMES, BARE, tool_format("{{ tools }} <|tool_call|>")])
def test_an_answer_that_calls_nothing_fits_its_schema(tokens: LLTokenizer, form: ToolFormat) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    grammar = tool_grammar(
        form, [Tool("time", "", city)], required=False, answer=city, specials={"<|tool_call|>": CALL}
    )
    called = f'{{"name": "time", "{form.arguments}": {{"city": "Paris"}}}}'
    assert fits(tokens, grammar, '{"city": "Paris"}')
    assert fits(tokens, grammar, f"{form.begin}{form.space}{called}{form.space if form.end else ''}{form.end}")
    assert not fits(tokens, grammar, "It is noon.")
