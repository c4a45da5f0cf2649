"""The checker says what Cloudflare's validator says. The sentences are those that cabidela 0.2.4 gives."""

from datetime import date
from typing import Any

import pytest

from cfai.errors import BadInput
from cfai.tasks.schema import Schema, types_of, validate
from cfai.tasks.text_generation import input_schema

TODAY = input_schema()
BEFORE_PARTS = input_schema(as_of=date(2026, 2, 16))
DEFAULTS = {"raw": False, "stream": False, "max_tokens": 256, "temperature": 0.6}
NONE = "oneOf at '/' not met, 0 matches: "
NO_PROMPT = "required properties at '/' are 'prompt'"
NO_MESSAGES = "required properties at '/' are 'messages'"
NO_ROLE = "required properties at '/messages/0' are 'role,content'"


def problem(schema: Schema, payload: Any) -> str:
    with pytest.raises(BadInput) as refused:
        validate(schema, payload)
    assert (refused.value.code, refused.value.status) == (5006, 400)
    return refused.value.description.removeprefix("Error: ")


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("schema", [TODAY, BEFORE_PARTS], ids=["today", "before content parts"])
@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, f"{NONE}{NO_PROMPT}, {NO_MESSAGES}"),
        ("str", f"{NONE}{NO_PROMPT}, {NO_MESSAGES}"),
        (None, f"{NONE}{NO_PROMPT}, {NO_MESSAGES}"),
        ([], f"{NONE}{NO_PROMPT}, {NO_MESSAGES}"),
        ({"messages": "x"}, f"{NONE}{NO_PROMPT}, Type mismatch of '/messages', 'array' not in 'string'"),
        ({"messages": None}, f"{NONE}{NO_PROMPT}, {NO_MESSAGES}"),
        (
            {"messages": {"role": "user"}},
            f"{NONE}{NO_PROMPT}, required properties at '/messages/role' are 'role,content'",
        ),
        ({"prompt": "a", "temperature": 6}, f"{NONE}'/temperature' must be <= 5"),
        ({"prompt": "a", "temperature": True}, f"{NONE}Type mismatch of '/temperature', 'number' not in 'boolean'"),
        ({"prompt": "a", "max_tokens": "5"}, f"{NONE}Type mismatch of '/max_tokens', 'integer' not in 'string'"),
        ({"prompt": "a", "max_tokens": 5.5}, f"{NONE}Type mismatch of '/max_tokens', 'integer' not in 'number'"),
        ({"prompt": "a", "max_tokens": 10**400}, f"{NONE}Type mismatch of '/max_tokens', 'integer' not in 'number'"),
        ({"prompt": "a", "stream": 1}, f"{NONE}Type mismatch of '/stream', 'boolean' not in 'number','integer'"),
        ({"prompt": "a", "seed": 0}, f"{NONE}'/seed' must be >= 1, {NO_MESSAGES}"),
        ({"prompt": "a", "top_p": 0}, f"{NONE}'/top_p' must be >= 0.001, {NO_MESSAGES}"),
        ({"prompt": ["a"]}, f"{NONE}Type mismatch of '/prompt', 'string' not in 'array','binary', {NO_MESSAGES}"),
        ({"prompt": {}}, f"{NONE}Type mismatch of '/prompt', 'string' not in 'object', {NO_MESSAGES}"),
        ({"prompt": ""}, f"{NONE}Length of '/prompt' must be >= 1 not met, {NO_MESSAGES}"),
        (
            {"prompt": "a", "response_format": {"type": "xml"}},
            f"{NONE}enum xml not in json_object,json_schema at '/response_format/type'",
        ),
        (
            {"messages": [], "functions": [{"name": "f"}]},
            f"{NONE}{NO_PROMPT}, required properties at '/functions/0' are 'name,code'",
        ),
    ],
)
def test_refusals_of_both_forms(schema: Schema, payload: Any, sentence: str) -> None:
    assert problem(schema, payload) == sentence


@pytest.mark.parametrize(
    ("schema", "payload", "sentence"),
    [
        (BEFORE_PARTS, {"prompt": "a", **user("x")}, "oneOf at '/' not met, 2 matches"),
        (
            BEFORE_PARTS,
            user(None),
            f"{NONE}{NO_PROMPT}, Type mismatch of '/messages/0/content', 'string' not in 'null'",
        ),
        (
            BEFORE_PARTS,
            user([{"type": "text", "text": "x"}]),
            f"{NONE}{NO_PROMPT}, Type mismatch of '/messages/0/content', 'string' not in 'array'",
        ),
        (BEFORE_PARTS, {"messages": [{"content": "x"}]}, f"{NONE}{NO_PROMPT}, {NO_ROLE}"),
        # With two kinds of content, the one that is not meant leaves its note in whatever fails afterwards.
        (
            TODAY,
            {"prompt": "a", **user("x")},
            "oneOf at '/' not met, 2 matches: Type mismatch of '/messages/0/content', 'array' not in 'string'",
        ),
        (
            TODAY,
            user(None),
            f"{NONE}{NO_PROMPT}, Type mismatch of '/messages/0/content', 'string' not in 'null', {NO_ROLE}",
        ),
        (
            TODAY,
            {"messages": [{"content": "x"}]},
            f"{NONE}{NO_PROMPT}, Type mismatch of '/messages/0/content', 'array' not in 'string', {NO_ROLE}",
        ),
        (
            TODAY,
            user([{"type": "text", "text": 5}]),
            f"{NONE}{NO_PROMPT}, Type mismatch of '/messages/0/content', 'string' not in 'array', "
            f"Type mismatch of '/messages/0/content/0/text', 'string' not in 'number','integer', {NO_ROLE}",
        ),
        (
            TODAY,
            {"messages": [], "tools": [{"name": "f", "description": "d", "parameters": {}}], "max_tokens": "5"},
            f"{NONE}Type mismatch of '/max_tokens', 'integer' not in 'string', "
            "required properties at '/tools/0/parameters' are 'type,properties', "
            "required properties at '/tools/0/function/parameters' are 'type,properties'",
        ),
    ],
)
def test_refusals_of_one_form(schema: Schema, payload: Any, sentence: str) -> None:
    assert problem(schema, payload) == sentence


@pytest.mark.parametrize("schema", [TODAY, BEFORE_PARTS], ids=["today", "before content parts"])
@pytest.mark.parametrize(
    ("payload", "option"),
    [
        ({"prompt": "a", "unknown": 1}, 0),
        ({"prompt": "a", "messages": 5}, 0),
        ({"messages": []}, 1),
        ({"messages": ["an array of strings is binary"]}, 1),
        ({"messages": [None, {}]}, 1),
        (user("x"), 1),
        ({"prompt": 5, **user("x")}, 1),
        ({"messages": [], "tools": [5, {"type": "function"}]}, 1),
    ],
)
def test_what_fits_gets_its_defaults(schema: Schema, payload: dict[str, Any], option: int) -> None:
    before = dict(payload)
    checked = validate(schema, payload)
    assert (checked.payload, checked.option) == ({**payload, **DEFAULTS}, option)
    assert list(checked.payload) == [*payload, *DEFAULTS]
    assert payload == before


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ("null",)),
        (True, ("boolean",)),
        ("a", ("string",)),
        (1, ("number", "integer")),
        (1.0, ("number", "integer")),
        (1.5, ("number",)),
        (float("nan"), ("number",)),
        (float("inf"), ("number",)),
        (10**400, ("number",)),
        ([], ("array", "binary")),
        ((1, "a"), ("array", "binary")),
        ([1, None, {}], ("array", "binary")),
        ([1, True], ("array",)),
        ({}, ("object",)),
        (b"bytes", ("object",)),
    ],
)
def test_types_of(value: Any, names: tuple[str, ...]) -> None:
    assert types_of(value) == names


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (5.0, "5"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (10**400, "Infinity"),
        (-(10**400), "-Infinity"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ({"a": 1}, "[object Object]"),
        ([1, None, ["a", {}]], "1,,a,[object Object]"),
        ("x" * 300, "x" * 200 + "..."),
    ],
)
def test_an_enum_shows_the_value_as_javascript_does(value: Any, shown: str) -> None:
    assert problem({"enum": ["a", "b"]}, value) == f"enum {shown} not in a,b at '/'"


def test_a_refusal_can_be_sent_whatever_it_quotes() -> None:
    schema = {"type": "array", "items": {"enum": ["a"]}}
    assert problem(schema, {"\ud800": "\udfff"}) == "enum \ufffd not in a at '/\ufffd'"
    assert problem(schema, {"k" * 999: "b"}) == f"enum b not in a at '/{'k' * 200}'"


def test_an_enum_tells_numbers_from_booleans() -> None:
    assert problem({"enum": [1, 2]}, True) == "enum true not in 1,2 at '/'"


def test_any_of_needs_one_match_and_stops_there() -> None:
    schema = {"type": "object", "anyOf": [{"required": ["a"], "properties": {"a": {}}}, BEFORE_PARTS]}
    assert validate(schema, {"a": 1, "prompt": 5}).option == 0
    assert validate(schema, {"prompt": "a"}).option == 1
    assert problem(schema, {}) == (
        f"anyOf at '/' not met: required properties at '/' are 'a', {NO_PROMPT}, {NO_MESSAGES}, "
        "oneOf at '/' not met, 0 matches"
    )


def test_a_choice_further_in_leaves_the_property_out() -> None:
    schema = {"properties": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}, "required": ["x"]}
    assert validate(schema, {"x": None}).payload == {"x": None}
    assert problem(schema, {"x": "a"}) == (
        "required properties at '/' are 'x': "
        "Type mismatch of '/x', 'integer' not in 'string', Type mismatch of '/x', 'null' not in 'string'"
    )


def test_two_text_parts_are_one_match() -> None:
    validate(TODAY, user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))


def test_lengths_are_counted_in_utf16() -> None:
    schema = {"type": "string", "maxLength": 2, "minLength": 2}
    assert validate(schema, "\N{EARTH GLOBE AMERICAS}").payload == "\N{EARTH GLOBE AMERICAS}"
    assert problem(schema, "abc") == "Length of '/' must be <= 2"
    assert problem(schema, "a") == "Length of '/' must be >= 2 not met"


@pytest.mark.parametrize(
    ("others", "payload", "sentence"),
    [
        (True, {"a": 1, "b": 2}, None),
        (False, {"a": 1}, None),
        (False, {"b": 2, "c": 3}, "Additional or unevaluated properties '/x/b, /x/c' at '/x' not allowed"),
        ({"type": "string"}, {"a": 1, "b": "text"}, None),
        ({"type": "string"}, {"b": 5}, "Type mismatch of '/b', 'string' not in 'number','integer'"),
        # The validator finds such a property by what follows the last slash, so it finds nothing here.
        ({"type": "object", "required": ["k"]}, {"b/c": {}}, "required properties at '/c' are 'k'"),
        (False, "no object", None),
    ],
)
def test_additional_properties(others: Any, payload: Any, sentence: str | None) -> None:
    schema = {"properties": {"x": {"type": "object", "properties": {"a": {}}, "additionalProperties": others}}}
    if sentence is None:
        validate(schema, {"x": payload})
    else:
        assert problem(schema, {"x": payload}) == sentence


def test_defaults_go_into_objects_and_arrays_and_leave_the_input_alone() -> None:
    point = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"default": 0}, "z": {"default": 1}}}
    schema = {"properties": {"points": {"type": "array", "items": point}, "at": point}}
    payload: dict[str, Any] = {"points": ({"x": 1}, {"x": 2, "y": 3}, "no object", {})}
    assert validate(schema, payload).payload == {
        "points": [{"x": 1, "y": 0, "z": 1}, {"x": 2, "y": 3, "z": 1}, "no object", {"y": 0, "z": 1}],
        "at": {"y": 0, "z": 1},
    }
    assert payload == {"points": ({"x": 1}, {"x": 2, "y": 3}, "no object", {})}


def test_defaults_of_an_option_that_does_not_fit_are_dropped() -> None:
    schema = {
        "properties": {
            "x": {
                "oneOf": [
                    {"type": "object", "properties": {"a": {"default": 1}, "b": {}}, "required": ["b"]},
                    {"type": "object", "properties": {"c": {}, "d": {"default": 2}}, "required": ["c"]},
                ]
            }
        }
    }
    assert validate(schema, {"x": {"c": 0}}).payload == {"x": {"c": 0, "d": 2}}
    assert validate(schema, {"x": {}}).payload == {"x": {}}
    assert validate(schema, {"x": {"b": 0, "c": 0}}).payload == {"x": {"b": 0, "c": 0}}


def test_input_nested_deeper_than_the_stack_is_no_problem() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert problem(TODAY, {"prompt": deep}) == (
        f"{NONE}Type mismatch of '/prompt', 'string' not in 'array', {NO_MESSAGES}"
    )
    while deep:  # take it apart, or its end would be found by recursion
        deep = deep.pop()


@pytest.mark.parametrize(
    ("payload", "hint"),
    [
        ({"promt": "x"}, 'unknown key "promt", did you mean "prompt"?'),
        ({"message": [], "x": 1}, 'unknown key "message", did you mean "messages"?'),
        ({"prompt": 1, "max_token": 2}, 'unknown key "max_token", did you mean "max_tokens"?'),
        ({"prompt\ud800": "x"}, 'unknown key "prompt\ufffd", did you mean "prompt"?'),
        ({"text": "x"}, ""),
        ({"prompt": 1}, ""),
        ({1: "x"}, ""),
        ("prompt", ""),
    ],
)
def test_a_misspelt_key_is_told_beside_the_message(payload: Any, hint: str) -> None:
    with pytest.raises(BadInput) as refused:
        validate(TODAY, payload)
    assert refused.value.hint == hint
    assert "unknown" not in str(refused.value)
