"""Audio and images of a Worker: bytes, typed arrays, streams and forms in; bytes out."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from cfai import FakeBinding, HttpBinding
from cfai.server.app import binding_app
from tests.plausible import SPEECH
from tests.serving import serving
from tests.worker.conftest import Workers

WHISPER = "@cf/openai/whisper"
NOVA = "@cf/deepgram/nova-3"
AURA = "@cf/deepgram/aura-1"
FLUX_2 = "@cf/black-forest-labs/flux-2-dev"

SCRIPT = """
import json
from js import FormData, Object, Response as JsResponse, Uint8Array
from pyodide.ffi import JsException, to_js
from workers import Response, WorkerEntrypoint

def obj(value):
    return to_js(value, dict_converter=Object.fromEntries)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        env = self.env
        out = None
        try:
BODY
        except JsException as error:
            out = f"{error.name}: {error.message}"
        return Response(json.dumps(out))
"""


async def answer(worker: Workers, body: str, **settings: Any) -> Any:
    indented = "\n".join(f"            {line}" for line in body.strip().splitlines())
    client = worker.client(
        worker.app(SCRIPT.replace("BODY", indented), compatibility_date=datetime.date(2025, 11, 2), **settings)
    )
    response = await client("POST", "/", headers=[("content-type", "audio/wav")], body=[SPEECH])
    assert response.status == 200, response.text
    return json.loads(response.text)


@pytest.fixture
def plausible(worker: Workers) -> Workers:
    worker.fake = FakeBinding.plausible()
    return worker


@pytest.mark.parametrize(
    "audio",
    ["(await request.bytes())", "to_js(await request.bytes())", "Uint8Array.new(await request.buffer())"],
)
async def test_bytes_and_typed_arrays_are_numbers(plausible: Workers, audio: str) -> None:
    said = await answer(
        plausible, f"answer = await env.AI.run({WHISPER!r}, obj({{'audio': {audio}}}))\nout = answer.text"
    )
    assert said.endswith(".")
    assert plausible.fake.calls[0].inputs == {"audio": [*SPEECH]}


@pytest.mark.parametrize("is_socket", [False, True])
async def test_a_stream_goes_to_the_model_with_its_type(plausible: Workers, is_socket: bool, tmp_path: Path) -> None:
    body = f"""
inputs = obj({{"audio": {{"body": request.body, "contentType": "audio/wav"}}, "punctuate": True}})
answer = await env.AI.run({NOVA!r}, inputs)
out = answer.results.channels[0].alternatives[0].transcript
"""
    if is_socket:
        async with serving(binding_app(plausible.fake), unix_socket=tmp_path / "s"):
            binding = HttpBinding(socket=tmp_path / "s")
            said = await answer(plausible, body, ai=binding)
            await binding.aclose()
    else:
        said = await answer(plausible, body)
    assert said.endswith(".")
    assert plausible.fake.calls[0].inputs == {
        "audio": {"body": SPEECH, "contentType": "audio/wav"},
        "punctuate": True,
    }


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("{'audio': {'body': request.body}}", "Content-Type is required with ReadableStream inputs"),
        ("{'audio': request.body}", "Content-Type is required with ReadableStream inputs"),
        (
            "{'audio': {'body': request.body, 'contentType': 'a/b'}, 'image': request.body}",
            "Multiple ReadableStreams are not supported. Found streams in keys: [audio, image]",
        ),
    ],
)
async def test_what_workerd_refuses_is_refused(plausible: Workers, inputs: str, told: str) -> None:
    assert await answer(plausible, f"await env.AI.run({NOVA!r}, obj({inputs}))") == f"AiInternalError: {told}"
    assert plausible.fake.calls == []


async def test_a_form_is_an_input(plausible: Workers) -> None:
    said = await answer(
        plausible,
        f"""
form = FormData.new()
form.append("prompt", "a cat")
form.append("width", "64")
made = JsResponse.new(form)
inputs = {{"multipart": {{"body": made.body, "contentType": made.headers.get("content-type")}}}}
answer = await env.AI.run({FLUX_2!r}, obj(inputs))
again = await env.AI.run({FLUX_2!r}, obj({{"multipart": {{"body": form, "contentType": "multipart/form-data"}}}}))
out = [answer.image[:4], again.image[:4]]
""",
    )
    assert said == ["/9j/", "/9j/"]


async def test_an_answer_of_bytes_is_a_stream_that_can_be_passed_on(plausible: Workers) -> None:
    said = await answer(
        plausible,
        f"""
sound = await env.AI.run({AURA!r}, obj({{"text": "hello"}}))
data = await JsResponse.new(sound).bytes()
out = [data.length, data[0], data[1]]
""",
    )
    assert said[0] > 90
    assert said[1:] == [0xFF, 0xFB]
