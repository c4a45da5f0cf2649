"""Every model of the catalog that generates no text answers what it takes, and refuses nothing at all."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cfai.catalog import Catalog, Model
from cfai.errors import AiError, BadInput, InvalidData
from cfai.tasks import task_for
from tests.plausible import PICTURE, RECORDING, answer_of, inputs_for

MODELS = [model for model in Catalog.builtin().models() if not model.generates_text]
TEXT = "required properties at '/' are 'text'"
CONTEXTS = "required properties at '/' are 'contexts'"
NO_BATCH = "required properties at '/' are 'requests'"
NOT_BINARY = "oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'object'"
REFUSALS = {
    "Automatic Speech Recognition": f"{NOT_BINARY}, required properties at '/' are 'audio'",
    "Image Classification": f"{NOT_BINARY}, required properties at '/' are 'image'",
    "Image-to-Text": f"{NOT_BINARY}, required properties at '/' are 'image'",
    "Object Detection": NOT_BINARY,
    "Sentence Similarity": "required properties at '/' are 'source,sentences'",
    "Summarization": "required properties at '/' are 'input_text'",
    "Text Classification": TEXT,
    "Text Embeddings": f"oneOf at '/' not met, 0 matches: {TEXT}, {NO_BATCH}",
    "Text-to-Image": "required properties at '/' are 'prompt'",
    "Text-to-Speech": "required properties at '/' are 'prompt'",
    "Translation": f"oneOf at '/' not met, 0 matches: required properties at '/' are 'text,target_lang', {NO_BATCH}",
    "@cf/ai4bharat/indictrans2-en-indic-1B": "required properties at '/' are 'text,target_language'",
    "@cf/baai/bge-m3": f"oneOf at '/' not met, 0 matches: {CONTEXTS}, {TEXT}, {NO_BATCH}",
    "@cf/baai/bge-reranker-base": "required properties at '/' are 'query,contexts'",
    "@cf/baai/omni-bge-m3": f"oneOf at '/' not met, 0 matches: {CONTEXTS}, {TEXT}, {NO_BATCH}",
    "@cf/black-forest-labs/flux-2-dev": "required properties at '/multipart' are 'body,contentType'",
    "@cf/black-forest-labs/flux-2-klein-4b": "required properties at '/multipart' are 'body,contentType'",
    "@cf/black-forest-labs/flux-2-klein-9b": "required properties at '/multipart' are 'body,contentType'",
    "@cf/deepgram/aura-1": TEXT,
    "@cf/deepgram/aura-2-en": TEXT,
    "@cf/deepgram/aura-2-es": TEXT,
    "@cf/deepgram/flux": "required properties at '/' are 'sample_rate,encoding'",
    "@cf/deepgram/nova-3": "required properties at '/audio' are 'body,contentType'",
    "@cf/google/embeddinggemma-300m": TEXT,
    "@cf/openai/whisper-large-v3-turbo": "required properties at '/' are 'audio'",
    "@cf/pfnet/plamo-embedding-1b": TEXT,
    "@cf/pipecat-ai/smart-turn-v2": "oneOf at '/' not met, 0 matches: required properties at '/audio' are "
    "'body,contentType', required properties at '/' are 'audio'",
    "@cf/qwen/qwen3-embedding-0.6b": TEXT,
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_no_inputs_at_all_are_refused_in_productions_words(model: Model) -> None:
    if model.id == "@cf/moondream/moondream3.1-9B-A2B":  # what it asks has a default, and needs no image
        assert answer_of(model, {}).body["answer"]
        return
    with pytest.raises(BadInput) as refusal:
        task_for(model).check({})
    assert refusal.value.description == f"Error: {REFUSALS.get(model.id) or REFUSALS[model.task]}"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_valid_inputs_have_an_answer_that_fits_the_schema_and_the_content_type(model: Model) -> None:
    if model.id == "@cf/deepgram/flux":
        with pytest.raises(BadInput, match="over a WebSocket only"):
            answer_of(model, inputs_for(model))
        return
    made = answer_of(model, inputs_for(model))
    if not isinstance(made.body, bytes):
        assert made.content_type == "application/json"
    elif made.content_type.startswith("image/"):
        with Image.open(io.BytesIO(made.body)) as image:
            image.load()
            assert Image.MIME[image.format or ""] == made.content_type
    else:
        assert made.content_type == "audio/mpeg"
        assert made.body.startswith(b"\xff\xfb")


STRANGE: list[Any] = [
    *(None, 0, True, "a\ud800", [], [{}], {"x": 1}, {"text": None}, {"audio": {}}, {"image": "\u65e5"}),
    *({"prompt": [1]}, {"task": "sing"}),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_any_other_json_value_is_refused_and_nothing_breaks(model: Model) -> None:
    for inputs in STRANGE:
        if model.id == "@cf/moondream/moondream3.1-9B-A2B" and isinstance(inputs, dict):
            inputs = {**inputs, "task": "sing"}  # anything else that is not known is let through
        with pytest.raises((BadInput, InvalidData)):
            answer_of(model, inputs)


LEAVES = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    st.sampled_from([10**400, "\ud800", {"body": [1]}, {"body": "aGk="}, {"text": "a"}, [{"text": 1}], {"0": 1}]),
)
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(max_size=3), LEAVES, max_size=2)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(MODELS), st.data())
def test_whatever_passes_the_check_has_an_answer(model: Model, data: st.DataObject) -> None:
    task = task_for(model)
    options = [task.input_schema, *task.input_schema.get("oneOf", ())]
    names = sorted({name for option in options for name in option.get("properties", {})} | {"other"})
    changes = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
    try:
        inputs = task.check({**inputs_for(model), **changes})
        made = task.plausible(inputs, Random(0))
        task.neurons(inputs, made)
    except AiError:
        return
    assert isinstance(made.body, bytes) or json.dumps(made.body, allow_nan=False)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_body_that_is_no_json_is_taken_by_the_models_that_take_one(model: Model) -> None:
    task = task_for(model)
    body, kind = (PICTURE, "image/png") if task.raw == "image" else (RECORDING, "audio/mpeg")
    if task.raw in ("audio", "image"):
        checked = task.check(task.inputs_of(body, kind, {"x": 1}))
        assert checked["x"] == 1
        assert task.plausible(checked, Random(0)).body
        assert task.check(body)[task.raw] in ([*body], {"body": [*body], "contentType": "application/octet-stream"})
    elif not task.raw:
        with pytest.raises(BadInput, match="'object' not in 'string'"):
            task.check(body)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_model_with_a_price_costs_neurons(model: Model) -> None:
    if model.id == "@cf/deepgram/flux":
        return
    task, inputs = task_for(model), inputs_for(model)
    cost = task.neurons(task.check(inputs), answer_of(model, inputs))
    if not model.prices:
        assert cost is None
    elif any(price.usd for price in model.prices):
        assert cost is not None
        assert cost > 0
    else:
        assert cost == 0


def test_a_dumb_pipe_gives_back_what_went_in() -> None:
    assert answer_of(Model("@cf/own/pipe", task="Dumb Pipe"), {"a": 1}).body == {"a": 1}


def test_an_image_and_a_prompt_have_a_text() -> None:
    model = Model("@cf/own/seer", task="Image-Text-to-Text")
    assert answer_of(model, {"image": "aGk=", "prompt": "what is it?", "max_tokens": 3}).body["description"]


def test_a_task_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="@cf/own/nose has the task 'Smelling'; there are: Automatic Speech"):
        task_for(Model("@cf/own/nose", task="Smelling"))
