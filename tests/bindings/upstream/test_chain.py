"""cfai behind cfai: what one makes of a call reaches the other's caller unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cfai import Call, LocalBinding, UpstreamBinding
from cfai.errors import ContextExceeded
from cfai.server.app import rest_app
from tests.bindings.scripted import masked
from tests.serving import serving

MODEL = "@cf/test/llama"
HI = {"messages": [{"role": "user", "content": "New York is"}], "temperature": 0, "max_tokens": 40}
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 3}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": CITY}}


@pytest.fixture
async def chained(local: LocalBinding) -> AsyncIterator[UpstreamBinding]:
    async with serving(rest_app(local)) as address:
        binding = UpstreamBinding(address)
        yield binding
        await binding.aclose()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 80},
            id="a tool call",
        ),
        pytest.param({"response_format": {"type": "json_schema", "json_schema": {"schema": CITY}}}, id="JSON"),
        pytest.param({"logprobs": True, "top_logprobs": 3, "max_tokens": 6}, id="logprobs"),
        pytest.param({"temperature": 1, "seed": 7, "top_p": 0.9, "top_k": 9, "min_p": 0.01}, id="sampling"),
        pytest.param({"repetition_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.1}, id="penalties"),
        pytest.param({"stop": ["a", "e"]}, id="stops"),
        pytest.param({"logit_bias": {"20": 100}, "max_tokens": 4}, id="a bias"),
    ],
)
async def test_the_bytes_are_those_of_the_model_behind(
    chained: UpstreamBinding, local: LocalBinding, asked: dict[str, Any], stream: bool
) -> None:
    call = Call(MODEL, {**HI, **asked, "stream": stream, "stream_options": {"include_usage": True}}, form="chat")
    await local.send(call)  # so that both find the prompt in the cache
    assert await masked(await chained.send(call)) == await masked(await local.send(call))


@pytest.mark.parametrize("stream", [False, True])
async def test_several_answers_are_those_of_the_model_behind(
    chained: UpstreamBinding, local: LocalBinding, stream: bool
) -> None:
    call = Call(MODEL, {**HI, "n": 2, "temperature": 1, "seed": 5, "stream": stream}, form="chat")
    made, there = await masked(await chained.send(call)), await masked(await local.send(call))
    assert made[:2] == there[:2]
    for choice in (b'"index":0', b'"index":1'):  # whose pieces come in an order of their own
        assert [event for event in made[2] if choice in event] == [event for event in there[2] if choice in event]


async def test_errors_pass_with_their_code(chained: UpstreamBinding, local: LocalBinding) -> None:
    call = Call(MODEL, {**HI, "max_tokens": 100_000}, form="chat")
    error, there = (await chained.send(call)).error, (await local.send(call)).error
    assert isinstance(error, ContextExceeded)
    assert isinstance(there, ContextExceeded)
    assert error.description == there.description
