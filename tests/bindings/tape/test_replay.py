"""A tape replays what was recorded, to the byte, the chunk and the error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cfai import Ai, ByteStream, Call, FakeBinding, LocalBinding, Reply, TapeBinding
from cfai.bindings.tape import NotOnTape, TapeEnds, UntrueTape
from cfai.clock import VirtualClock
from cfai.errors import EngineFailure, OutOfCapacity
from tests.conftest import ANY_LOOP

MODEL = "@cf/test/llama"
PROMPT = {"prompt": "New York is located", "temperature": 0, "max_tokens": 12}
STREAM = {**PROMPT, "stream": True}


class Served:
    """A binding that gives one stream of these chunks, so many seconds apart, and then this end."""

    def __init__(self, chunks: Sequence[bytes], *, apart: float = 0.0, error: Exception | None = None) -> None:
        self.clock = VirtualClock()
        self.closed = 0
        self._chunks = chunks
        self._apart = apart
        self._error = error

    async def send(self, call: Call) -> Reply:
        return Reply(ByteStream(self._stream()), headers={"content-type": "text/event-stream"})

    async def _stream(self) -> Any:
        try:
            for chunk in self._chunks:
                await self.clock.sleep(self._apart)
                yield chunk
            if self._error is not None:
                raise self._error
        finally:
            self.closed += 1

    async def aclose(self) -> None: ...


async def read(reply: Reply) -> list[bytes]:
    assert isinstance(reply.body, ByteStream)
    return [chunk async for chunk in reply.body]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tapes" / "one.json"


@ANY_LOOP
async def test_a_tape_of_the_local_model_replays_its_bytes(local: LocalBinding, path: Path) -> None:
    tape = TapeBinding(path, local)
    replies = [await tape.send(Call(MODEL, inputs)) for inputs in (STREAM, PROMPT, {"prompt": ""}, STREAM)]
    recorded = [await read(reply) if isinstance(reply.body, ByteStream) else reply.body for reply in replies]
    tape.close_tape()
    replayed = TapeBinding(path, record="none")
    for before, body in zip(replies, recorded, strict=True):
        inputs = {"prompt": ""} if before.status == 400 else STREAM if isinstance(before.body, ByteStream) else PROMPT
        reply = await replayed.send(Call(MODEL, inputs))
        assert (reply.status, reply.headers["content-type"]) == (before.status, before.headers["content-type"])
        assert reply.headers["cf-ai-req-id"]
        assert (await read(reply) if isinstance(reply.body, ByteStream) else reply.body) == body
    replayed.check()


@ANY_LOOP
async def test_boundaries_are_those_of_the_network_also_within_a_character(path: Path) -> None:
    chunks = [b'data: {"respon', 'se":"Zü'.encode()[:-1], 'ü"}\n\ndata: [DO'.encode()[1:], b"NE]\n\n", b"\xff\x00"]
    tape = TapeBinding(path, Served(chunks))
    assert await read(await tape.send(Call(MODEL, STREAM))) == chunks
    tape.close_tape()
    assert await read(await TapeBinding(path).send(Call(MODEL, STREAM))) == chunks


@ANY_LOOP
async def test_an_error_in_the_middle_is_replayed_as_the_same_error(path: Path) -> None:
    broken = EngineFailure("the device is lost", hint="start it again")
    for record in ("once", "none"):
        tape = TapeBinding(path, Served([b"data: 1\n\n"], error=broken), record=record)
        reply = await tape.send(Call(MODEL, STREAM))
        assert isinstance(reply.body, ByteStream)
        assert await anext(reply.body) == b"data: 1\n\n"
        with pytest.raises(EngineFailure, match="the device is lost") as caught:
            await anext(reply.body)
        assert (caught.value.status, caught.value.hint) == (500, "start it again")
        tape.close_tape()


async def test_a_replay_takes_the_recorded_time_of_its_clock(path: Path) -> None:
    tape = TapeBinding(path, Served([b"a", b"b"], apart=10.0))
    await read(await tape.send(Call(MODEL, STREAM)))
    tape.close_tape()
    for speed, seconds in ((1.0, [10, 20]), (4.0, [2.5, 5]), (None, [0, 0])):
        clock = VirtualClock()
        reply = await TapeBinding(path, speed=speed, clock=clock).send(Call(MODEL, STREAM))
        assert isinstance(reply.body, ByteStream)
        assert reply.body.clock is clock
        assert [clock.now() async for _ in reply.body] == seconds


async def test_a_tape_ends_where_its_reader_closed_the_stream(path: Path) -> None:
    served = Served([b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"])
    tape = TapeBinding(path, served)
    stream = await Ai(tape).run(MODEL, STREAM)
    first = await anext(stream)
    await stream.aclose()
    assert served.closed == 1
    tape.close_tape()
    stream = await Ai(TapeBinding(path)).run(MODEL, STREAM)
    assert await anext(stream) == first
    with pytest.raises(TapeEnds, match=r"entry 1: the tape ends here, after 1 chunk, .* record it anew"):
        await anext(stream)


async def test_a_stream_without_a_byte_never_passes(path: Path) -> None:
    tape = TapeBinding(path, Served([b"", b""]))
    with pytest.raises(TapeEnds, match="without a single byte"):
        await read(await tape.send(Call(MODEL, STREAM)))
    tape.close_tape()
    assert not path.exists()


async def test_a_call_that_is_not_on_the_tape_is_told_with_the_nearest_one(path: Path) -> None:
    fake = FakeBinding({MODEL: "hello", "@cf/other/model": "hi"})
    tape = TapeBinding(path, fake)
    await tape.send(Call("@cf/other/model", {"prompt": "where is paris?"}))
    await tape.send(Call(MODEL, {"prompt": "where is new york?"}))
    tape.close_tape()
    tape = TapeBinding(path)
    with pytest.raises(NotOnTape) as caught:
        await tape.send(Call(MODEL, {"prompt": "where is paris?"}))
    told = str(caught.value)
    assert "the nearest is entry 2:" in told
    assert '-    "prompt": "where is new york?"' in told
    assert '+    "prompt": "where is paris?"' in told
    assert 'record="new"' in told
    with pytest.raises(UntrueTape, match=r"entry 1 is unused: @cf/other/model .*\n.*entry 2 is unused"):
        tape.check()


async def test_equal_calls_replay_in_the_order_in_which_they_were_recorded(path: Path) -> None:
    answers = iter(["first", "second"])
    tape = TapeBinding(path, FakeBinding({MODEL: lambda call: next(answers)}))
    calls = [{"prompt": "hi", "max_tokens": 256}, {"stream": False, "seed": None, "prompt": "hi"}]
    for inputs in calls:
        await tape.send(Call(MODEL, inputs))
    tape.close_tape()
    tape = TapeBinding(path)
    assert [(await tape.send(Call(MODEL, inputs))).body["response"] for inputs in reversed(calls)] == [
        "first",
        "second",
    ]
    with pytest.raises(NotOnTape, match=r"played already: the tape has it 2 times"):
        await tape.send(Call(MODEL, {"prompt": "hi"}))
    tape = TapeBinding(path, repeat=True)
    played = [(await tape.send(Call(MODEL, {"prompt": "hi"}))).body["response"] for _ in range(5)]
    assert played == ["first", "second", "first", "second", "first"]


async def test_what_a_replay_gives_may_be_changed_by_its_reader(path: Path) -> None:
    tape = TapeBinding(path, FakeBinding({MODEL: "hello"}))
    await tape.send(Call(MODEL, PROMPT))
    tape.close_tape()
    tape = TapeBinding(path, repeat=True)
    (await tape.send(Call(MODEL, PROMPT))).body.clear()
    assert (await tape.send(Call(MODEL, PROMPT))).body["response"] == "hello"


async def test_refusals_are_on_the_tape_as_well(path: Path) -> None:
    tape = TapeBinding(path, FakeBinding({MODEL: OutOfCapacity()}))
    for _ in range(2):
        with pytest.raises(OutOfCapacity):
            await Ai(tape).run(MODEL, PROMPT)
        tape.close_tape()
        tape = TapeBinding(path, record="none")


async def test_a_number_is_the_same_however_it_is_written(path: Path) -> None:
    painter, asked = "@cf/stabilityai/stable-diffusion-xl-base-1.0", {"prompt": "a cat", "guidance": 7}
    tape = TapeBinding(path, FakeBinding({painter: b"picture"}))
    await read(await tape.send(Call(painter, asked)))
    tape.close_tape()
    replayed = TapeBinding(path, record="none")
    assert await read(await replayed.send(Call(painter, {**asked, "guidance": 7.0}))) == [b"picture"]
