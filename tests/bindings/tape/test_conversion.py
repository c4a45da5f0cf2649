"""A tape that was recorded in one wire form answers in another, where that means something."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cfai import ByteStream, Call, FakeBinding, LocalBinding, TapeBinding, sse
from cfai.binding import Binding
from cfai.bindings.tape import NotOnTape
from cfai.clock import VirtualClock
from cfai.errors import EngineFailure, OutOfCapacity
from tests.bindings.tape.test_replay import MODEL, Served
from tests.conftest import ANY_LOOP

ASKED = {"temperature": 0, "max_tokens": 12, "messages": [{"role": "user", "content": "New York is located"}]}
RESPONSES = {"temperature": 0, "max_output_tokens": 12, "input": "New York is located"}
CALLS = {
    "2023": Call(MODEL, ASKED, {"asOf": "2023-11-14"}),
    "2025": Call(MODEL, ASKED, {"asOf": "2025-06-01"}),
    "today": Call(MODEL, ASKED),
    "production": Call(MODEL, ASKED, {"fidelity": "production"}),
    "chat": Call(MODEL, {**ASKED, "stream_options": {"include_usage": True}}, form="chat"),
    "responses": Call(MODEL, RESPONSES, form="responses"),
}


def of(name: str, *, stream: bool) -> Call:
    call = CALLS[name]
    return Call(call.model, {**call.inputs, "stream": stream}, call.options, form=call.form)


async def answer(binding: Binding, call: Call) -> str:
    """The whole answer as text, without what is another each time: ids, times and padding."""
    reply = await binding.send(call)
    assert reply.status == 200, reply.body
    if isinstance(reply.body, ByteStream):
        text = b"".join([chunk async for chunk in reply.body]).decode()
    else:
        text = json.dumps(reply.body)
    text = re.sub(r'"p": ?"\w+",?', "", text)
    text = re.sub(r'"(created|created_at)": ?[\d.]+', r'"\1":0', text)
    return re.sub(r'"(id-\d+|(?:(?:resp|msg|fc|rs)_)?[0-9a-f]{32,})"', '"id"', text)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("wanted", CALLS)
@pytest.mark.parametrize("recorded", CALLS)
async def test_every_form_replays_in_every_other(
    local: LocalBinding, tmp_path: Path, recorded: str, wanted: str, stream: bool
) -> None:
    tape = TapeBinding(tmp_path / "tape.json", local)
    await answer(tape, of(recorded, stream=stream))
    tape.close_tape()
    replayed = await answer(TapeBinding(tape.path, record="none"), of(wanted, stream=stream))
    live = await answer(local, of(wanted, stream=stream))
    if recorded == "2023" and wanted != "2023":
        # That form tells no usage, so the replay counts by itself, and without pieces cannot count tokens.
        untold = r'"(\w+_tokens|neurons)": ?[\d.e-]+'
        if not stream:
            untold += r'|"finish_reason": ?"\w+"|"status": ?"\w+"|"incomplete_details": ?(null|\{.*?\})'
        replayed, live = (re.sub(untold, "", text) for text in (replayed, live))
    assert replayed == live


@ANY_LOOP
async def test_the_time_of_each_piece_is_kept(tmp_path: Path) -> None:
    chunks = [sse.encode({"response": "New"}), sse.encode({"response": " York"}), sse.DONE]
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, Served(chunks, apart=3.0))
    await answer(tape, of("today", stream=True))
    tape.close_tape()
    clock = VirtualClock()
    reply = await TapeBinding(path, speed=1.0, clock=clock).send(of("chat", stream=True))
    assert isinstance(reply.body, ByteStream)
    seen = [(clock.now(), sse.loads(event.decode()[6:])) async for event in reply.body]
    contents = [(at, event["choices"][0]["delta"].get("content")) for at, event in seen[:4] if event]
    assert contents == [(3.0, ""), (3.0, "New"), (6.0, " York"), (9.0, "")]
    assert (seen[-1][0], seen[-2][1]["usage"]["completion_tokens"]) == (9.0, 2)


@ANY_LOOP
async def test_an_error_in_the_stream_is_written_as_the_call_wants_it(tmp_path: Path) -> None:
    lost = EngineFailure("the device is lost")
    chunks = [sse.encode({"response": "New"}), sse.encode(lost.to_event()), sse.DONE]
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, Served(chunks))
    await answer(tape, of("today", stream=True))
    tape.close_tape()
    reply = await TapeBinding(path).send(of("chat", stream=True))
    assert isinstance(reply.body, ByteStream)
    events = [event async for event in reply.body]
    assert events[-2:] == [sse.encode(lost.to_openai()), sse.DONE]
    assert b'"content":"New"' in events[1]


async def test_a_refusal_and_what_cannot_be_read_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, FakeBinding({MODEL: OutOfCapacity()}))
    refusal = await tape.send(of("today", stream=True))
    tape.close_tape()
    replayed = await TapeBinding(path).send(of("chat", stream=True))
    assert (replayed.status, replayed.body) == (refusal.status, refusal.body)

    odd = [b'data: {"token":"New"}\n\n', sse.DONE]
    path = tmp_path / "odd.json"
    tape = TapeBinding(path, Served(odd))
    await answer(tape, of("today", stream=True))
    tape.close_tape()
    reply = await TapeBinding(path).send(of("2023", stream=True))
    assert isinstance(reply.body, ByteStream)
    assert [chunk async for chunk in reply.body] == odd


async def test_another_question_in_another_form_is_not_answered(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, FakeBinding({MODEL: "hello"}))
    await tape.send(Call(MODEL, {"messages": [{"role": "user", "content": "hi"}], "seed": 1}))
    tape.close_tape()
    tape = TapeBinding(path)
    for inputs in ({"seed": 2}, {"seed": 1, "stream": True}, {"seed": 1, "logprobs": True}, {"seed": 1, "n": 2}):
        with pytest.raises(NotOnTape):
            await tape.send(Call(MODEL, {"messages": [{"role": "user", "content": "hi"}], **inputs}, form="chat"))
    same: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "seed": 1, "temperature": 0.6}
    reply = await tape.send(Call(MODEL, same, form="chat"))
    assert reply.body["choices"][0]["message"]["content"] == "hello"


CALLED: list[dict[str, Any]] = [
    {"response": "", "tool_calls": [{"id": "call00001", "type": "function", "index": 0, "function": {"name": "add"}}]},
    {"response": "", "tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1'}}]},
    {"response": "", "tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
    {"response": "", "finish_reason": "tool_calls"},
    {"response": "", "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}},
]


async def test_tool_calls_are_written_in_the_other_form(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}]
    inputs = {"messages": [{"role": "user", "content": "1 + 1"}], "tools": tools, "stream": True, "temperature": 0}
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, Served([*(sse.encode(event) for event in CALLED), sse.DONE]))
    await answer(tape, Call(MODEL, inputs))
    tape.close_tape()
    reply = await TapeBinding(path).send(Call(MODEL, inputs, form="chat"))
    assert isinstance(reply.body, ByteStream)
    events = [sse.loads(event.decode()[6:]) async for event in reply.body][1:-1]
    deltas = [event["choices"][0]["delta"].get("tool_calls", [None])[0] for event in events]
    assert deltas[0] == {
        "index": 0,
        "id": "call00001",
        "type": "function",
        "function": {"name": "add", "arguments": ""},
    }
    assert "".join(delta["function"]["arguments"] for delta in deltas[1:] if delta) == '{"a": 1}'
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_bare_prompt_is_answered_by_the_endpoint_for_completions(local: LocalBinding, tmp_path: Path) -> None:
    asked = {"prompt": "New York is", "temperature": 0, "max_tokens": 6, "stream": True}
    tape = TapeBinding(tmp_path / "tape.json", local)
    await answer(tape, Call(MODEL, {**asked, "raw": True}))
    tape.close_tape()
    completion = Call(MODEL, asked, form="completion")
    assert await answer(TapeBinding(tape.path), completion) == await answer(local, completion)


async def test_thinking_is_written_where_the_form_has_a_place_for_it(tmp_path: Path) -> None:
    deltas = [{"reasoning_content": "6 x 7"}, {"content": "42"}]
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}], "created": 1} for delta in deltas]
    last: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, Served([*(sse.encode(event) for event in [*events, last]), sse.DONE]))
    asked = {"messages": [{"role": "user", "content": "6 x 7?"}], "stream": True}
    await answer(tape, Call(MODEL, asked, form="chat"))
    tape.close_tape()
    classic = await answer(TapeBinding(path), Call(MODEL, {**asked, "temperature": 0.6}))
    assert "<think>6 x 7" in classic
    responses = {"input": "6 x 7?", "stream": True, "instructions": None, "metadata": {"key": "sk-not1a2secret3"}}
    text = await answer(TapeBinding(path), Call(MODEL, responses, form="responses"))
    assert '"type":"response.reasoning_text.delta"' in text
    assert text.count("sk-not1a2secret3") == 3  # what is echoed is the caller's own


async def test_whole_tool_calls_are_written_in_every_form(tmp_path: Path) -> None:
    tool = {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}}
    asked = {"messages": [{"role": "user", "content": "1 + 1"}], "tools": [tool]}
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    body = {"response": None, "tool_calls": [{"name": "add", "arguments": {"a": 1}}], "usage": usage}
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, FakeBinding({MODEL: body}, strict=False))
    await tape.send(Call(MODEL, asked))
    tape.close_tape()

    chat = (await TapeBinding(path).send(Call(MODEL, asked, form="chat"))).body
    (choice,) = chat["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a":1}'}
    assert chat["usage"]["completion_tokens"] == 9

    responses = {"input": "1 + 1", "tools": [{"type": "function", **tool}]}
    path = tmp_path / "responses.json"
    tape = TapeBinding(path, FakeBinding({MODEL: chat}, strict=False))
    await tape.send(Call(MODEL, asked, form="chat"))
    tape.close_tape()
    (item,) = (await TapeBinding(path).send(Call(MODEL, responses, form="responses"))).body["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "add", '{"a":1}')
