"""OpenAI's SDK, `openai`, with `base_url` and nothing else changed."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel, Field

from tests.clients.held import MODEL, PIECES, TOKEN, read_piece_by_piece, read_piece_by_piece_async

PROMPT = "where is new york?"
ASKED = [{"role": "user", "content": PROMPT}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(address: str) -> Iterator[OpenAI]:
    with connect(f"{address}/client/v4/accounts/acc/ai/v1") as client:
        yield client


def connect(base_url: str, token: str = TOKEN) -> OpenAI:
    return OpenAI(api_key=token, base_url=base_url, max_retries=0)


def test_chat_completions(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, temperature=0)
    (choice,) = answer.choices
    assert str(choice.message.content).startswith("New York is located in")
    assert (choice.finish_reason, choice.message.role, answer.model) == ("stop", "assistant", MODEL)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_short_address(address: str) -> None:
    with connect(f"{address}/v1") as client:
        answer = client.chat.completions.create(model=MODEL, messages=ASKED, temperature=0, max_tokens=3)
    assert answer.choices[0].message.content == "New York is"


def test_a_stream_says_the_same_and_what_it_cost(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=ASKED, temperature=0)
    stream = client.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert last.choices == []
    assert last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_the_sdks_own_accumulation_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=ASKED, temperature=0) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert str(final.choices[0].message.content).startswith("New York is located in")


def test_length_and_stop_texts(client: OpenAI) -> None:
    short = client.chat.completions.create(model=MODEL, messages=ASKED, temperature=0, max_completion_tokens=4)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("New York is located", "length")
    stopped = client.chat.completions.create(model=MODEL, messages=ASKED, temperature=0, stop=[" located"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("New York is", "stop")


def test_several_answers_at_once(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": ASKED, "temperature": 2, "max_tokens": 12, "n": 3, "seed": 5}
    answer = client.chat.completions.create(**asked)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)


def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, max_tokens=3, logprobs=True, top_logprobs=2
    )
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    for token in tokens:
        assert len(token.top_logprobs) == 2
        assert token.logprob == token.top_logprobs[0].logprob <= 0, "greedy: the likeliest"
        assert bytes(token.bytes or []).decode() == token.token
        assert math.exp(token.logprob) <= 1


def test_a_tool_is_called_and_its_result_told(client: OpenAI) -> None:
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(model=MODEL, messages=asked, tools=[WEATHER], temperature=0)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) in [("tool_calls", None), ("tool_calls", "")]
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    told = [
        *asked,
        choice.message.to_dict(),
        {"role": "tool", "tool_call_id": call.id, "content": "18 degrees and sunny"},
    ]
    final = client.chat.completions.create(model=MODEL, messages=told, tools=[WEATHER], temperature=0)
    assert "sunny" in str(final.choices[0].message.content)


def test_a_streamed_tool_call(client: OpenAI) -> None:
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    with client.chat.completions.stream(model=MODEL, messages=asked, tools=[WEATHER], temperature=0) as stream:
        for _ in stream:
            pass
        (choice,) = stream.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})


def test_a_tool_must_be_called(client: OpenAI) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        answer = client.chat.completions.create(
            model=MODEL,
            messages=ASKED,
            tools=[WEATHER],
            tool_choice=choice,
            max_tokens=200,
        )
        assert answer.choices[0].message.tool_calls
        call = answer.choices[0].message.tool_calls[0]
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments).keys() == {"city"}


class City(BaseModel):
    name: str = Field(max_length=12)
    people: int = Field(ge=0, le=99_000_000)
    is_capital: bool


SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema(), "strict": True}}


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_fit_a_schema(client: OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": ASKED, "temperature": 0, "max_tokens": 80}
    if stream:
        chunks = client.chat.completions.create(**asked, response_format=SCHEMA, stream=True)
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    else:
        text = client.chat.completions.create(**asked, response_format=SCHEMA).choices[0].message.content
    City.model_validate_json(text)
    parsed = client.chat.completions.parse(**asked, response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)


def test_completions(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0, max_tokens=5)
    (choice,) = answer.choices
    assert (answer.object, choice.finish_reason) == ("text_completion", "length")
    stream = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0, max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == choice.text != ""


def test_responses(client: OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=PROMPT, temperature=0)
    assert answer.output_text.startswith("New York is located in")
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.output_tokens > 5
    as_items = client.responses.create(
        model=MODEL, instructions="Answer briefly.", input=[{"role": "user", "content": PROMPT}], temperature=0
    )
    assert as_items.output_text


def test_a_stream_of_responses(client: OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=PROMPT, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_models(client: OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert "@cfai/demo/tiny-chat" in ids
    assert [client.models.retrieve(name).id for name in ids] == ids
    with pytest.raises(NotFoundError):
        client.models.retrieve("@cf/no/such")


def test_errors_say_what_was_wrong(client: OpenAI) -> None:
    with pytest.raises(APIStatusError, match="No such model @cf/no/such or task") as unknown:
        client.chat.completions.create(model="@cf/no/such", messages=ASKED)
    assert unknown.value.status_code in (400, 404)
    with pytest.raises(BadRequestError, match="temperature"):
        client.chat.completions.create(model=MODEL, messages=ASKED, temperature=9)
    with pytest.raises(BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[])
    with (
        connect(str(client.base_url), "wrong") as stranger,
        pytest.raises(AuthenticationError, match="Authentication error"),
    ):
        stranger.chat.completions.create(model=MODEL, messages=ASKED)
    with pytest.raises(APIStatusError, match="No such model"):
        client.embeddings.create(model=MODEL, input="hi")


def chat(client: OpenAI) -> Iterator[str]:
    for chunk in client.chat.completions.create(model=MODEL, messages=ASKED, stream=True):
        yield from (choice.delta.content or "" for choice in chunk.choices)


def completion(client: OpenAI) -> Iterator[str]:
    for chunk in client.completions.create(model=MODEL, prompt=PROMPT, stream=True):
        yield from (choice.text for choice in chunk.choices)


def response(client: OpenAI) -> Iterator[str]:
    for event in client.responses.create(model=MODEL, input=PROMPT, stream=True):
        if event.type == "response.output_text.delta":
            yield event.delta


@pytest.mark.parametrize("pieces_of", [chat, completion, response])
async def test_a_stream_comes_piece_by_piece(pieces_of: Callable[[OpenAI], Iterator[str]]) -> None:
    def read(address: str) -> Iterator[str]:
        with connect(f"{address}/v1") as client:
            yield from filter(None, pieces_of(client))

    assert await read_piece_by_piece(read) == PIECES


async def test_a_stream_comes_piece_by_piece_to_the_async_client() -> None:
    async def read(address: str) -> AsyncIterator[str]:
        async with AsyncOpenAI(api_key=TOKEN, base_url=f"{address}/v1", max_retries=0) as client:
            async for chunk in await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True):
                if piece := "".join(choice.delta.content or "" for choice in chunk.choices):
                    yield piece

    assert await read_piece_by_piece_async(read) == PIECES
