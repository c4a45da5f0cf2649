"""The fake and the models that generate no text: checked, scripted or made up."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cfai import Ai, AiError, ByteStream, Call, FakeBinding
from cfai.bindings import Script, UnexpectedCall
from cfai.catalog import Catalog, Model
from cfai.errors import BadInput
from tests.conftest import ANY_LOOP
from tests.plausible import PICTURE, RECORDING, inputs_for

pytestmark = ANY_LOOP

BGE = "@cf/baai/bge-small-en-v1.5"
WHISPER = "@cf/openai/whisper"
SDXL = "@cf/stabilityai/stable-diffusion-xl-base-1.0"
AURA = "@cf/deepgram/aura-1"
MOONDREAM = "@cf/moondream/moondream3.1-9B-A2B"
SST = "@cf/huggingface/distilbert-sst-2-int8"
MODELS = [
    model
    for model in Catalog.builtin().models()
    if model.id != "@cf/deepgram/flux"  # which answers over a WebSocket only
]


async def read(stream: Any) -> bytes:
    assert isinstance(stream, ByteStream)
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
async def test_every_model_answers_with_nothing_scripted_and_refuses_what_does_not_fit(model: Model) -> None:
    fake = FakeBinding.plausible()
    inputs = {"messages": [{"role": "user", "content": "hi"}]} if model.generates_text else inputs_for(model)
    answer = await Ai(fake).run(model.id, inputs)
    assert await read(answer) if isinstance(answer, ByteStream) else answer
    refused: Any = {"task": "sing"} if model.id == MOONDREAM else {}  # whose question has a default
    with pytest.raises(BadInput) as refusal:
        await Ai(fake).run(model.id, refused)
    assert re.search(r"required properties at '/|Type mismatch of '/'|enum sing not in", refusal.value.description)
    assert [type(call.error) for call in fake.calls] == [type(None), BadInput]


@pytest.mark.parametrize(("model", "inputs"), [(SST, {"text": "water"}), (SDXL, {"prompt": "a cat"})])
async def test_answers_depend_on_the_seed_and_the_inputs_alone(model: str, inputs: dict[str, Any]) -> None:
    async def body(seed: int) -> Any:
        answer = await Ai(FakeBinding.plausible(seed=seed)).run(model, inputs)
        return await read(answer) if isinstance(answer, ByteStream) else answer

    assert await body(1) == await body(1) != await body(2)


async def test_a_strict_fake_has_no_answer_that_nobody_told_it() -> None:
    with pytest.raises(UnexpectedCall, match="bge-small"):
        await Ai(FakeBinding()).run(BGE, {"text": "hi"})


async def test_a_scripted_answer_comes_before_one_that_is_made_up_and_the_inputs_are_checked_all_the_same() -> None:
    fake = FakeBinding({BGE: {"shape": [1, 2], "data": [[0.6, 0.8]]}})
    assert (await Ai(fake).run(BGE, {"text": "hi"})).data == [[0.6, 0.8]]
    with pytest.raises(BadInput, match="required properties at '/' are 'text'"):
        await Ai(fake).run(BGE, {"texts": "hi"})


async def test_a_list_is_scripted_too() -> None:
    rows = [{"label": "NEGATIVE", "score": 0.25}, {"label": "POSITIVE", "score": 0.75}]
    assert await Ai(FakeBinding({SST: rows})).run(SST, {"text": "hi"}) == rows
    assert await Ai(FakeBinding({SST: Script(json=rows)})).run(SST, {"text": "hi"}) == rows


async def test_scripted_bytes_have_the_content_type_of_the_model() -> None:
    reply = await FakeBinding({SDXL: PICTURE}).send(Call(SDXL, {"prompt": "a cat"}))
    assert reply.headers["content-type"] == "image/png"
    assert await read(reply.body) == PICTURE


async def test_bytes_may_stand_for_numbers() -> None:
    fake = FakeBinding({WHISPER: {"text": "hello"}})
    assert (await Ai(fake).run(WHISPER, {"audio": RECORDING})).text == "hello"
    assert fake.calls[0].inputs == {"audio": RECORDING}
    assert (await Ai(fake).run(WHISPER, {"audio": [*RECORDING]})).text == "hello"


@pytest.mark.parametrize("scripted", [True, False])
async def test_calls_cost_neurons(scripted: bool) -> None:
    fake = FakeBinding({AURA: b"sound"} if scripted else {}, strict=False)
    reply = await fake.send(Call(AURA, {"text": "x" * 1000}))
    await reply.aclose()
    assert fake.neurons == pytest.approx(0.015 / 0.011 * 1000, rel=1e-5)
    assert reply.headers["cf-ai-neurons"] == "1363.64"


async def test_a_whole_image_is_one_stream_of_its_content_type() -> None:
    reply = await FakeBinding.plausible().send(Call(SDXL, {"prompt": "a cat", "width": 256, "height": 256}))
    assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
    assert (await read(reply.body)).startswith(b"\x89PNG")


async def test_a_model_that_answers_over_a_websocket_says_so() -> None:
    with pytest.raises(AiError, match="answers over a WebSocket only"):
        await Ai(FakeBinding.plausible()).run("@cf/deepgram/flux", {"sample_rate": "16000", "encoding": "linear16"})
