"""JSON that nothing has constrained, against its schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfai.tasks.json_fit import misfit

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "required": ["name"],
}
RECURSIVE = {"$ref": "#/$defs/tree", "$defs": {"tree": TREE}}


@pytest.mark.parametrize(
    ("schema", "text", "problem"),
    [
        ({"type": "object"}, "", "is empty"),
        ({"type": "object"}, "Sure: {}", "is no JSON"),
        ({"type": "object"}, '```json\n{"a": 1}\n```', "is no JSON"),
        ({"type": "object"}, '{"a": NaN}', "is no JSON"),
        ({"type": "object"}, '{"a": 1', "is no JSON"),
        ({"type": "object"}, "[]", "no object at '/'"),
        ({}, "[" * 100_000, "nested too deep"),
        ({"type": "integer"}, "true", "no integer"),
        ({"type": ["integer", "null"]}, '"1"', "no integer or null"),
        ({"enum": [1, "a"]}, "true", "none of the values"),
        ({"const": None}, "0", "another value"),
        ({"properties": {"a": {"minimum": 3}}}, '{"a": 2}', "2 at '/a', against minimum 3"),
        ({"exclusiveMaximum": 3}, "3", "exclusiveMaximum"),
        ({"multipleOf": 5}, "7", "multipleOf"),
        ({"minLength": 2}, '"a"', "1 characters"),
        ({"type": "string", "pattern": "^a+$"}, '"aab"', "not of the form"),
        ({"type": "string", "format": "date"}, '"2026-13-01"', "not of the form"),
        ({"items": {"type": "string"}}, '["a", 1]', "no string at '/1'"),
        ({"prefixItems": [{"type": "string"}], "items": False}, '["a", 1]', "may not be there"),
        ({"maxItems": 1}, "[1, 2]", "2 items"),
        ({"required": ["a"]}, "{}", "no 'a' at '/'"),
        ({"properties": {"a": {}}, "additionalProperties": False}, '{"b": 1}', "something at '/b'"),
        ({"patternProperties": {"^x": {"type": "string"}}}, '{"xa": 1}', "no string at '/xa'"),
        ({"maxProperties": 1}, '{"a": 1, "b": 2}', "too many properties"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "1", "fits none"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "1", "fits several"),
        ({"allOf": [{"type": "number"}, {"minimum": 2}]}, "1", "against minimum"),
        (
            RECURSIVE,
            '{"name": "a", "children": [{"name": "b", "children": [{}]}]}',
            "no 'name' at '/children/0/children/0'",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(schema: dict[str, Any], text: str, problem: str) -> None:
    found = misfit(text, schema)
    assert found is not None
    assert problem in found


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object"}, ' {"a": 1}\n'),
        ({"type": "integer"}, "1.0"),
        ({"type": "number"}, "1"),
        ({}, "null"),
        ({"type": "string", "pattern": "b"}, '"abc"'),
        ({"type": "string", "pattern": "("}, '"abc"'),
        ({"properties": {"a": {"type": "string"}}}, '{"b": 1}'),
        ({"properties": {"b": {}, "a": {}}}, '{"a": 1, "b": 2}'),
        ({"$ref": "#/$defs/missing"}, "1"),
        (RECURSIVE, '{"name": "a", "children": [{"name": "b"}]}'),
        ({"exclusiveMinimum": True, "minimum": 1}, "1"),
    ],
)
def test_what_fits(schema: dict[str, Any], text: str) -> None:
    assert misfit(text, schema) is None


def test_a_pattern_that_would_take_for_ever_does_not() -> None:
    assert misfit(json.dumps("a" * 5000 + "!"), {"type": "string", "pattern": "^(a+)+$"}) is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
KEYWORDS = {
    "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null", ["string", "null"]]),
    "enum": st.lists(VALUES, min_size=1, max_size=3),
    "minimum": st.integers(-2, 2),
    "maxLength": st.integers(0, 2),
    "minItems": st.integers(0, 2),
    "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    "additionalProperties": st.booleans(),
    "maxProperties": st.integers(0, 2),
}
SCHEMAS = st.recursive(
    st.fixed_dictionaries({}, optional=KEYWORDS),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            **KEYWORDS,
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, VALUES)
def test_it_says_what_jsonschema_says(schema: dict[str, Any], value: Any) -> None:
    fits = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (misfit(json.dumps(value), schema) is None) == fits
