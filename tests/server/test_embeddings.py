"""OpenAI's endpoint for embeddings, by hand and by the SDKs that ask it."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from anyio import to_thread
from cloudflare import AsyncCloudflare
from langchain_cloudflare import CloudflareWorkersAIEmbeddings
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from cfai import Ai, Call, FakeBinding, LocalBinding
from cfai.server.app import rest_app
from tests.serving import serving

BGE = "@cf/baai/bge-base-en-v1.5"
GEMMA = "@cf/google/embeddinggemma-300m"
DEEP = "/client/v4/accounts/acc/ai/v1"


@pytest.fixture
def fake() -> FakeBinding:
    return FakeBinding.plausible()


@pytest.fixture
async def address(fake: FakeBinding) -> AsyncIterator[str]:
    async with serving(rest_app(fake)) as address:
        yield address


async def post(address: str, body: Any, path: str = "/v1") -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=address) as client:
        return await client.post(f"{path}/embeddings", json=body)


async def vectors(*texts: str, model: str = BGE) -> list[list[float]]:
    found: list[list[float]] = (await Ai(FakeBinding.plausible()).run(model, {"text": [*texts]})).data
    return found


@pytest.mark.parametrize("path", ["/v1", DEEP])
async def test_texts_become_rows_of_floats(address: str, fake: FakeBinding, path: str) -> None:
    body = {"model": BGE, "input": ["a cat", "a dog"], "user": "me", "dimensions": None}
    response = await post(address, body, f"{path}")
    assert response.headers["content-type"] == "application/json"
    one, two = await vectors("a cat", "a dog")
    assert response.json() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": one},
            {"object": "embedding", "index": 1, "embedding": two},
        ],
        "model": BGE,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert fake.calls == [Call(BGE, {"text": ["a cat", "a dog"]})]


async def test_base64_is_little_endian_floats_of_32_bits(address: str) -> None:
    body = {"model": BGE, "input": "a cat", "encoding_format": "base64"}
    (row,) = (await post(address, body)).json()["data"]
    (vector,) = await vectors("a cat")
    assert struct.unpack("<768f", base64.b64decode(row["embedding"])) == pytest.approx(vector, abs=1e-7)


async def test_fewer_dimensions_are_the_first_ones_at_length_1_again(address: str) -> None:
    (row,) = (await post(address, {"model": GEMMA, "input": "a cat", "dimensions": 256})).json()["data"]
    (vector,) = await vectors("a cat", model=GEMMA)
    assert len(row["embedding"]) == 256
    assert math.hypot(*row["embedding"]) == pytest.approx(1)
    length = math.hypot(*vector[:256])
    assert row["embedding"] == pytest.approx([number / length for number in vector[:256]])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": BGE}, 400, "required properties at '/' are 'input'"),
        ({"model": BGE, "input": {"a": 1}}, 400, "Type mismatch of '/input', 'array' not in 'object'"),
        ({"model": BGE, "input": [[1, 2]]}, 400, "'/input' must be a text or texts, not tokens"),
        ({"model": BGE, "input": [1, 2]}, 400, "'/input' must be a text or texts, not tokens"),
        ({"model": BGE, "input": ["a"] * 101}, 400, "Length of '/text' must be <= 100"),
        ({"model": BGE, "input": "a", "encoding_format": "int8"}, 400, "enum int8 not in float,base64"),
        ({"model": BGE, "input": "a", "dimensions": 769}, 400, "'/dimensions' must be <= 768"),
        ({"model": BGE, "input": "a", "dimensions": 0}, 400, "'/dimensions' must be >= 1"),
        ({"model": BGE, "input": "a", "dimensions": "9"}, 400, "Type mismatch of '/dimensions', 'integer'"),
        ({"input": "a"}, 400, "Request is missing headers or body: model"),
        ([], 400, "body is not a JSON object"),
        ({"model": "@cf/no/such", "input": "a"}, 404, "No such model @cf/no/such or task"),
        ({"model": "@cf/meta/llama-2-7b-chat-int8", "input": "a"}, 404, "its task is Text Generation"),
    ],
)
async def test_what_does_not_fit_is_told_to_both_kinds_of_client(
    address: str, body: Any, status: int, message: str
) -> None:
    response = await post(address, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert response.json()["errors"][0]["code"] in (3003, 5006, 5007)


async def test_an_answer_without_vectors_says_what_it_lacks() -> None:
    async with serving(rest_app(FakeBinding({BGE: {"vectors": []}}))) as address:
        response = await post(address, {"model": BGE, "input": "a"})
    assert (response.status_code, response.json()["errors"][0]["message"]) == (500, "the answer has no vectors")


async def test_no_model_makes_them_on_this_machine() -> None:
    async with serving(rest_app(LocalBinding())) as address:
        response = await post(address, {"model": BGE, "input": "a"})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (404, 5007)
    assert "Text Embeddings, does not run here" in response.json()["error"]["message"]


async def test_the_openai_sdk_reads_floats_and_base64(address: str) -> None:
    want = await vectors("a cat", "a dog")
    async with AsyncOpenAI(base_url=f"{address}{DEEP}", api_key="any", max_retries=0) as client:
        for encoding in ({}, {"encoding_format": "float"}):  # without a word it asks for base64
            answer = await client.embeddings.create(model=BGE, input=["a cat", "a dog"], **encoding)
            for row, vector in zip(answer.data, want, strict=True):
                assert row.embedding == pytest.approx(vector, abs=1e-7)
        short = await client.embeddings.create(model=BGE, input="a cat", dimensions=8)
        assert len(short.data[0].embedding) == 8
        with pytest.raises(BadRequestError, match="must be <= 100"):
            await client.embeddings.create(model=BGE, input=["a"] * 101)
        with pytest.raises(NotFoundError, match="No such model"):
            await client.embeddings.create(model="@cf/no/such", input="a")


async def test_the_cloudflare_sdk_asks_over_rest(address: str) -> None:
    async with AsyncCloudflare(base_url=f"{address}/client/v4", api_token="any", max_retries=0) as client:
        found: Any = await client.ai.run(BGE, account_id="acc", text=["a cat", "a dog"])
        assert found["data"] == await vectors("a cat", "a dog")
        scores: Any = await client.ai.run("@cf/huggingface/distilbert-sst-2-int8", account_id="acc", text="I love it")
        assert [row.label for row in scores] == ["NEGATIVE", "POSITIVE"]
        said = await client.ai.with_raw_response.run(
            "@cf/stabilityai/stable-diffusion-xl-base-1.0", account_id="acc", prompt="a cat"
        )
        assert (await said.read()).startswith(b"\x89PNG")


async def test_langchain_finds_the_right_document(address: str) -> None:
    documents = ["Llamas carry loads.", "The cloud is orange.", "An emoji hugs."]

    def search() -> tuple[list[list[float]], list[float]]:
        model = CloudflareWorkersAIEmbeddings(
            account_id="acc", api_token="any", model_name=BGE, api_base_url=f"{address}/client/v4/accounts"
        )
        return model.embed_documents(documents), model.embed_query("which emoji hugs?")

    rows, query = await to_thread.run_sync(search)
    nearness = [sum(a * b for a, b in zip(query, row, strict=True)) for row in rows]
    assert nearness.index(max(nearness)) == 2


async def test_langchain_takes_an_ai_as_its_binding() -> None:
    model = CloudflareWorkersAIEmbeddings(model_name=BGE, binding=Ai(FakeBinding.plausible()))
    assert await model.aembed_documents(["a cat", "a dog"]) == await vectors("a cat", "a dog")
