"""What each fault makes of the bytes of a stream, whatever its form."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from cfai import Ai, Call, FakeBinding, FaultBinding, sse
from cfai.bindings.faults import SCENARIOS, Fault
from cfai.clock import VirtualClock
from cfai.errors import AiError, ConnectionDropped, EngineFailure, RequestTimeout
from tests.bindings.faults.doubles import (
    MODEL,
    STREAM,
    STREAM_CALLS,
    Chunks,
    Watched,
    body_of,
    read,
    read_until_error,
)
from tests.conftest import ANY_LOOP

ANY_FORM = pytest.mark.parametrize("call", STREAM_CALLS.values(), ids=STREAM_CALLS)
PIECES = ["Né", "w", " Ýork", " 漢字", " 🗽", " 12"]


def watched(*pieces: str) -> Watched:
    return Watched(FakeBinding({MODEL: list(pieces or PIECES)}))


@ANY_FORM
async def test_with_no_fault_every_chunk_is_the_inner_bindings(call: Call) -> None:
    inner = watched()
    chunks = await read(FaultBinding(inner, Fault("drop", model="@cf/another/model")), call)
    assert chunks == inner.sent
    assert inner.calls == [call]


async def test_with_no_fault_chunks_that_are_no_events_stay_as_they_are() -> None:
    chunks = [b'data: {"resp', b'onse":"a"}\n\nda', b"ta: [DONE]\n\n"]
    assert await read(FaultBinding(Chunks(*chunks)), Call(MODEL, STREAM)) == chunks


@ANY_FORM
async def test_split_bytes_gives_each_byte_by_itself(call: Call) -> None:
    inner = watched()
    chunks = await read(FaultBinding(inner, "split-bytes"), call)
    assert {len(chunk) for chunk in chunks} == {1}
    assert b"".join(chunks) == b"".join(inner.sent)


@ANY_FORM
async def test_merge_gives_several_events_as_one_chunk(call: Call) -> None:
    inner = watched()
    chunks = await read(FaultBinding(inner, "merge:3"), call)
    assert chunks == [b"".join(inner.sent[at : at + 3]) for at in range(0, len(inner.sent), 3)]


@ANY_FORM
async def test_split_character_cuts_every_character_of_more_than_one_byte(call: Call) -> None:
    inner = watched()
    faults = FaultBinding(inner, "split-character")
    chunks = await read(faults, call)
    assert b"".join(chunks) == b"".join(inner.sent)
    text = b"".join(chunks).decode()
    assert len(chunks) == len(inner.sent) + sum(1 for character in text if ord(character) > 127)
    with pytest.raises(UnicodeDecodeError):
        [chunk.decode() for chunk in chunks]
    assert faults.injected[0].what == "characters cut in two"


@ANY_FORM
async def test_split_character_says_when_there_was_none(call: Call) -> None:
    inner = watched("New", " York")
    faults = FaultBinding(inner, "split-character")
    chunks = await read(faults, call)
    assert chunks == [*inner.sent[:-1], b"data: [", b"DONE]\n\n"]
    assert faults.injected[0].what == "no character of more than one byte to cut; [DONE] cut in two"


@ANY_FORM
async def test_no_done_leaves_it_out(call: Call) -> None:
    inner = watched()
    assert await read(FaultBinding(inner, "no-done"), call) == inner.sent[:-1]
    assert inner.sent[-1] == sse.DONE


@ANY_FORM
async def test_two_dones_says_it_twice(call: Call) -> None:
    inner = watched()
    assert await read(FaultBinding(inner, "two-dones"), call) == [*inner.sent, sse.DONE]


@ANY_FORM
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_drop_breaks_off_after_some_events(call: Call, after: int) -> None:
    inner = watched()
    chunks, error = await read_until_error(FaultBinding(inner, Fault("drop", after=after)), call)
    assert isinstance(error, ConnectionDropped)
    assert chunks == inner.sent == inner.sent[:after]
    assert inner.open == 0


@ANY_FORM
async def test_a_timeout_in_the_middle_is_the_error_event_of_the_form(call: Call) -> None:
    inner, clock = watched(), VirtualClock()
    chunks = await read(FaultBinding(inner, "timeout-in-stream:2:seconds=30", clock=clock), call)
    assert clock.now() == 30
    assert chunks[:2] == inner.sent[:2]
    *_, failure, done = chunks
    assert (len(chunks), done) == (4, sse.DONE)
    told = body_of(failure)
    assert told["errors"] == [{"code": 3007, "message": "Request timeout"}]
    if call.form == "native":
        assert told["response"] == ""
    else:
        assert told["error"]["message"] == "Request timeout"
    if call.form == "responses":
        assert failure.startswith(b"event: error\ndata: ")
        assert (told["type"], told["sequence_number"]) == ("error", 2)


@ANY_FORM
async def test_a_stall_ends_when_its_seconds_have_passed(call: Call) -> None:
    inner, clock = watched(), VirtualClock()
    faults = FaultBinding(inner, "stall:2:seconds=45", clock=clock)
    reply = await faults.send(call)
    times = []
    async for _ in reply.body:
        times.append(clock.now())
    assert times == [0, 0] + [45] * (len(inner.sent) - 2)


@ANY_FORM
async def test_json_for_stream_answers_in_one_piece(call: Call) -> None:
    inner = watched("New", " York")
    asked = Call(MODEL, {**call.inputs, "stream_options": {"include_usage": True}}, form=call.form)
    reply = await FaultBinding(inner, "json-for-stream").send(asked)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert "New York" in sse.dumps(reply.body)
    assert not {"stream", "stream_options"} & inner.calls[0].inputs.keys()


async def test_a_number_is_a_number_in_the_classic_form_only() -> None:
    inner = watched("New", " York", "12", "1.50", "007")
    for form, call in STREAM_CALLS.items():
        faults = FaultBinding(inner, "number-response:1")
        chunks = await read(faults, call)
        changed = [chunk for chunk in chunks if chunk not in inner.sent]
        if form == "native":
            assert [body_of(chunk)["response"] for chunk in changed] == [12, 1.5]
            assert b'"response":1.50' in changed[1], "as production sends it"
            assert str(faults.injected[0]).endswith("number-response:1: the piece '12' as a number")
        else:
            assert changed == []
            assert faults.pending == [Fault("number-response", times=1)]


NULL = {"id": None, "type": None, "index": 0, "function": {"name": None, "arguments": ""}}


async def test_a_null_finaliser_comes_before_the_end_of_the_answer() -> None:
    inner = watched("New", " York")
    for form, call in STREAM_CALLS.items():
        faults = FaultBinding(inner, "null-finaliser:1")
        chunks = await read(faults, call)
        added = [chunk for chunk in chunks if chunk not in inner.sent]
        if form in ("completion", "responses"):  # they have no such tool calls
            assert added == []
            assert len(faults.pending) == 1
            continue
        [finaliser] = added
        said = [b"York" in chunk for chunk in chunks]
        assert said.index(True) < chunks.index(finaliser) < len(chunks) - 1
        body = body_of(finaliser)
        if form == "native":
            assert body == {"tool_calls": [NULL]}
        else:
            [choice] = body["choices"]
            assert choice["delta"] == {"tool_calls": [NULL]}
            assert body["id"] == body_of(inner.sent[0])["id"]
            assert body_of(chunks[chunks.index(finaliser) + 1])["choices"][0]["finish_reason"] == "stop"


async def test_a_wrong_content_type_leaves_the_bytes_alone() -> None:
    inner = watched()
    reply = await FaultBinding(inner, "content-type").send(Call(MODEL, STREAM))
    assert reply.headers["content-type"] == "text/plain"
    assert [chunk async for chunk in reply.body] == inner.sent
    reply = await FaultBinding(inner, Fault("content-type", content_type="text/html")).send(Call(MODEL, STREAM))
    assert reply.headers["content-type"] == "text/html"
    await reply.aclose()


async def test_a_slow_reader_holds_back_whoever_makes_the_answer() -> None:
    inner, clock = watched(), VirtualClock()
    reply = await FaultBinding(inner, "slow-reader:0.5", clock=clock).send(Call(MODEL, STREAM))
    taken = 0
    async for _ in reply.body:
        assert clock.now() == 0.5 * taken
        taken += 1
        assert len(inner.sent) == taken, "nothing is made before it is wanted"


async def test_events_are_counted_wherever_the_network_cut_them() -> None:
    inner = Chunks(b': keep-alive\n\ndata: {"resp', b'onse":"a"}\n\ndata: {"response":"b"}\n\nda', b"ta: [DONE]\n\n")
    chunks, error = await read_until_error(FaultBinding(inner, "drop:2"), Call(MODEL, STREAM))
    assert chunks == [b": keep-alive\n\n", b'data: {"response":"a"}\n\n', b'data: {"response":"b"}\n\n']
    assert isinstance(error, ConnectionDropped)


async def test_what_a_stream_says_before_it_fails_is_still_heard() -> None:
    events = [b'data: {"response":"a"}\n\n', b'data: {"response":"b"}\n\n']
    for faults in ("merge:5", "split-bytes", "no-done"):
        inner = Chunks(*events, EngineFailure("out of luck"))
        chunks, error = await read_until_error(FaultBinding(inner, faults), Call(MODEL, STREAM))
        assert b"".join(chunks) == b"".join(events)
        assert "out of luck" in str(error)


async def test_an_event_that_was_cut_short_goes_on_as_it_came() -> None:
    inner = Chunks(b'data: {"response":"a"}\n\ndata: {"re')
    assert b"".join(await read(FaultBinding(inner, "split-bytes"), Call(MODEL, STREAM))).endswith(b'\n\ndata: {"re')


async def test_a_binary_answer_is_interrupted_and_not_cut() -> None:
    image = [b"\x89PNG", b"\r\n\x1a\n", b": \n\n", b"\xff"]
    inner = Chunks(*image, content_type="image/png")
    call = Call("@cf/stabilityai/stable-diffusion-xl-base-1.0", {"prompt": "new york"})
    untouched = FaultBinding(
        inner, "split-bytes", "merge", "split-character", "no-done", "two-dones", "number-response"
    )
    assert await read(untouched, call) == image
    assert untouched.injected == []
    chunks, error = await read_until_error(FaultBinding(inner, "drop:3"), call)
    assert chunks == image[:3]
    assert isinstance(error, ConnectionDropped)
    reply = await FaultBinding(inner, "content-type").send(call)
    assert reply.headers["content-type"] == "text/plain"
    await reply.aclose()


@ANY_LOOP
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("leaves", ["at the end", "unread", "in the middle", "cancelled"])
async def test_no_fault_leaves_a_stream_open(name: str, leaves: str) -> None:
    inner = watched()
    faults = FaultBinding(inner, name, clock=VirtualClock())
    reply = await faults.send(Call(MODEL, STREAM))
    if reply.error or isinstance(reply.body, dict):
        assert inner.open == 0
        return
    with anyio.move_on_after(60), anyio.CancelScope() as scope:
        if leaves == "in the middle":
            await anext(reply.body)
        elif leaves != "unread":
            try:
                async for _ in reply.body:
                    if leaves == "cancelled" or name == "stall":
                        scope.cancel()
            except AiError as error:
                assert (name, type(error)) == ("drop", ConnectionDropped)
    if leaves in ("unread", "in the middle"):
        await reply.aclose()
    assert inner.open == 0


@ANY_LOOP
async def test_a_reader_that_is_cancelled_leaves_a_stall_at_once() -> None:
    inner = watched()
    reply = await FaultBinding(inner, "stall:1").send(Call(MODEL, STREAM))
    with anyio.fail_after(60), anyio.move_on_after(0.01) as scope:
        async for _ in reply.body:
            pass
    assert scope.cancelled_caught
    assert inner.open == 0


@ANY_LOOP
@pytest.mark.parametrize("fault", ["stall:1", "stall:1:seconds=3600", "timeout-in-stream:1:seconds=3600"])
async def test_closing_a_stream_ends_the_wait_of_whoever_reads_it(fault: str) -> None:
    inner = watched()
    reply = await FaultBinding(inner, fault).send(Call(MODEL, STREAM))
    events: list[bytes] = []

    async def read_on() -> None:
        async for event in reply.body:
            events.append(event)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_on)
            while not events:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            await reply.aclose()
    assert events == inner.sent[:1]
    assert inner.open == 0


@ANY_LOOP
async def test_a_call_that_is_cancelled_while_it_waits_for_its_timeout_counts_for_nothing() -> None:
    inner = watched()
    faults = FaultBinding(inner, "timeout:1:seconds=3600", "stall:seconds=3600")
    for inputs in (STREAM, {"prompt": "hi"}):
        with anyio.fail_after(60), anyio.move_on_after(0.01) as scope:
            await faults.send(Call(MODEL, inputs))
        assert scope.cancelled_caught
    assert faults.pending[0] == Fault("timeout", times=1, seconds=3600)
    assert faults.injected == []
    assert inner.calls == []


@ANY_LOOP
async def test_it_is_all_the_same_on_either_loop() -> None:
    stream = await Ai(FaultBinding(watched(), "split-bytes", "two-dones")).run(MODEL, STREAM)
    events = sse.Splitter()
    whole = [event async for chunk in stream for event in events.feed(chunk)]
    assert whole[-2:] == [sse.DONE, sse.DONE]
    with pytest.raises(RequestTimeout):
        async for _ in await Ai(FaultBinding(watched(), "timeout-in-stream:1")).run(MODEL, STREAM):
            pass
