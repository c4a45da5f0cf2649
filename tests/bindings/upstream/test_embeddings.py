"""Vectors of an OpenAI-compatible server, in the forms of Workers AI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfai import Call, FakeBinding, UpstreamBinding
from cfai.catalog import Catalog, Model
from cfai.errors import BadInput, ContextExceeded, EngineFailure
from cfai.server.app import rest_app
from tests.bindings.upstream.servers import Server, asking
from tests.serving import serving

BGE = "@cf/baai/bge-small-en-v1.5"
MINE = "@cf/mine/embed"
CATALOG = Catalog.builtin().with_models(Model(MINE, task="Text Embeddings", dimensions=2))


def vectors(*rows: Any, **more: Any) -> Server:
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return Server(json.dumps({"object": "list", "data": data, **more}).encode(), content_type="application/json")


async def embedded(server: Any, inputs: Any, model: str = MINE) -> Any:
    async with asking(server, catalog=CATALOG) as binding:
        reply = await binding.send(Call(model, inputs))
    return reply.body if reply.error is None else reply.error


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (BGE, {"text": "New York"}),
        (BGE, {"text": ["New York", "Oslo"], "pooling": "cls"}),
        ("@cf/baai/bge-m3", {"text": ["New York", "Oslo"]}),
        ("@cf/baai/bge-m3", {"contexts": [{"text": "New York"}, {"text": "Oslo"}]}),
        ("@cf/qwen/qwen3-embedding-0.6b", {"queries": "where?", "documents": ["New York", "Oslo"]}),
        ("@cf/google/embeddinggemma-300m", {"text": ["New York"]}),
    ],
)
async def test_an_answer_has_the_form_that_the_model_has(model: str, inputs: dict[str, Any]) -> None:
    fake = FakeBinding.plausible()
    async with serving(rest_app(FakeBinding.plausible())) as address:
        upstream = UpstreamBinding(address, model=model)
        reply, form = await upstream.send(Call(model, inputs)), await fake.send(Call(model, inputs))
        await upstream.aclose()
    assert reply.status == 200
    assert list(reply.body) == list(form.body)
    assert {name: value for name, value in reply.body.items() if name not in ("data", "response")} == {
        name: value for name, value in form.body.items() if name not in ("data", "response")
    }
    assert reply.headers.get("cf-ai-neurons") == form.headers.get("cf-ai-neurons")
    made = reply.body.get("data") or reply.body["response"]
    assert [len(vector) for vector in made] == [reply.body["shape"][1]] * reply.body["shape"][0]


async def test_the_server_is_asked_for_floats_of_all_texts_at_once() -> None:
    server = vectors([1, 0.5], [0, 1])
    body = await embedded(server, {"text": ["a", "b"]})
    assert body == {"shape": [2, 2], "data": [[1, 0.5], [0, 1]], "pooling": "mean"}
    assert server.asked == [{"path": "/v1/embeddings", "model": "m", "input": ["a", "b"], "encoding_format": "float"}]


async def test_vectors_are_in_the_order_of_the_texts_whatever_the_order_of_the_rows() -> None:
    rows = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    server = Server(json.dumps({"data": rows}).encode(), content_type="application/json")
    assert (await embedded(server, {"text": ["a", "b"]}))["data"] == [[1, 0], [0, 1]]


async def test_inputs_that_are_wrong_never_reach_the_server() -> None:
    server = vectors([1, 0])
    for inputs in ({}, {"text": 3}, {"text": ["a"] * 101}):
        assert isinstance(await embedded(server, inputs), BadInput)
    ranking = {"query": "a", "contexts": [{"text": "b"}]}
    assert isinstance(await embedded(server, ranking, "@cf/baai/bge-m3"), BadInput)
    assert server.asked == []


async def test_vectors_of_another_model_are_refused_by_their_length() -> None:
    error = await embedded(vectors([1, 0, 0]), {"text": "a"})
    assert isinstance(error, EngineFailure)
    assert "vectors of 3 numbers, and those of @cf/mine/embed have 2" in str(error)
    error = await embedded(vectors([1, 0], [1]), {"text": ["a", "b"]})
    assert "several lengths" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"{}",
        b'{"data": []}',
        b'{"data": [3]}',
        b'{"data": [{"embedding": "AACAPw=="}]}',
        b'{"data": [{"embedding": []}]}',
        b'{"data": [{"embedding": [null, 1]}]}',
        b'{"data": [{"embedding": [[1, 2]]}]}',
    ],
)
async def test_what_are_no_vectors_is_said_to_be_none(body: bytes) -> None:
    error = await embedded(Server(body, content_type="application/json"), {"text": "a"})
    assert isinstance(error, EngineFailure)
    assert "no vectors of 1 text" in str(error)


async def test_a_text_that_is_too_long_is_cloudflares_error() -> None:
    words = "input (3002 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
    body = json.dumps({"error": {"message": words, "code": 500}}).encode()
    error = await embedded(Server(body, status=500, content_type="application/json"), {"text": "a"})
    assert isinstance(error, ContextExceeded)
