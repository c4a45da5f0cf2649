"""Chat completions and completions, through `run` and on OpenAI's endpoints."""

import json
import random
from typing import Any

import pytest

from cfai import sse
from cfai.errors import EngineFailure, OutOfCapacity
from cfai.tasks.parts import Answer, Part, Reasoning, Text, TokenLogprob, Usage
from cfai.tasks.shapes import Fidelity, shape_for
from cfai.tasks.text_generation import TextGeneration
from tests.answers import CALLS, LIKELY, MODEL, THOUGHTS, TOOLS, USAGE, WORDS, shape, stream, told

COUNTED = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
}
ENDPOINT: dict[str, Any] = {"is_native": False}


def added_up(chunks: list[Any], choice: int = 0) -> dict[str, Any]:
    """The message that the deltas of a choice make, as a client adds them up."""
    message: dict[str, Any] = {"content": ""}
    calls: dict[int, dict[str, Any]] = {}
    for each in (each for chunk in chunks for each in chunk.get("choices", ()) if each["index"] == choice):
        delta = each.get("delta", {"content": each.get("text")})
        message["content"] += delta.get("content") or ""
        for key in ("role", "reasoning_content"):
            if delta.get(key):
                message[key] = message.get(key, "") + delta[key]
        for call in delta.get("tool_calls", ()):
            calls.setdefault(call["index"], {"arguments": ""}).update(
                {key: call[key] for key in ("id", "type") if key in call}
            )
            function = call["function"]
            calls[call["index"]]["arguments"] += function.get("arguments", "")
            if "name" in function:
                calls[call["index"]]["name"] = function["name"]
        if each.get("finish_reason"):
            message["finish_reason"] = each["finish_reason"]
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


def test_a_chat_through_run_ends_with_an_event_of_the_classic_form() -> None:
    first, new, york, last, usage, classic = told(stream(shape("chat"), WORDS))
    assert [list(chunk) for chunk in (first, new, york, last)] == [["choices", "created", "id", "model", "object"]] * 4
    assert first["choices"] == [
        {"delta": {"content": "", "role": "assistant"}, "finish_reason": None, "index": 0, "logprobs": None}
    ]
    assert new["choices"][0]["delta"] == {"content": "New"}
    assert york["choices"][0]["delta"] == {"content": " York"}
    assert last["choices"][0]["delta"] == {"content": ""}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    # The AI SDK takes the last usage and langchain adds those of the events that have a choice or a response.
    assert usage["usage"] == {**COUNTED, "neurons": 0.5}
    assert classic == {"response": "", "usage": {**COUNTED, "neurons": 0.5}}


def test_the_endpoint_tells_usage_if_asked_and_has_no_classic_event() -> None:
    chunks = told(stream(shape("chat", **ENDPOINT), WORDS))
    assert list(chunks[0]) == ["id", "created", "model", "object", "choices"]
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "New"},
        {"content": " York"},
        {"content": ""},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    *same, usage = told(stream(shape("chat", include_usage=True, **ENDPOINT), WORDS))
    assert same == chunks
    assert usage == {**chunks[0], "choices": [], "usage": COUNTED}


@pytest.mark.parametrize("is_native", [True, False])
def test_every_chunk_has_the_same_name_on_it(is_native: bool) -> None:
    chunks = [chunk for chunk in told(stream(shape("chat", is_native=is_native), CALLS)) if "choices" in chunk]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {MODEL}
    assert {chunk["created"] for chunk in chunks} == {1_700_000_000}
    (name,) = {chunk["id"] for chunk in chunks}
    assert len(name) == 32 if is_native else name == "id-1700000000250"


@pytest.mark.parametrize("piece", ['say "hi"', "two\nlines", "北京 🙂", "\u2028", "\0", "\\u0000", '"\\u0000"'])
def test_any_piece_arrives_as_it_is(piece: str) -> None:
    for name in ("chat", "completion"):
        chunks = told(stream(shape(name, model='@cf/"x"/{y}'), [Text(piece), Text(piece)]))
        assert added_up(chunks)["content"] == piece * 2


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("fidelity", ["clean", "production"])
@pytest.mark.parametrize(
    ("parts", "finish"), [(WORDS, "stop"), (WORDS, "length"), (CALLS, "tool_calls"), (THOUGHTS, "stop"), ([], "stop")]
)
def test_the_deltas_add_up_to_the_whole_message(
    parts: list[Part], finish: Any, fidelity: Fidelity, is_native: bool
) -> None:
    chunks = told(stream(shape("chat", is_native=is_native, fidelity=fidelity), parts, finish=finish))
    whole = shape("chat", is_native=is_native).whole([Answer.of(parts, finish)], USAGE)
    (choice,) = whole["choices"]
    message = choice["message"]
    expected = {key: message[key] for key in ("role", "content", "reasoning_content") if key in message}
    if "tool_calls" in message:
        expected["tool_calls"] = [
            {"id": call["id"], "type": call["type"], **call["function"]} for call in message["tool_calls"]
        ]
    assert added_up(chunks) == {**expected, "finish_reason": choice["finish_reason"]}


def test_a_whole_chat_through_run() -> None:
    whole = shape("chat").whole([Answer.of(WORDS, "stop")], USAGE)
    message = {"content": "New York", "role": "assistant"}
    assert json.dumps(whole) == json.dumps(
        {
            "choices": [{"finish_reason": "stop", "index": 0, "logprobs": None, "message": message}],
            "created": 1_700_000_000,
            "id": whole["id"],
            "model": MODEL,
            "object": "chat.completion",
            "usage": {**COUNTED, "neurons": 0.5},
        }
    )


def test_a_whole_chat_with_nothing_but_calls_has_no_content() -> None:
    whole = shape("chat", tools=TOOLS, **ENDPOINT).whole([Answer.of(CALLS[1:], "tool_calls")], USAGE)
    assert whole["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
            {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ],
    }
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert whole["usage"] == COUNTED


def test_several_answers_to_one_call() -> None:
    others: list[Part] = [Text("Old"), Text(" York")]
    for name in ("chat", "completion"):
        chunks = told(stream(shape(name, n=2, **ENDPOINT), WORDS, others))
        assert [added_up(chunks, choice)["content"] for choice in (0, 1)] == ["New York", "Old York"]
        answers = [Answer.of(WORDS, "stop"), Answer.of(others, "length")]
        whole = shape(name, n=2, **ENDPOINT).whole(answers, USAGE)
        assert [choice["index"] for choice in whole["choices"]] == [0, 1]
        assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "length"]


def test_logprobs_beside_each_piece() -> None:
    old = {"token": "Old", "logprob": -3.0, "bytes": [79, 108, 100]}
    new = {"token": "New", "logprob": -0.5, "bytes": [78, 101, 119], "top_logprobs": [old]}
    _, first, second, _ = told(stream(shape("chat", logprobs=1, **ENDPOINT), LIKELY))
    assert first["choices"][0]["logprobs"] == {"content": [new], "refusal": None}
    assert [token["token"] for token in second["choices"][0]["logprobs"]["content"]] == [" Yo", "rk"]
    (choice,) = shape("chat", logprobs=1, **ENDPOINT).whole([Answer.of(LIKELY, "stop")], USAGE)["choices"]
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["New", " Yo", "rk"]
    (choice,) = shape("chat", **ENDPOINT).whole([Answer.of(LIKELY, "stop")], USAGE)["choices"]
    assert choice["logprobs"] is None


def test_a_token_that_could_not_come_is_still_json() -> None:
    likely = TokenLogprob("a", b"a", 0.0, (TokenLogprob("b", b"b", float("-inf")),))
    for name in ("chat", "completion"):
        chunks = told(stream(shape(name, logprobs=1, **ENDPOINT), [Text("a", (likely,))]))
        written = json.dumps(chunks, allow_nan=False)
        assert "-9999.0" in written


def test_usage_tells_of_thoughts_where_openai_does() -> None:
    thought = Usage(prompt_tokens=7, completion_tokens=3, reasoning_tokens=2)
    answers = [Answer.of(THOUGHTS, "stop")]
    for name in ("chat", "completion"):
        usage = shape(name, **ENDPOINT).whole(answers, thought)["usage"]
        assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}
        assert "completion_tokens_details" not in shape(name).whole(answers, thought)["usage"]


def test_a_stream_that_breaks_ends_with_the_error_in_the_form_of_its_route() -> None:
    for name in ("chat", "completion"):
        *_, native = told(stream(shape(name), WORDS, error=EngineFailure("out of memory")))
        assert native == {"response": "", "errors": [{"code": 8500, "message": "out of memory"}]}
        *_, last = told(stream(shape(name, **ENDPOINT), WORDS, error=OutOfCapacity("16 wait")))
        assert last == OutOfCapacity("16 wait").to_openai()
        assert last["error"]["message"] == "Capacity temporarily exceeded, please try again. (16 wait)"


# Completions.


def test_completions_have_a_text_for_each_piece() -> None:
    chunks = told(stream(shape("completion", include_usage=True, **ENDPOINT), WORDS))
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "text": "New", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": " York", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
        [],
    ]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["usage"] == COUNTED


def test_a_completion_through_run_ends_as_a_chat_does() -> None:
    *_, usage, classic = told(stream(shape("completion"), WORDS))
    assert usage["choices"] == []
    assert classic == {"response": "", "usage": {**COUNTED, "neurons": 0.5}}


def test_a_whole_completion() -> None:
    assert shape("completion", **ENDPOINT).whole([Answer.of(THOUGHTS, "length")], USAGE) == {
        "id": "id-1700000000250",
        "created": 1_700_000_000,
        "model": MODEL,
        "object": "text_completion",
        "choices": [
            {"index": 0, "text": "<think>A town.</think>New York", "logprobs": None, "finish_reason": "length"}
        ],
        "usage": COUNTED,
    }
    chunks = told(stream(shape("completion", **ENDPOINT), [Reasoning("A town."), Text("New York")]))
    assert added_up(chunks)["content"] == "<think>A town.</think>New York"


def test_logprobs_of_completions_are_lists() -> None:
    (choice,) = shape("completion", logprobs=1, **ENDPOINT).whole([Answer.of(LIKELY, "stop")], USAGE)["choices"]
    expected = {
        "tokens": ["New", " Yo", "rk"],
        "token_logprobs": [-0.5, -0.25, 0.0],
        "top_logprobs": [{"Old": -3.0, "New": -0.5}, {"Old": -3.0, " Yo": -0.25}, {"Old": -3.0, "rk": 0.0}],
        "text_offset": [0, 3, 6],
    }
    assert choice["logprobs"] == expected
    chunks = told(stream(shape("completion", logprobs=1, **ENDPOINT), LIKELY))
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert {key: [value for each in streamed for value in each[key]] for key in expected} == expected


# Production.


def test_production_pads_each_chunk_and_tells_what_it_adds_to_the_usage() -> None:
    *chunks, rest, classic = told(stream(shape("chat", fidelity="production"), WORDS))
    assert all(8 <= len(chunk["p"]) <= 41 for chunk in (*chunks, rest))
    first, *deltas, last = chunks
    assert first["choices"] == [
        {
            "delta": {"content": "", "reasoning_content": None, "role": "assistant"},
            "finish_reason": None,
            "index": 0,
            "logprobs": None,
            "matched_stop": None,
        }
    ]
    assert first["usage"]["prompt_tokens"] == 7
    assert [chunk["usage"]["completion_tokens"] for chunk in deltas] == [1, 1]
    assert [chunk["usage"]["neurons"] for chunk in deltas] == [0.0272727, 0.0272727]
    assert last["choices"][0]["delta"] == {"reasoning_content": None}
    assert "usage" not in last
    # What the others add up to lacks the token that ended the answer.
    assert rest["usage"]["completion_tokens"] == 1
    assert rest["usage"]["prompt_tokens"] == 0
    assert classic == {"response": "", "usage": {**COUNTED, "neurons": 0.5}}


def test_production_counts_the_tokens_that_it_reports() -> None:
    chunks = told(stream(shape("chat", fidelity="production", logprobs=1), LIKELY))
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks[1:3]] == [1, 2]


def test_production_names_no_price_that_is_not_known() -> None:
    request = TextGeneration(prompt="hi", shape="chat")
    made = shape_for(request, MODEL, fidelity="production", now=0, rng=random.Random(0))
    (chunk,) = told([*made.part(Text("x")), sse.DONE])
    assert "neurons" not in chunk["usage"]


def test_production_reads_the_prompt_once_for_all_choices() -> None:
    chunks = told(stream(shape("chat", fidelity="production", n=2), WORDS, WORDS))
    assert sum(chunk["usage"]["prompt_tokens"] for chunk in chunks[:-1] if "usage" in chunk) == 7


def test_production_finishes_on_the_usage_chunk_of_the_endpoint() -> None:
    *chunks, last = told(stream(shape("chat", fidelity="production", **ENDPOINT), WORDS))
    assert [chunk["choices"] for chunk in chunks[1:]] == [
        [{"index": 0, "delta": {"content": "New"}}],
        [{"index": 0, "delta": {"content": " York"}}],
    ]
    assert last["choices"] == [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]
    assert last["usage"] == COUNTED
