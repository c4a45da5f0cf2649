"""Cloudflare's own SDK, `cloudflare`, with `base_url` and nothing else changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from cloudflare import APIStatusError, AsyncCloudflare, AuthenticationError, BadRequestError, Cloudflare

from cfai import sse
from tests.clients.held import MODEL, PIECES, TOKEN, read_piece_by_piece, read_piece_by_piece_async

PROMPT = "where is new york?"


@pytest.fixture
def client(address: str) -> Iterator[Cloudflare]:
    with connect(address) as client:
        yield client


def connect(address: str, token: str = TOKEN) -> Cloudflare:
    return Cloudflare(api_token=token, base_url=f"{address}/client/v4", max_retries=0)


def connect_async(address: str) -> AsyncCloudflare:
    return AsyncCloudflare(api_token=TOKEN, base_url=f"{address}/client/v4", max_retries=0)


def test_it_runs_a_prompt_and_messages(client: Cloudflare) -> None:
    from_prompt = client.ai.run(MODEL, account_id="acc", prompt=PROMPT, temperature=0)
    messages = [{"role": "user", "content": PROMPT}]
    from_messages = client.ai.run(MODEL, account_id="acc", messages=messages, temperature=0)
    assert from_prompt == from_messages
    assert isinstance(from_prompt, dict)
    assert from_prompt["response"].startswith("New York is located in")
    assert from_prompt["usage"]["total_tokens"] > 10


def test_the_address_may_come_from_the_environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", f"{address}/client/v4")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    with Cloudflare() as client:
        assert client.user.tokens.verify().status == "active"


async def test_the_async_client(address: str) -> None:
    async with connect_async(address) as client:
        answer = await client.ai.run(MODEL, account_id="acc", prompt=PROMPT, temperature=0, max_tokens=3)
        assert isinstance(answer, dict)
        assert answer["response"].startswith("New York")
        names = [model["name"] async for model in client.ai.models.list(account_id="acc", per_page=20)]
    assert len(names) == len(set(names)) > 40


def test_lists_end(client: Cloudflare) -> None:
    """The SDK asks for page after page until one is empty."""
    names = [model["name"] for model in client.ai.models.list(account_id="acc")]
    assert len(names) == len(set(names)) > 40
    found = [model["name"] for model in client.ai.models.list(account_id="acc", search="llama-3.1-8b", per_page=1)]
    assert found == [name for name in names if "llama-3.1-8b" in name]
    assert "Text Generation" in [task["name"] for task in client.ai.tasks.list(account_id="acc")]
    assert list(client.ai.authors.list(account_id="acc"))
    client.ai.finetunes.list(account_id="acc")
    assert client.ai.to_markdown.supported(account_id="acc") is not None


def test_a_models_schema(client: Cloudflare) -> None:
    schema = client.ai.models.schema.get(account_id="acc", model=MODEL)
    assert schema.input.type == "object"
    assert schema.output is not None


def test_errors(address: str, client: Cloudflare) -> None:
    with pytest.raises(BadRequestError) as unknown:
        client.ai.run("@cf/no/such", account_id="acc", prompt=PROMPT)
    assert [error.code for error in unknown.value.errors] == [5007]
    assert "No such model @cf/no/such or task" in str(unknown.value.errors[0].message)
    with pytest.raises(BadRequestError) as bad:
        client.ai.run(MODEL, account_id="acc", prompt="")
    assert [error.code for error in bad.value.errors] == [5006]
    with connect(address, "wrong") as stranger, pytest.raises(AuthenticationError) as denied:
        stranger.ai.run(MODEL, account_id="acc", prompt=PROMPT)
    assert [error.code for error in denied.value.errors] == [10000]
    with pytest.raises(APIStatusError) as nowhere:
        client.get("/accounts/acc/ai/nothing", cast_to=object)
    assert nowhere.value.errors[0].code == 7003


async def test_a_stream_comes_piece_by_piece() -> None:
    def read(address: str) -> Iterator[str]:
        with (
            connect(address) as client,
            client.ai.with_streaming_response.run(
                MODEL, account_id="acc", prompt=PROMPT, extra_body={"stream": True}
            ) as response,
        ):
            for line in response.iter_lines():
                if (event := sse.loads(line.removeprefix("data: "))) and event["response"]:
                    yield event["response"]

    assert await read_piece_by_piece(read) == PIECES


async def test_a_stream_comes_piece_by_piece_to_the_async_client() -> None:
    async def read(address: str) -> AsyncIterator[str]:
        async with (
            connect_async(address) as client,
            client.ai.with_streaming_response.run(
                MODEL, account_id="acc", prompt=PROMPT, extra_body={"stream": True}
            ) as response,
        ):
            async for line in response.iter_lines():
                if (event := sse.loads(line.removeprefix("data: "))) and event["response"]:
                    yield event["response"]

    assert await read_piece_by_piece_async(read) == PIECES
