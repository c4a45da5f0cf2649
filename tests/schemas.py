"""JSON schemas of many kinds, for answers that must fit them."""

from __future__ import annotations

from typing import Any

__all__ = ["SCHEMAS"]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}


def _nested(depth: int) -> dict[str, Any]:
    return _object(inner=_nested(depth - 1), name=_TEXT) if depth else _object(leaf=_WHOLE)


_TREE = {
    "type": "object",
    "properties": {"value": _WHOLE, "children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["value", "children"],
    "additionalProperties": False,
}
_LINKED = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"value": _TEXT, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
}
_SHAPE = {
    "oneOf": [
        _object(kind={"const": "circle"}, radius={"type": "number"}),
        _object(kind={"const": "square"}, side={"type": "number"}),
        _object(kind={"enum": ["line", "ray"]}, angle=_WHOLE),
    ]
}

SCHEMAS: dict[str, dict[str, Any]] = {
    # any JSON, and what json_object asks for
    "anything": {},
    "an object": {"type": "object"},
    "an array": {"type": "array"},
    "a string": _TEXT,
    "a number": {"type": "number"},
    "an integer": _WHOLE,
    "a boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "several types": {"type": ["string", "integer", "null"]},
    "nullable": _object(a={"type": ["string", "null"]}, b={"anyOf": [_WHOLE, {"type": "null"}]}),
    # objects
    "an empty object": {"type": "object", "properties": {}, "additionalProperties": False},
    "one property": _object(city=_TEXT),
    "many properties": _object(**{f"field_{number}": _WHOLE for number in range(12)}),
    "optional properties": {"type": "object", "properties": {"a": _TEXT, "b": _WHOLE}, "additionalProperties": False},
    "some required": {
        "type": "object",
        "properties": {"a": _TEXT, "b": _WHOLE, "c": {"type": "boolean"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    "open": {"type": "object", "properties": {"a": _WHOLE}, "required": ["a"]},
    "typed extras": {"type": "object", "properties": {"a": _TEXT}, "additionalProperties": _WHOLE},
    "a map": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "required without a schema": {"type": "object", "required": ["here"]},
    "few properties": {"type": "object", "additionalProperties": _WHOLE, "maxProperties": 2},
    "patterned names": {
        "type": "object",
        "patternProperties": {"^x_[a-z]+$": _WHOLE},
        "additionalProperties": False,
    },
    "nested": _object(person=_object(name=_TEXT, address=_object(street=_TEXT, number=_WHOLE))),
    "deep": _nested(8),
    "unicode names": _object(**{"Straße": _TEXT, "名前": _TEXT, "🙂": _WHOLE, 'with "quotes"': _WHOLE}),
    # arrays
    "strings": {"type": "array", "items": _TEXT},
    "at least three": {"type": "array", "items": _WHOLE, "minItems": 3},
    "at most two": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    "exactly four": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 4, "maxItems": 4},
    "a tuple": {"type": "array", "prefixItems": [_TEXT, _WHOLE], "items": False, "minItems": 2},
    "a matrix": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "minItems": 2,
        "maxItems": 2,
    },
    "objects in a list": _object(people={"type": "array", "items": _object(name=_TEXT, age=_WHOLE), "minItems": 1}),
    # choices
    "an enum": {"enum": ["red", "green", "blue"]},
    "a mixed enum": {"enum": ["one", 2, None, True, {"three": [3]}]},
    "a long enum": {"enum": [f"a rather long choice of words, number {number}" for number in range(120)]},
    "a unicode enum": {"type": "string", "enum": ["北京", "東京", "Zürich", "🙂"]},
    "a const": {"const": {"version": [1, 0], "name": "cfai"}},
    "anyOf": {"anyOf": [_object(a=_WHOLE), _object(b=_TEXT), {"type": "null"}]},
    "anyOf of unequal length": {"anyOf": [{"type": "boolean"}, {"const": "x" * 300}, _nested(5)]},
    "oneOf of types": {"oneOf": [_TEXT, _WHOLE, {"type": "array", "items": _TEXT}]},
    "oneOf with a tag": _SHAPE,
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"a": _WHOLE}, "required": ["a"]},
            {"properties": {"b": _TEXT}, "required": ["b"]},
        ]
    },
    # references
    "defs": {**_object(home={"$ref": "#/$defs/place"}, work={"$ref": "#/$defs/place"}), "$defs": {"place": _nested(1)}},
    "a tree": _TREE,
    "a linked list": _LINKED,
    "definitions": {**_object(a={"$ref": "#/definitions/n"}), "definitions": {"n": {"type": "integer", "minimum": 5}}},
    # numbers
    "bounds": {"type": "integer", "minimum": 3, "maximum": 17},
    "negative": {"type": "integer", "maximum": -100},
    "exclusive": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "a small interval": {"type": "number", "minimum": 0.25, "maximum": 0.375},
    "a multiple": {"type": "integer", "multipleOf": 7},
    "a price": _object(price={"type": "number", "minimum": 0}, currency={"enum": ["EUR", "USD"]}),
    # strings
    "short": {"type": "string", "maxLength": 5},
    "long": {"type": "string", "minLength": 12},
    "of some length": {"type": "string", "minLength": 3, "maxLength": 6},
    "a pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    "a pattern with an end": {"type": "string", "pattern": "^a+b$"},
    "a pattern of brackets": {"type": "string", "pattern": "^[}{,:]{1,9}$"},
    "a pattern anywhere": {"type": "string", "pattern": "cf(ai)+"},
    "a date": {"type": "string", "format": "date"},
    "a moment": {"type": "string", "format": "date-time"},
    "an e-mail": {"type": "string", "format": "email"},
    "a uuid": {"type": "string", "format": "uuid"},
    "an address": {"type": "string", "format": "ipv4"},
    "a host": {"type": "string", "format": "hostname"},
    "a link": {"type": "string", "format": "uri"},
    "a newer address": {"type": "string", "format": "ipv6"},
    "a time": {"type": "string", "format": "time"},
    "a duration": {"type": "string", "format": "duration"},
    "two e-mails": _object(sender={"type": "string", "format": "email"}, to={"type": "string", "format": "email"}),
    "a pattern for digits": {"type": "string", "pattern": r"^\d{3}$"},
    "a format nobody knows": {"type": "string", "format": "colour"},
    # as programs write them
    "a recipe": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe",
        "description": "What to cook",
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name", "description": "of the dish", "examples": ["soup"]},
            "minutes": {"type": "integer", "minimum": 1, "maximum": 600, "default": 30},
            "ingredients": {
                "type": "array",
                "minItems": 1,
                "maxItems": 4,
                "items": _object(name=_TEXT, grams={"type": ["number", "null"]}),
            },
            "level": {"type": "string", "enum": ["easy", "hard"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        },
        "required": ["name", "minutes", "ingredients", "level"],
        "additionalProperties": False,
    },
    "patterns that are found anywhere": _object(
        mail={"type": "string", "pattern": "@"},
        code={"type": "string", "pattern": "[0-9]"},
        password={"type": "string", "pattern": "[0-9]", "minLength": 8},
        last={"type": "string", "pattern": "z$"},
    ),
    "bounds next to 0": _object(
        above={"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
        below={"type": "number", "minimum": -0.001, "exclusiveMaximum": 0},
        between={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.0001},
    ),
    "pydantic's Optional": {
        "properties": {
            "name": {"title": "Name", "type": "string"},
            "age": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "Age"},
        },
        "required": ["name"],
        "title": "Person",
        "type": "object",
    },
}
