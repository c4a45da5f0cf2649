"""The binding protocol of 2023: tensors in, tensors out."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from cfai import Call, FakeBinding
from cfai.errors import AiError, BadInput, IncompleteRequest, InvalidData, OutOfCapacity, RequestTooLarge
from cfai.server.app import binding_app
from cfai.server.tensors import TensorRun, gunzipped, messages_in
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"
TGI = "@hf/thebloke/zephyr-7b-beta-awq"
VLLM = "@cf/microsoft/phi-2"


def tensor(name: str, value: Any, kind: str = "str") -> dict[str, Any]:
    return {"type": kind, "shape": [1], "name": name, "value": [value]}


def triton(prompt: str, max_tokens: int = 1800, *, stream: bool = False) -> dict[str, Any]:
    return {"input": [tensor("INPUT_0", prompt), tensor("INPUT_1", max_tokens, "uint32")], "stream": stream}


def vllm(prompt: str, *, stream: bool = False) -> dict[str, Any]:
    streams = [{"type": "bool", "shape": [], "name": "stream", "value": True}] if stream else []
    given = [tensor("text_input", prompt), tensor("sampling_parameters", '{"max_tokens": 512}'), *streams]
    return {"input": given, "stream": stream}


@pytest.fixture
def fake() -> FakeBinding:
    answers: dict[str, Any] = {model: ["New", " York"] for model in (MODEL, TGI, VLLM)}
    return FakeBinding({**answers, "@cf/test/busy": OutOfCapacity()})


@pytest.fixture
async def client(fake: FakeBinding) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(binding_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        yield client


async def run(client: httpx2.AsyncClient, model: str, body: object) -> httpx2.Response:
    """What the package sends: compressed, and as text."""
    headers = {"host": "workers-binding.ai", "content-encoding": "gzip", "cf-consn-model-id": model}
    return await client.post("/run", content=gzip.compress(json.dumps(body).encode()), headers=headers)


async def test_a_prompt_arrives_as_the_package_wrote_it(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    response = await run(client, MODEL, triton("where is new york?", 256))
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"result": [tensor("name", "New York")]}
    assert fake.calls == [Call(MODEL, {"prompt": "where is new york?", "raw": True, "max_tokens": 256})]


async def test_each_event_of_a_stream_is_a_tensor(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    response = await run(client, MODEL, triton("hi", stream=True))
    assert response.headers["content-type"] == "text/event-stream"
    *events, done, end = response.text.split("\n\n")
    pieces = [json.loads(event.removeprefix("data: ")) for event in events if "usage" not in event]
    assert pieces == [{"result": [tensor("name", "New")]}, {"result": [tensor("name", " York")]}]
    assert (done, end) == ("data: [DONE]", "")
    assert fake.calls[0].inputs["stream"] is True


async def test_models_of_other_servers_name_their_answer_otherwise(client: httpx2.AsyncClient) -> None:
    assert (await run(client, TGI, triton("hi"))).json() == {"result": [tensor("generated_text", "New York")]}


async def test_vllm_said_the_prompt_again(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    assert (await run(client, VLLM, vllm("Where? "))).json() == {"result": [tensor("name", "Where? New York")]}
    assert fake.calls[0].inputs == {"prompt": "Where? ", "raw": True, "max_tokens": 512}
    streamed = (await run(client, VLLM, vllm("Where? ", stream=True))).text.split("\n\n")
    assert json.loads(streamed[0].removeprefix("data: ")) == {"result": [tensor("name", "Where? New")]}
    assert json.loads(streamed[1].removeprefix("data: ")) == {"result": [tensor("name", " York")]}


async def test_a_refusal_is_not_made_of_tensors(client: httpx2.AsyncClient) -> None:
    response = await run(client, "@cf/test/busy", triton("hi"))
    assert (response.status_code, response.json()["internalCode"]) == (429, 3040)


def test_usage_is_not_printed_as_a_piece_and_errors_and_comments_stay() -> None:
    reading = TensorRun.read(MODEL, json.dumps(triton("hi")).encode(), {})
    usage = b'data: {"response":"","usage":{"prompt_tokens":1}}\n\n'
    failure = b'data: {"response":"","errors":[{"code":3008,"message":"Request was aborted"}]}\n\n'
    assert reading.event(usage, is_first=False) is None
    assert reading.event(failure, is_first=False) == failure
    assert reading.event(b": keep-alive\n\n", is_first=True) == b": keep-alive\n\n"
    assert reading.event(b"data: [DONE]\n\n", is_first=False) == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        (
            "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nwhere is\nnew york? [/INST]",
            [("system", "Be kind."), ("user", "where is\nnew york?")],
        ),
        (
            "<s>[INST] a [/INST] b</s><s>[INST] c [/INST]",
            [("user", "a"), ("assistant", "b"), ("user", "c")],
        ),
        ("[INST] a [/INST] and then", None),
        ("where is [INST]? [/INST]", None),
        ("where is new york?", None),
        ("", None),
    ],
)
def test_a_prompt_in_llama_2s_template_is_taken_apart(prompt: str, messages: list[tuple[str, str]] | None) -> None:
    """Whatever weights answer, they have a template of their own; Llama 2's own is the same as the package's."""
    expected = None if messages is None else [{"role": role, "content": text} for role, text in messages]
    assert messages_in(prompt) == expected


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"prompt": "hi"}, IncompleteRequest),
        ([1], IncompleteRequest),
        ({"input": ["hi"]}, IncompleteRequest),
        ({"input": []}, BadInput),
        ({"input": [tensor("audio", 1)]}, BadInput),
        ({"input": [tensor("text_input", "hi"), tensor("sampling_parameters", "[1]")]}, BadInput),
        ({"input": [{"type": "float64", "name": "INPUT_0", "b64Value": "AAAA"}]}, InvalidData),
    ],
)
def test_what_is_no_run_is_refused(body: object, error: type[AiError]) -> None:
    with pytest.raises(error):
        TensorRun.read(MODEL, json.dumps(body).encode(), {})


def test_a_body_may_not_grow_without_bound_when_it_is_unpacked() -> None:
    assert gunzipped(gzip.compress(b"{}")) == gunzipped(b"{}") == b"{}"
    with pytest.raises(RequestTooLarge):
        gunzipped(gzip.compress(bytes(64 * 1024 * 1024)))
    with pytest.raises(IncompleteRequest, match="gzip"):
        gunzipped(gzip.compress(b"{}")[:-9])
    with pytest.raises(IncompleteRequest, match="gzip"):
        gunzipped(b"\x1f\x8bnothing of the kind")
