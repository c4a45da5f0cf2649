"""Calls to models that generate no text, over REST and the binding protocol: audio and images in, bytes out."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from cfai import Ai, ByteStream, Call, FakeBinding, HttpBinding
from cfai.catalog import Catalog
from cfai.errors import BadInput, InvalidData, NoSuchModel
from cfai.server.app import binding_app, rest_app
from tests.plausible import FORM, FORM_TYPE, PICTURE, RECORDING, SPEECH, inputs_for
from tests.serving import serving

RUN = "/client/v4/accounts/acc/ai/run/"
WHISPER = "@cf/openai/whisper"
TURBO = "@cf/openai/whisper-large-v3-turbo"
NOVA = "@cf/deepgram/nova-3"
RESNET = "@cf/microsoft/resnet-50"
SDXL = "@cf/stabilityai/stable-diffusion-xl-base-1.0"
AURA = "@cf/deepgram/aura-1"
FLUX_2 = "@cf/black-forest-labs/flux-2-klein-4b"
LLAMA = "@cf/meta/llama-3.1-8b-instruct-fp8"
MODELS = [model for model in Catalog.builtin().models() if not model.generates_text and model.id != "@cf/deepgram/flux"]


@pytest.fixture
def fake() -> FakeBinding:
    return FakeBinding.plausible()


@pytest.fixture
async def client(fake: FakeBinding) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(rest_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "body", "kind", "inputs"),
    [
        (WHISPER, RECORDING, "audio/mpeg", {"audio": RECORDING}),
        (WHISPER, SPEECH, "application/x-www-form-urlencoded", {"audio": SPEECH}),  # curl --data-binary
        (WHISPER, b"{ no JSON", "application/x-www-form-urlencoded", {"audio": b"{ no JSON"}),
        (WHISPER, b'{"audio": [1, 2]}', "application/x-www-form-urlencoded", {"audio": [1, 2]}),
        (WHISPER, b'{"audio": [1, 2]}', "application/json; charset=utf-8", {"audio": [1, 2]}),
        (RESNET, PICTURE, "application/octet-stream", {"image": PICTURE}),
        (NOVA, SPEECH, "audio/wav", {"audio": {"body": SPEECH, "contentType": "audio/wav"}}),
        (FLUX_2, FORM, FORM_TYPE, {"multipart": {"body": FORM, "contentType": FORM_TYPE}}),
    ],
)
async def test_a_body_is_the_audio_the_image_or_the_form_unless_it_is_json(
    client: httpx2.AsyncClient, fake: FakeBinding, model: str, body: bytes, kind: str, inputs: Any
) -> None:
    response = await client.post(RUN + model, content=body, headers={"content-type": kind})
    assert response.status_code == 200, response.text
    assert response.json()["success"] is True
    assert fake.calls == [Call(model, inputs)]


@pytest.mark.parametrize(
    ("model", "body", "kind", "code"),
    [
        (WHISPER, b"", "audio/mpeg", 3003),
        (WHISPER, b"{ no JSON", "application/json", 3003),
        (WHISPER, b'{"audio": "UklGRg=="}', "application/json", 5006),
        (TURBO, b'{"audio": "no base64!"}', "application/json", 5004),
        (AURA, RECORDING, "audio/mpeg", 3003),
        (FLUX_2, FORM, "multipart/form-data", 5006),
        (LLAMA, RECORDING, "audio/mpeg", 3003),
        ("@cf/no/such", RECORDING, "audio/mpeg", 5007),
        ("@cf/no/such", b"{}", "audio/mpeg", 5007),
    ],
)
async def test_a_body_that_the_model_cannot_take_is_refused(
    client: httpx2.AsyncClient, model: str, body: bytes, kind: str, code: int
) -> None:
    response = await client.post(RUN + model, content=body, headers={"content-type": kind})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("model", "inputs", "kind", "head"),
    [(SDXL, {"prompt": "a cat"}, "image/png", b"\x89PNG"), (AURA, {"text": "hello"}, "audio/mpeg", b"\xff\xfb")],
)
async def test_an_answer_that_is_no_json_has_no_envelope(
    client: httpx2.AsyncClient, model: str, inputs: Any, kind: str, head: bytes
) -> None:
    response = await client.post(RUN + quote(model, safe=""), json=inputs)
    assert (response.status_code, response.headers["content-type"]) == (200, kind)
    assert response.content.startswith(head)
    assert response.headers["cf-ai-req-id"]


async def test_what_a_call_costs_is_in_its_headers(client: httpx2.AsyncClient) -> None:
    response = await client.post(RUN + AURA, json={"text": "x" * 1000})
    assert response.headers["cf-ai-neurons"] == "1363.64"


async def test_batches_have_many_calls(client: httpx2.AsyncClient) -> None:
    bge = RUN + "@cf/baai/bge-small-en-v1.5"
    refused = await client.post(bge, json={"requests": [{"text": "a"}]})
    assert "is a batch" in refused.json()["errors"][0]["message"]
    queued = (await client.post(f"{bge}?queueRequest=true", json={"requests": [{"text": "a"}, {"text": ""}]})).json()
    told: dict[str, Any] = {}
    while "responses" not in told:
        told = (await client.post(bge, json={"request_id": queued["result"]["request_id"]})).json()["result"]
    assert [row["success"] for row in told["responses"]] == [True, False]
    assert told["responses"][0]["result"]["shape"] == [1, 384]


async def stream(client: httpx2.AsyncClient, model: str, body: bytes, kind: str, **query: str) -> httpx2.Response:
    """What workerd sends when an input is a stream."""
    headers = {"content-type": kind, "cf-consn-model-id": model, "cf-consn-sdk-version": "2.0.0"}
    params = {"version": "3", "userInputs": "{}", **query}
    return await client.post("/run", params=params, content=body, headers=headers)


async def test_a_stream_among_the_inputs_is_the_body_and_the_others_are_the_query(
    client: httpx2.AsyncClient, fake: FakeBinding
) -> None:
    others = json.dumps({"punctuate": True, "language": "en"})
    response = await stream(client, NOVA, SPEECH, "audio/wav", userInputs=others, rejectIfBusy="true")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["results"]["channels"]
    audio = {"body": SPEECH, "contentType": "audio/wav"}
    assert fake.calls == [Call(NOVA, {"punctuate": True, "language": "en", "audio": audio}, {"rejectIfBusy": True})]


@pytest.mark.parametrize(
    ("model", "query", "code"),
    [
        (LLAMA, {}, 5006),
        (AURA, {}, 5006),
        ("@cf/no/such", {}, 5007),
        (NOVA, {"userInputs": "{"}, 3003),
        (NOVA, {"userInputs": "[]"}, 3003),
        (NOVA, {"userInputs": '{"punctuate": "yes"}'}, 5006),
    ],
)
async def test_a_stream_that_the_model_cannot_take_is_refused(
    client: httpx2.AsyncClient, model: str, query: dict[str, str], code: int
) -> None:
    response = await stream(client, model, SPEECH, "audio/wav", **query)
    assert (response.status_code, response.json()["internalCode"]) == (400, code)


async def test_every_model_answers_the_same_here_over_rest_and_over_a_socket(tmp_path: Path) -> None:
    socket = tmp_path / "ai.sock"
    async with (
        serving(rest_app(FakeBinding.plausible())) as address,
        serving(binding_app(FakeBinding.plausible()), unix_socket=socket),
        Ai(HttpBinding(address)) as rest,
        Ai(HttpBinding(socket=socket)) as over_socket,
    ):
        here = Ai(FakeBinding.plausible())
        for model in MODELS:
            inputs = inputs_for(model)
            answer = await read(await here.run(model.id, inputs))
            assert await read(await rest.run(model.id, inputs)) == answer, model.id
            assert await read(await over_socket.run(model.id, inputs)) == answer, model.id


async def read(answer: Any) -> Any:
    return b"".join([chunk async for chunk in answer]) if isinstance(answer, ByteStream) else answer


async def test_refusals_come_through_a_server_as_they_are(client: httpx2.AsyncClient) -> None:
    async with Ai(HttpBinding(str(client.base_url))) as ai:
        with pytest.raises(BadInput, match="Length of '/text' must be <= 100"):
            await ai.run("@cf/baai/bge-m3", {"text": ["a"] * 101})
        with pytest.raises(InvalidData, match="Invalid data type for base64 input: string"):
            await ai.run(TURBO, {"audio": "no base64!"})
        with pytest.raises(BadInput, match="the inputs are not JSON"):
            await ai.run(WHISPER, {"audio": {1, 2}})
        with pytest.raises(NoSuchModel):
            await ai.run("@cf/no/such", {"audio": {"body": SPEECH, "contentType": "audio/wav"}})


async def test_base64_and_bytes_say_the_same(client: httpx2.AsyncClient) -> None:
    async with Ai(HttpBinding(str(client.base_url))) as ai:
        encoded = await ai.run(TURBO, {"audio": base64.b64encode(SPEECH).decode()})
        assert (await ai.run(WHISPER, {"audio": SPEECH})).word_count == encoded.word_count
