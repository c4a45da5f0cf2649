"""Answers of a given structure: JSON of a schema, tool calls, thinking, log-probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cfai import Ai, ByteStream, Call, LocalBinding, sse
from cfai.errors import BadInput
from cfai.weights import DEMO_MODEL

RANDOM = "@cf/test/llama"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city's name"}},
        "required": ["city"],
    },
}
ASKED = [{"role": "user", "content": "what is the weather in Paris?"}]


@pytest.fixture
async def demo() -> AsyncIterator[LocalBinding]:
    binding = LocalBinding()
    yield binding
    await binding.aclose()


async def events_of(binding: LocalBinding, call: Call) -> list[Any]:
    reply = await binding.send(call)
    assert isinstance(reply.body, ByteStream)
    data = [text async for event in reply.body for text in sse.Decoder().feed(event)]
    return [json.loads(text) for text in data if text != "[DONE]"]


@pytest.mark.parametrize("temperature", [0, 1, 5])
async def test_an_answer_of_a_schema_is_an_object(local: LocalBinding, temperature: float) -> None:
    asked = {"prompt": "New York", "temperature": temperature, "max_tokens": 60}
    result = await Ai(local).run(RANDOM, {**asked, "response_format": {"type": "json_schema", "json_schema": CITY}})
    assert isinstance(result.response.city, str)
    assert isinstance(result.response.people, int)


async def test_an_answer_of_a_schema_streams_as_its_text(local: LocalBinding) -> None:
    asked = {"prompt": "New York", "max_tokens": 60, "seed": 1, "stream": True}
    events = await events_of(
        local, Call(RANDOM, {**asked, "response_format": {"type": "json_schema", "json_schema": CITY}})
    )
    assert sorted(json.loads("".join(event["response"] for event in events))) == ["city", "people"]


async def test_a_schema_too_long_for_its_tokens_is_refused_at_once(local: LocalBinding) -> None:
    asked = {"prompt": "hi", "max_tokens": 3, "response_format": {"type": "json_schema", "json_schema": CITY}}
    with pytest.raises(BadInput) as caught:
        await Ai(local).run(RANDOM, asked)
    assert "max_tokens" in caught.value.hint


async def test_the_demo_model_calls_a_tool_and_answers_with_its_result(demo: LocalBinding) -> None:
    ai = Ai(demo)
    called = await ai.run(DEMO_MODEL, {"messages": ASKED, "tools": [WEATHER], "temperature": 0})
    assert called.tool_calls == [{"name": "get_weather", "arguments": {"city": "Paris"}}]
    turns = [
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": called.tool_calls.to_py()},
        {"role": "tool", "name": "get_weather", "content": "18 degrees and sunny"},
    ]
    answered = await ai.run(DEMO_MODEL, {"messages": turns, "tools": [WEATHER], "temperature": 0})
    assert answered.response == "It is 18 degrees and sunny in Paris."


async def test_openais_form_streams_the_call_with_its_reason(demo: LocalBinding) -> None:
    tools = [{"type": "function", "function": WEATHER}]
    asked = {"messages": ASKED, "tools": tools, "temperature": 0, "stream": True}
    choices = [event["choices"][0] for event in await events_of(demo, Call(DEMO_MODEL, asked, form="chat"))]
    deltas = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert deltas[0]["function"]["name"] == "get_weather"
    assert deltas[0]["id"]
    assert json.loads("".join(delta["function"].get("arguments") or "" for delta in deltas)) == {"city": "Paris"}
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_a_model_that_knows_no_tools_calls_the_one_it_must(local: LocalBinding) -> None:
    tools = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "add"}}]
    asked = {
        "messages": ASKED,
        "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "max_tokens": 60,
    }
    reply = await local.send(Call(RANDOM, asked, form="chat"))
    choice = reply.body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert list(json.loads(call["function"]["arguments"])) == ["city"]


async def test_tool_choice_none_offers_the_tools_to_nobody(demo: LocalBinding) -> None:
    asked = {"messages": ASKED, "tools": [{"type": "function", "function": WEATHER}], "temperature": 0}
    reply = await demo.send(Call(DEMO_MODEL, {**asked, "tool_choice": "none"}, form="chat"))
    message = reply.body["choices"][0]["message"]
    assert message["content"]
    assert not message.get("tool_calls")


async def test_log_probabilities_add_up_to_the_text(local: LocalBinding) -> None:
    asked = {"messages": [{"role": "user", "content": "New"}], "max_tokens": 8, "temperature": 0}
    asked |= {"logprobs": True, "top_logprobs": 3}
    choice = (await local.send(Call(RANDOM, asked, form="chat"))).body["choices"][0]
    tokens = choice["logprobs"]["content"]
    spelled = b"".join(bytes(token["bytes"]) for token in tokens).decode("utf-8", "replace")
    assert spelled.strip() == choice["message"]["content"].strip()
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 3 for token in tokens)
    assert all(math.exp(token["logprob"]) <= 1 for token in tokens)
    events = await events_of(local, Call(RANDOM, {**asked, "stream": True}, form="chat"))
    streamed = [
        token for event in events for token in ((event["choices"][0].get("logprobs") or {}).get("content") or ())
    ]
    assert len(streamed) == 8


async def test_who_will_not_wait_is_refused_where_all_slots_are_taken(endless_llama: Any) -> None:
    binding = LocalBinding({"@cf/my/model": endless_llama}, slots=1)
    stream = await Ai(binding).run("@cf/my/model", {"prompt": "New", "stream": True, "max_tokens": 4000})
    await anext(stream)
    refused = await binding.send(Call("@cf/my/model", {"prompt": "New"}, {"rejectIfBusy": True}))
    assert refused.error is not None
    assert (refused.error.code, refused.status) == (3040, 429)
    await stream.aclose()
    await binding.aclose()


async def test_production_has_its_oddities_by_setting_session_and_call(llama: Any) -> None:
    asked = {"prompt": "New", "stream": True, "max_tokens": 3, "temperature": 0}
    clean, production = LocalBinding({RANDOM: llama}), LocalBinding({RANDOM: llama}, fidelity="production")
    assert any("p" in event for event in await events_of(production, Call(RANDOM, asked)))
    assert not any("p" in event for event in await events_of(clean, Call(RANDOM, asked)))
    assert any("p" in event for event in await events_of(clean, Call(RANDOM, asked, {"fidelity": "production"})))
    stream = await Ai(clean, {"fidelity": "production"}).run(RANDOM, asked)
    assert b'"p":"' in b"".join([event async for event in stream])
    with pytest.raises(BadInput, match="clean or production"):
        await Ai(clean, {"fidelity": "exact"}).run(RANDOM, asked)
    await clean.aclose()
    await production.aclose()
