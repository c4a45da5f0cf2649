"""LangChain's `langchain-cloudflare`: over REST, over the OpenAI endpoint, and with a `cfai.Ai` as its binding."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from langchain_cloudflare import ChatCloudflareWorkersAI
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from cfai import Ai, FakeBinding, LocalBinding
from tests.clients.held import MODEL, PIECES, TOKEN, read_piece_by_piece, read_piece_by_piece_async

PROMPT = "where is new york?"
ENDPOINTS = pytest.mark.parametrize("endpoint", ["workers_ai", "openai_compatible"])


@contextlib.contextmanager
def model(address: str, endpoint: str = "workers_ai", **settings: Any) -> Iterator[ChatCloudflareWorkersAI]:
    given = {"model": MODEL, "api_token": TOKEN, "temperature": 0, "endpoint_format": endpoint, **settings}
    chat = ChatCloudflareWorkersAI(account_id="acc", base_url=f"{address}/client/v4", **given)
    with chat.client:  # which it closes nowhere
        yield chat


def weather(city: str) -> str:
    """The weather in a city"""
    return "18 degrees and sunny"


get_weather = tool("get_weather")(weather)


class City(BaseModel):
    """A city"""

    name: str = Field(description="its name", max_length=12)
    people: int = Field(description="how many live there", ge=0, le=99_000_000)


@ENDPOINTS
def test_a_whole_answer(address: str, endpoint: str) -> None:
    with model(address, endpoint) as chat:
        answer = chat.invoke([SystemMessage("You are friendly."), HumanMessage(PROMPT)])
    assert "New York" in answer.content
    assert answer.usage_metadata["total_tokens"] > 10


async def test_the_address_may_come_from_the_environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", f"{address}/client/v4")
    monkeypatch.setenv("CF_ACCOUNT_ID", "acc")
    monkeypatch.setenv("CF_AI_API_TOKEN", TOKEN)
    chat = ChatCloudflareWorkersAI(model=MODEL, temperature=0)
    async with chat.async_client:
        answer = await chat.ainvoke(PROMPT)
    assert answer.content.startswith("New York is located in")


@ENDPOINTS
def test_a_tool_is_called_and_its_result_told(address: str, endpoint: str) -> None:
    asked: list[Any] = [HumanMessage("What is the weather in Paris?")]
    with model(address, endpoint) as chat:
        bound = chat.bind_tools([get_weather])
        answer = bound.invoke(asked)
        (call,) = answer.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        assert answer.content == ""
        told = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
        assert "sunny" in bound.invoke([*asked, answer, told]).content


@ENDPOINTS
def test_answers_that_fit_a_schema(address: str, endpoint: str) -> None:
    with model(address, endpoint, max_tokens=80) as chat:
        schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema()}}
        City.model_validate_json(chat.bind(response_format=schema).invoke(PROMPT).content)
    # For Llama the client asks for any JSON and tells the schema in words; for this one it sends it.
    with model(address, endpoint, max_tokens=80, model="@cf/openai/gpt-oss-20b") as chat:
        assert isinstance(chat.with_structured_output(City, method="json_schema").invoke(PROMPT), City)


def test_errors(address: str) -> None:
    with model(address, model="@cf/no/such") as chat, pytest.raises(httpx.HTTPStatusError) as unknown:
        chat.invoke(PROMPT)
    assert unknown.value.response.json()["errors"][0]["code"] == 5007
    with model(address, api_token="wrong") as chat, pytest.raises(httpx.HTTPStatusError) as denied:
        chat.invoke(PROMPT)
    assert denied.value.response.status_code == 401


async def test_an_ai_is_the_binding_that_it_wants() -> None:
    async with Ai(LocalBinding(demo=True, on_notice=lambda line: None)) as ai:
        chat = ChatCloudflareWorkersAI(binding=ai, model=MODEL, temperature=0)
        answer = await chat.ainvoke(PROMPT)
        called = await chat.bind_tools([get_weather]).ainvoke("What is the weather in Paris?")
    assert answer.content.startswith("New York is located in")
    assert answer.usage_metadata["total_tokens"] > 10
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("get_weather", {"city": "Paris"})]


async def test_what_it_tells_the_binding() -> None:
    fake = FakeBinding({MODEL: "big"})
    chat = ChatCloudflareWorkersAI(binding=Ai(fake), model=MODEL, temperature=0.7, session_id="s1")
    assert (await chat.ainvoke("New York is")).content == "big"
    (call,) = fake.calls
    assert call.inputs["messages"] == [{"role": "user", "content": "New York is"}]
    assert call.inputs["temperature"] == 0.7
    assert call.headers["x-session-affinity"] == "s1"


@ENDPOINTS
async def test_a_stream_comes_piece_by_piece(endpoint: str) -> None:
    def read(address: str) -> Iterator[str]:
        with model(address, endpoint) as chat:
            for chunk in chat.stream(PROMPT):
                if chunk.content:
                    yield chunk.content

    async def read_async(address: str) -> AsyncIterator[str]:
        with model(address, endpoint) as chat:
            async with chat.async_client:
                async for chunk in chat.astream(PROMPT):
                    if chunk.content:
                        yield chunk.content

    assert await read_piece_by_piece(read) == PIECES
    assert await read_piece_by_piece_async(read_async) == PIECES
