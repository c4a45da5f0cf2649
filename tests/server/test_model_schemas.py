"""The schema that `models/schema` gives for every model is the one that calls are checked against."""

from __future__ import annotations

import functools
from base64 import b64encode
from typing import Any

import anyio
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from cfai import ByteStream, Call, FakeBinding, Reply
from cfai.catalog import Catalog, Model
from cfai.server.app import rest_app
from tests.plausible import PICTURE, inputs_for

MODELS = Catalog.builtin().models()
SCHEMA = "/client/v4/accounts/acc/ai/models/schema"
BAD_INPUT = 5006
NOT_THE_SCHEMAS = {5004, 5005, 5021, 8500}
"""Refusals that are about what the values mean: no picture, no adapters, too long, a sound that is not made up."""

Json = dict[str, Any]

TOGETHER: dict[str, Json] = {"top_logprobs": {"logprobs": True}}
"""Fields that mean nothing without another one."""


@functools.cache
def published() -> dict[str, Json]:
    """The schemas of the inputs, as a client gets them."""
    client = TestClient(rest_app(FakeBinding.plausible()), base_url="http://127.0.0.1:8787")
    return {model.id: client.get(SCHEMA, params={"model": model.id}).json()["result"]["input"] for model in MODELS}


def bases(model: Model) -> list[Json]:
    """Inputs that the model takes, with nothing in them that need not be."""
    if "moondream" in model.id:  # whose defaults answer nothing at all, and look at nothing
        return [{"image": b64encode(PICTURE).decode()}]
    if not model.generates_text:
        inputs: Json = inputs_for(model)
        return [inputs]
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    return [messages] if "guard-3" in model.id else [messages, {"prompt": "hi"}]


def option_of(model: Model, base: Json) -> Json:
    """The part of the schema that is about inputs like `base`."""
    schema = published()[model.id]
    options: list[Json] = schema.get("oneOf", [schema])
    return next(one for one in options if base.keys() <= one.get("properties", {}).keys())


def scalars(option: Json) -> list[str]:
    return sorted(
        name
        for name, schema in option.get("properties", {}).items()
        if schema.get("type") in ("string", "integer", "number", "boolean")
    )


def fitting(schema: Json) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    low, high = schema.get("minimum", 0), schema.get("maximum", 100)
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            least = int(low) or 1
            return st.integers(least, max(least, int(min(high, 100))))
        case "number":
            return st.floats(max(low, 0.01), high, exclude_min=True, exclude_max=True)
    return st.text("abc", min_size=max(1, schema.get("minLength", 0)), max_size=min(9, schema.get("maxLength", 9)))


def unfitting(schema: Json) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.text("xyz", min_size=3, max_size=9)
    wrong: list[st.SearchStrategy[Any]] = [st.just({"a": 1}), st.just([[1]])]
    match schema["type"]:
        case "string":
            wrong += [st.integers(), st.booleans(), *([st.just("")] if schema.get("minLength") else [])]
        case "boolean":
            wrong += [st.text("abc", min_size=1), st.integers()]
        case _:
            wrong += [st.text("abc", min_size=1), st.booleans()]
            wrong += [st.just(schema["maximum"] + 1)] if "maximum" in schema else []
            wrong += [st.just(schema["minimum"] - 1)] if "minimum" in schema else []
            wrong += [st.just(1.5)] if schema["type"] == "integer" else []
    return st.one_of(wrong)


def answer(model: Model, inputs: Json) -> Reply:
    async def asked() -> Reply:
        reply = await FakeBinding.plausible().send(Call(model.id, inputs))
        if isinstance(reply.body, ByteStream):
            await reply.aclose()
        return reply

    return anyio.run(asked)


def fits(model: Model, inputs: Json) -> bool:
    """Whether a validator that is not cfai's finds the inputs right."""
    return bool(jsonschema.Draft7Validator(published()[model.id]).is_valid(inputs))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_there_is_a_schema_and_what_is_required_is_missed(model: Model) -> None:
    jsonschema.Draft7Validator.check_schema(published()[model.id])
    for base in bases(model):
        assert answer(model, base).status in (200, 400 if model.id == "@cf/deepgram/flux" else 200)
        for name in option_of(model, base).get("required", ()):
            without = {key: value for key, value in base.items() if key != name}
            assert not fits(model, without)
            error = answer(model, without).error
            assert error is not None
            assert error.code == BAD_INPUT


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_what_the_schema_forbids_is_refused_and_what_it_allows_is_not(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(MODELS), label="model")
    base = data.draw(st.sampled_from(bases(model)))
    option = option_of(model, base)
    names = [name for name in scalars(option) if name not in base]
    if not names:
        return
    name = data.draw(st.sampled_from(names), label="field")
    schema = option["properties"][name]
    value = data.draw(st.one_of(fitting(schema), unfitting(schema)), label="value")
    inputs = {**base, **TOGETHER.get(name, {}), name: value}
    error = answer(model, inputs).error
    if fits(model, inputs):
        assert error is None or error.code in NOT_THE_SCHEMAS or "WebSocket" in error.description, error
    else:
        assert error is not None
        assert error.code == BAD_INPUT
