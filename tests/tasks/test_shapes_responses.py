"""Responses: the object, and the events that tell how it grows."""

from typing import Any

import pytest

from cfai import sse
from cfai.errors import BadInput, EngineFailure, OutOfCapacity
from cfai.tasks.parts import Answer, CallArguments, CallStart, Part, Reasoning, Text
from tests.answers import CALLS, LIKELY, MODEL, THOUGHTS, TOOLS, USAGE, WORDS, shape, stream, told

ENDPOINT: dict[str, Any] = {"is_native": False}
USAGE_TOLD = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 10,
}


def without_ids(output: list[Any]) -> list[Any]:
    return [{key: value for key, value in item.items() if key != "id"} for item in output]


def message(text: str, status: str = "completed") -> dict[str, Any]:
    content = {"type": "output_text", "annotations": [], "text": text, "logprobs": []}
    return {"type": "message", "status": status, "role": "assistant", "content": [content]}


def test_the_events_of_a_text() -> None:
    events = told(stream(shape("responses", **ENDPOINT), WORDS))
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    added, part, new, york, text, part_done, item_done = events[2:9]
    assert added["item"]["content"] == []
    assert part["part"]["text"] == ""
    assert [new["delta"], york["delta"], text["text"], part_done["part"]["text"]] == ["New", " York"] + ["New York"] * 2
    assert without_ids([item_done["item"]]) == [message("New York")]
    assert {event["item_id"] for event in (part, new, york, text, part_done)} == {item_done["item"]["id"]}
    assert {event["output_index"] for event in events[2:9]} == {0}
    assert events[-1]["response"]["output"] == [item_done["item"]]
    assert events[-1]["response"]["usage"] == USAGE_TOLD


def test_events_have_a_name_on_the_endpoint_and_none_through_run() -> None:
    endpoint, native = (stream(shape("responses", is_native=is_native), WORDS) for is_native in (False, True))
    assert endpoint[4].startswith(b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",')
    assert [event.partition(b"\n")[2] if event != sse.DONE else event for event in endpoint] == native


def test_the_object_begins_empty() -> None:
    created, in_progress = (event["response"] for event in told(stream(shape("responses"), WORDS))[:2])
    assert created == in_progress
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert (created["object"], created["model"], created["created_at"]) == ("response", MODEL, 1_700_000_000)


@pytest.mark.parametrize(
    "parts",
    [
        WORDS,
        CALLS,
        CALLS[1:],
        THOUGHTS,
        [*THOUGHTS, *CALLS],
        LIKELY,
        [],
        [CallStart(0, "call_a", "now")],
    ],
)
@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls"])
def test_the_stream_ends_with_the_whole_object(parts: list[Part], finish: Any) -> None:
    *events, last = told(stream(shape("responses", tools=TOOLS), parts, finish=finish))
    whole = shape("responses", tools=TOOLS).whole([Answer.of(parts, finish)], USAGE)
    streamed = last["response"]
    assert last["type"] == f"response.{whole['status']}"
    assert without_ids(streamed["output"]) == without_ids(whole["output"])
    assert {**streamed, "output": []} == {**whole, "output": []}
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == streamed["output"]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == list(range(len(done)))
    assert [event["item"]["id"] for event in added] == [item["id"] for item in done]
    assert {event["item"]["status"] for event in added} == {"in_progress"}


def test_tool_calls_are_items() -> None:
    whole = shape("responses", tools=TOOLS).whole([Answer.of(CALLS, "tool_calls")], USAGE)
    call = {"type": "function_call", "status": "completed"}
    assert whole["status"] == "completed"
    assert without_ids(whole["output"]) == [
        message("Well."),
        {**call, "call_id": "call_a", "name": "add", "arguments": '{"a":1}'},
        {**call, "call_id": "call_b", "name": "now", "arguments": "{}"},
    ]
    events = told(stream(shape("responses", tools=TOOLS), CALLS[1:4], finish="tool_calls"))
    assert [event["type"].removeprefix("response.") for event in events[2:-1]] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert events[5]["arguments"] == '{"a":1}'


def test_thoughts_are_an_item_before_the_message() -> None:
    events = told(stream(shape("responses"), THOUGHTS))
    thoughts, said = events[-1]["response"]["output"]
    assert thoughts["type"] == "reasoning"
    assert thoughts["content"] == [{"type": "reasoning_text", "text": "A town."}]
    assert said["content"][0]["text"] == "New York"
    deltas = [event["delta"] for event in events if event["type"] == "response.reasoning_text.delta"]
    assert deltas == ["A town", "."]


def test_text_behind_a_call_is_a_new_message() -> None:
    parts: list[Part] = [Text("Well."), CallStart(0, "a", "now"), CallArguments(0, "{}"), Text("So."), Reasoning("hm")]
    output = told(stream(shape("responses"), parts))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message", "reasoning"]


def test_an_answer_cut_at_its_length_is_incomplete() -> None:
    whole = shape("responses").whole([Answer.of(THOUGHTS, "length")], USAGE)
    assert whole["status"] == "incomplete"
    assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in whole["output"]] == ["completed", "incomplete"]


def test_logprobs_are_in_the_deltas_and_in_the_part() -> None:
    events = told(stream(shape("responses", logprobs=1), LIKELY))
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [[token["token"] for token in event["logprobs"]] for event in deltas] == [["New"], [" Yo", "rk"]]
    (item,) = events[-1]["response"]["output"]
    assert [token["logprob"] for token in item["content"][0]["logprobs"]] == [-0.5, -0.25, 0.0]


def test_the_object_repeats_the_request() -> None:
    asked = {"instructions": "Be brief.", "metadata": {"a": "b"}, "temperature": 0.5, "status": "of another"}
    made = shape("responses", echoed=asked, tools=TOOLS, tool_choice="required", forced_tool="add", max_tokens=9)
    whole = made.whole([Answer.of(WORDS, "stop")], USAGE)
    assert list(whole)[:2] == ["id", "object"]
    assert {key: whole[key] for key in ("instructions", "metadata", "temperature", "max_output_tokens", "status")} == {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "max_output_tokens": 9,
        "status": "completed",
    }
    assert whole["tool_choice"] == {"type": "function", "name": "add"}
    assert [(tool["type"], tool["name"]) for tool in whole["tools"]] == [("function", "add"), ("function", "now")]


def test_a_stream_that_breaks_has_failed_and_ends_with_the_error() -> None:
    *events, failed, error = told(stream(shape("responses", **ENDPOINT), WORDS, error=EngineFailure("out of memory")))
    assert events[-1]["type"] == "response.output_item.done"
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "out of memory"}
    assert without_ids(failed["response"]["output"]) == [message("New York", "incomplete")]
    assert error["type"] == "error"
    assert error["message"] == error["error"]["message"] == "out of memory"
    assert error["errors"] == [{"code": 8500, "message": "out of memory"}]
    assert error["sequence_number"] == failed["sequence_number"] + 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfCapacity(), "rate_limit_exceeded"),
        (BadInput("no"), "invalid_prompt"),
        (EngineFailure("x"), "server_error"),
    ],
)
def test_a_stream_that_fails_before_it_begins_begins_first(error: Any, code: str) -> None:
    made = shape("responses", **ENDPOINT)
    events = told(made.failure(error))
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.failed",
        "error",
    ]
    assert events[2]["response"]["error"]["code"] == code
