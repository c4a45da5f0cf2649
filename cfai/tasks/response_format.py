"""Which JSON schema an answer must fit, in each of the ways in which requests say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cfai.errors import BadInput
from cfai.tasks import fields

__all__ = ["ANY_OBJECT", "answer_schema_of"]

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}

# What tells a schema from the wrapper that OpenAI puts around one: {"name", "schema", "strict", "description"}.
_SCHEMA_KEYWORDS = frozenset(
    {"type", "properties", "$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "enum", "const", "items"}
)


def answer_schema_of(inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that `response_format`, `text.format` or `guided_json` asks for; None for free text.

    `json_schema` is the schema itself in Workers AI's own form and lies in a wrapper in OpenAI's forms. Clients mix
    the two up, so either is taken in every form. Cloudflare does not stream JSON; here the pieces of the JSON text
    come as those of any other answer.
    """
    if (given := inputs.get("response_format")) is not None:
        asked = fields.object_of(given, "/response_format")
        return _asked(asked, asked.get("json_schema"), "/response_format", "json_schema")
    if (given := inputs.get("text")) is not None:
        asked = fields.object_of(fields.object_of(given, "/text").get("format") or {}, "/text/format")
        return _asked(asked, asked.get("schema"), "/text/format", "schema")
    if (given := inputs.get("guided_json")) is not None:
        return _schema(_from_text(given, "/guided_json"), "/guided_json")
    return None


def _asked(asked: Mapping[str, Any], given: Any, where: str, name: str) -> Mapping[str, Any] | None:
    kind = asked.get("type", "text" if given is None else "json_schema")
    if kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    # The schemas of the inputs know no fourth.
    assert kind == "json_schema", kind
    if given is None:
        raise BadInput(f"required properties at '{where}' are 'type,{name}'")
    return _schema(given, f"{where}/{name}")


def _schema(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping) and not _SCHEMA_KEYWORDS.intersection(value):
        if "schema" in value:
            value, where = value["schema"], f"{where}/schema"
        elif isinstance(value.get("name"), str):
            raise BadInput(f"required properties at '{where}' are 'name,schema'")
    # `true` is a schema too, the one that everything fits.
    return {} if value is True else fields.object_of(value, where)


def _from_text(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise BadInput(f"'{where}' is a text that is no JSON") from None
    fields.check_json({where.removeprefix("/"): found})
    return found
