"""A fake that was told nothing makes its answers up: true to the schemas, and the same ones for the same seed."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema
import pytest

from cfai import Ai, ByteStream, Call, FakeBinding, sse
from cfai.binding import Form
from cfai.catalog import Catalog, Model
from cfai.errors import BadInput, NoSuchModel
from cfai.tasks import task_for, text_generation
from cfai.tasks.plausible_json import plausible_json
from tests.conftest import ANY_LOOP
from tests.plausible import inputs_for

MODEL = "@cf/meta/llama-3.1-8b-instruct"
ASKED = [{"role": "user", "content": "where is new york?"}]
MODELS = Catalog.builtin().models()
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": name, "description": "", "parameters": PERSON}} for name in "ab"]


@pytest.mark.parametrize("model", [one for one in MODELS if one.generates_text], ids=lambda model: model.id)
@ANY_LOOP
async def test_every_model_that_generates_text_answers_in_its_form(model: Model) -> None:
    fake = FakeBinding.plausible()
    reply = await fake.send(Call(model.id, {"messages": ASKED}))
    jsonschema.validate(reply.body, dict(text_generation.output_schema(model)))
    forms: dict[Form, Any] = {"chat": {"messages": ASKED}, "completion": {"prompt": "hi"}, "responses": {"input": "hi"}}
    for form, asked in forms.items():
        assert (await fake.send(Call(model.id, asked, form=form))).body["model"] == model.id


@pytest.mark.parametrize(
    "model",
    # Its answers come over a WebSocket only.
    [one for one in MODELS if not one.generates_text and one.id != "@cf/deepgram/flux"],
    ids=lambda model: model.id,
)
@ANY_LOOP
async def test_every_other_model_answers_by_its_schema(model: Model) -> None:
    fake = FakeBinding.plausible()
    reply = await fake.send(Call(model.id, inputs_for(model)))
    assert reply.error is None
    if isinstance(reply.body, ByteStream):
        assert b"".join([chunk async for chunk in reply.body])
        assert reply.headers["content-type"].split("/")[0] in ("image", "audio")
    else:
        jsonschema.validate(reply.body, dict(task_for(model).output_schema))
    if model.prices and fake.neurons:
        assert reply.headers["cf-ai-neurons"] == f"{fake.neurons:.2f}"


async def answer(seed: int, **inputs: Any) -> Any:
    return (await Ai(FakeBinding.plausible(seed)).run(MODEL, inputs)).response


async def test_an_answer_depends_on_the_seed_and_the_inputs_alone() -> None:
    first = await answer(1, prompt="where is new york?")
    fake = FakeBinding.plausible(1)
    await Ai(fake).run(MODEL, {"prompt": "another one before"})
    assert (await Ai(fake).run(MODEL, {"prompt": "where is new york?"})).response == first
    assert await answer(2, prompt="where is new york?") != first
    assert await answer(1, prompt="where is paris?") != first
    stream = await Ai(fake).run(MODEL, {"prompt": "where is new york?", "stream": True})
    bodies = [sse.loads(event.decode()[6:]) async for event in stream]
    assert "".join(body["response"] for body in bodies if body) == first


@pytest.mark.parametrize("seed", range(5))
async def test_json_mode_and_tools_that_must_be_called_have_values_of_the_schema(seed: int) -> None:
    wanted = {"type": "json_schema", "json_schema": PERSON}
    jsonschema.validate((await answer(seed, messages=ASKED, response_format=wanted)).to_py(), PERSON)
    asked = {"messages": ASKED, "tools": TOOLS, "tool_choice": "required"}
    reply = await FakeBinding.plausible(seed).send(Call(MODEL, asked, form="chat"))
    (call,) = reply.body["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] in "ab"
    jsonschema.validate(json.loads(call["function"]["arguments"]), PERSON)
    asked["tool_choice"] = {"type": "function", "function": {"name": "b"}}
    reply = await FakeBinding.plausible(seed).send(Call(MODEL, asked, form="chat"))
    assert reply.body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "b"


async def test_what_was_said_comes_before_what_is_made_up() -> None:
    fake = FakeBinding.plausible()
    fake.answers[MODEL] = "New York"
    assert (await Ai(fake).run(MODEL, {"prompt": "hi"})).response == "New York"
    assert MODEL in await fake.models_here()
    assert "@cf/zai-org/glm-4.7-flash" in await fake.models_here()


async def test_what_production_refuses_is_not_made_up() -> None:
    ai = Ai(FakeBinding.plausible())
    with pytest.raises(NoSuchModel):
        await ai.run("@cf/no/such", {"prompt": "hi"})
    with pytest.raises(BadInput, match="'/temperature' must be <= 5"):
        await ai.run(MODEL, {"prompt": "hi", "temperature": 9})
    with pytest.raises(BadInput):
        await ai.run("@cf/baai/bge-m3", {})


SCHEMAS: list[dict[str, Any]] = [
    PERSON,
    {"type": "object"},
    {"enum": [1, "a", None]},
    {"type": ["string", "null"], "minLength": 20, "maxLength": 25},
    {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}(, [^a-z]+)?$"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "email"},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "multipleOf": 7, "maximum": -1},
    {"type": "number", "minimum": 2, "maximum": 2},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
    {
        "type": "object",
        "patternProperties": {"^x_": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        "required": ["b"],
        "maxProperties": 1,
    },
    {"type": "object", "properties": {"tree": {"$ref": "#"}}, "additionalProperties": False},
    {
        "type": "array",
        "items": {"$ref": "#/$defs/node"},
        "minItems": 2,
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
                "required": ["next"],
            }
        },
    },
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"a": {"maxLength": 3}, "b": {"const": 1}}, "required": ["b"]},
        ]
    },
    {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"const": "b"}, "no": False}, "required": ["kind"]},
        ]
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_value_that_is_made_up_fits_its_schema(schema: dict[str, Any]) -> None:
    for seed in range(30):
        made = plausible_json(schema, Random(seed))
        jsonschema.validate(made, schema, format_checker=jsonschema.FormatChecker())
        assert made == plausible_json(schema, Random(seed))


def test_a_schema_that_nothing_fits_has_no_value() -> None:
    for schema in (
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "string", "pattern": "(?=a)b"},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ):
        assert plausible_json(schema, Random(0)) is None
