"""The streams of `js`, as scripts use them."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfai.testing import virtual_time_backend
from cfai.worker.web.aborting import AbortController
from cfai.worker.web.streams.queueing import ByteLengthQueuingStrategy, CountQueuingStrategy
from cfai.worker.web.streams.readable import ReadableStream
from cfai.worker.web.streams.transform import TransformStream
from cfai.worker.web.streams.writable import WritableStream
from cfai.worker.web.values import JsException, JsTypeError, Uint8Array, jsnull, to_js


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes where nothing is left to do: however slow the machine, what was begun is done after a sleep."""
    return virtual_time_backend()


class Numbers:
    """A source that counts, and notes what it is asked."""

    def __init__(self, until: float = math.inf) -> None:
        self.made = 0
        self.until = until
        self.cancelled: list[Any] = []

    def pull(self, controller: Any) -> None:
        if self.made >= self.until:
            controller.close()
            return
        self.made += 1
        controller.enqueue(self.made)

    def cancel(self, reason: Any) -> None:
        self.cancelled.append(reason)

    def stream(self, **strategy: Any) -> ReadableStream:
        return ReadableStream.new({"pull": self.pull, "cancel": self.cancel}, strategy)


class Chunks:
    """An async iterable of bytes that notes how far it was read, and that it was closed."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks = chunks
        self.made = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for chunk in self.chunks:
                self.made += 1
                await asyncio.sleep(0)
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.closed = True


async def all_of(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


async def test_a_source_is_asked_as_far_as_its_strategy_wants() -> None:
    for mark, ahead in ((0, 0), (1, 1), (3, 3)):
        numbers = Numbers()
        reader = numbers.stream(highWaterMark=mark).getReader()
        await asyncio.sleep(0.01)
        assert numbers.made == ahead
        assert (await reader.read()).to_py() == {"done": False, "value": 1}
        assert numbers.made == ahead + 1


async def test_start_then_pull_then_the_end() -> None:
    seen: list[Any] = []

    async def start(controller: Any) -> None:
        seen.append(controller.desiredSize)
        await asyncio.sleep(0)
        controller.enqueue("one")

    async def pull(controller: Any) -> None:
        seen.append("pull")
        controller.enqueue("two")
        controller.close()

    assert await all_of(ReadableStream.new({"start": start, "pull": pull}, {"highWaterMark": 2})) == ["one", "two"]
    assert seen == [2, "pull"]


async def test_a_source_may_be_an_object_of_the_script() -> None:
    numbers = Numbers(2)
    assert await all_of(ReadableStream.new(numbers)) == [1, 2]


async def test_keywords_are_the_source() -> None:
    assert await all_of(ReadableStream.new(pull=Numbers(2).pull)) == [1, 2]


async def test_what_a_source_raises_is_what_the_reader_gets() -> None:
    for source in ({"start": _raise_later}, {"pull": _raise_later}, {"pull": _raise}):
        reader = ReadableStream.new(source).getReader()
        for _ in range(2):
            with pytest.raises(ValueError, match="boom"):
                await reader.read()
        with pytest.raises(ValueError, match="boom"):
            await reader.closed
    with pytest.raises(ValueError, match="boom"):
        ReadableStream.new({"start": _raise})


def _raise(controller: Any) -> None:
    raise ValueError("boom")


async def _raise_later(controller: Any) -> None:
    await asyncio.sleep(0)
    raise ValueError("boom")


async def test_controllers_refuse_what_comes_too_late() -> None:
    kept: list[Any] = []
    stream = ReadableStream.new({"start": kept.append})
    kept[0].enqueue("last")
    kept[0].close()
    with pytest.raises(JsTypeError, match="Unable to enqueue"):
        kept[0].enqueue("more")
    with pytest.raises(JsTypeError, match=r"This ReadableStream is closed\."):
        kept[0].close()
    assert await all_of(stream) == ["last"]


async def test_reads_are_answered_in_order() -> None:
    kept: list[Any] = []
    reader = ReadableStream.new({"start": kept.append}).getReader()
    reads = [reader.read() for _ in range(3)]
    kept[0].enqueue("a")
    kept[0].enqueue("b")
    kept[0].close()
    assert [(await read).to_py() for read in reads] == [
        {"done": False, "value": "a"},
        {"done": False, "value": "b"},
        {"done": True, "value": None},
    ]
    await reader.closed


async def test_a_lock_keeps_others_out() -> None:
    stream = Numbers().stream()
    reader = stream.getReader()
    assert stream.locked
    for refused in (stream.getReader, stream.tee, stream.values):
        with pytest.raises(JsTypeError, match="This ReadableStream is currently locked to a reader"):
            refused()
    for promise in (stream.cancel(), stream.pipeTo(WritableStream.new())):
        with pytest.raises(JsTypeError, match="This ReadableStream is currently locked to a reader"):
            await promise
    reader.releaseLock()
    with pytest.raises(JsTypeError, match="This ReadableStream reader has been released"):
        await reader.read()
    with pytest.raises(JsTypeError, match="This ReadableStream reader has been released"):
        await reader.closed
    assert (await stream.getReader().read()).value == 1


async def test_releasing_a_lock_fails_the_reads_that_wait() -> None:
    reader = ReadableStream.new({}).getReader()
    read = reader.read()
    reader.releaseLock()
    with pytest.raises(JsTypeError, match="released"):
        await read


async def test_cancel_reaches_the_source() -> None:
    numbers = Numbers()
    await numbers.stream().cancel("enough")
    assert numbers.cancelled == ["enough"]
    numbers = Numbers()
    reader = numbers.stream().getReader()
    await reader.read()
    await reader.cancel("enough")
    assert (await reader.read()).done
    assert numbers.cancelled == ["enough"]


async def test_an_iterable_is_read_one_by_one_and_closed() -> None:
    chunks = Chunks(b"a", b"b", b"c")
    stream = ReadableStream.of(chunks)
    reader = stream.getReader()
    await asyncio.sleep(0.01)
    assert chunks.made == 0
    assert (await reader.read()).value == b"a"
    assert chunks.made == 1
    await reader.cancel()
    assert chunks.closed


async def test_reading_to_the_end_closes_the_iterable() -> None:
    for read in (all_of, lambda stream: stream.pipeTo(WritableStream.new())):
        chunks = Chunks(b"a", b"b")
        await read(ReadableStream.of(chunks))
        assert chunks.closed


async def test_cancelling_while_a_read_waits_closes_the_iterable() -> None:
    closed = asyncio.Event()

    async def never() -> AsyncIterator[bytes]:
        try:
            await asyncio.sleep(60)
            yield b""
        finally:
            closed.set()

    reader = ReadableStream.of(never()).getReader()
    read = reader.read()
    await asyncio.sleep(0.01)
    await reader.cancel()
    assert (await read).done
    assert closed.is_set()


async def test_a_read_that_is_given_up_does_not_lose_its_chunk() -> None:
    kept: list[Any] = []
    reader = ReadableStream.new({"start": kept.append}).getReader()
    read = reader.read()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read, 0.01)
    kept[0].enqueue("late")
    assert (await read).value == "late"


async def test_leaving_an_iteration_cancels_the_stream() -> None:
    numbers = Numbers()
    stream = numbers.stream()
    values: Any = stream.values()
    assert await anext(values) == 1
    await values.aclose()
    assert numbers.cancelled == [None]
    assert not stream.locked
    numbers = Numbers()
    values = numbers.stream().values(preventCancel=True)
    await anext(values)
    await values.return_()
    assert numbers.cancelled == []


async def test_from_iterables() -> None:
    assert await all_of(ReadableStream.from_(["a", None, 2])) == ["a", None, 2]
    assert await all_of(ReadableStream.from_(Chunks("a"))) == ["a"]
    with pytest.raises(JsTypeError):
        ReadableStream.from_(5)


async def test_a_tee_gives_both_everything() -> None:
    chunks = Chunks(b"a", b"b")
    one, two = ReadableStream.of(chunks).tee()
    assert await all_of(one) == [b"a", b"b"]
    assert await all_of(two) == [b"a", b"b"]
    assert chunks.closed


async def test_a_tee_ends_its_source_when_nobody_reads() -> None:
    chunks = Chunks(b"a", b"b", b"c")
    one, two = ReadableStream.of(chunks).tee()
    await one.cancel()
    assert (await two.getReader().read()).value == b"a"
    assert not chunks.closed
    one, two = ReadableStream.of(chunks := Chunks(b"a", b"b")).tee()
    await one.getReader().read()
    await two.cancel()
    reader = one.getReader() if not one.locked else None
    assert reader is None
    await one.aclose()
    assert chunks.closed


async def test_a_tee_fails_on_both_sides() -> None:
    one, two = ReadableStream.of(Chunks(b"a", ValueError("boom"))).tee()
    for branch in (one, two):
        with pytest.raises(ValueError, match="boom"):
            await all_of(branch)


@settings(deadline=None)
@given(st.lists(st.integers()), st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_a_tee_whatever_the_order_of_reading(items: list[int], turns: list[bool], ahead: int) -> None:
    async def run() -> None:
        one, two = ReadableStream.from_(items).tee()
        readers = [one.getReader(), two.getReader()]
        got: list[list[int]] = [[], []]
        for turn in [*turns, *([True, False] * (len(items) + 1))]:
            result = await readers[turn].read()
            if not result.done:
                got[turn].append(result.value)
        assert got == [items, items]

    asyncio.run(run())


async def test_bytes_into_a_buffer() -> None:
    reader = ReadableStream.of(Chunks(b"abcdef", b"g")).getReader(mode="byob")
    read = [(await reader.read(to_js(bytes(4)))).value for _ in range(3)]  # type: ignore[call-arg]
    assert read == [b"abcd", b"ef", b"g"]
    end = await reader.read(to_js(bytes(4)))  # type: ignore[call-arg]
    assert end.done


async def test_at_least_so_many_bytes() -> None:
    reader: Any = ReadableStream.of(Chunks(b"ab", b"cd", b"efg")).getReader({"mode": "byob"})
    assert (await reader.readAtLeast(3, to_js(bytes(8)))).value == b"abcd"
    assert (await reader.readAtLeast(5, to_js(bytes(8)))).value == b"efg"
    assert (await reader.readAtLeast(5, to_js(bytes(8)))).done
    with pytest.raises(JsTypeError, match=r"Minimum bytes to read \(9\) exceeds size of buffer \(8\)"):
        await reader.readAtLeast(9, to_js(bytes(8)))
    with pytest.raises(JsTypeError, match="positive-sized TypedArray"):
        await reader.read(to_js(b""))


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=9)), st.lists(st.integers(1, 7), min_size=1))
def test_buffers_of_any_size_get_the_same_bytes(chunks: list[bytes], sizes: list[int]) -> None:
    async def run() -> None:
        reader: Any = ReadableStream.of(Chunks(*chunks)).getReader(mode="byob")
        got = b""
        turn = 0
        while not (result := await reader.read(to_js(bytes(size := sizes[turn % len(sizes)])))).done:
            assert 0 < len(result.value) <= size
            got += bytes(result.value)
            turn += 1
        assert got == b"".join(chunks)

    asyncio.run(run())


async def test_a_source_of_bytes_may_fill_the_readers_buffer() -> None:
    def pull(controller: Any) -> None:
        request = controller.byobRequest
        request.respondWithNewView(to_js(b"x" * len(request.view)))

    stream = ReadableStream.new({"type": "bytes", "pull": pull, "autoAllocateChunkSize": 3})
    reader: Any = stream.getReader(mode="byob")
    assert (await reader.read(to_js(bytes(5)))).value == b"xxxxx"
    reader.releaseLock()
    assert (await stream.getReader().read()).value == b"xxx"


async def test_a_source_of_bytes_takes_bytes_only() -> None:
    kept: list[Any] = []
    stream = ReadableStream.new({"type": "bytes", "start": kept.append})
    for bad in ("text", 5, b""):
        with pytest.raises(JsTypeError):
            kept[0].enqueue(bad)
    kept[0].enqueue(to_js(b"ab"))
    kept[0].close()
    assert await all_of(stream) == [b"ab"]


async def test_only_bytes_go_into_a_buffer() -> None:
    with pytest.raises(JsTypeError, match="This ReadableStream does not support BYOB reads"):
        Numbers().stream().getReader(mode="byob")
    with pytest.raises(JsTypeError, match="mode must be undefined or 'byob'"):
        Numbers().stream().getReader(mode="other")
    with pytest.raises(JsTypeError, match='"other" is not a valid type of ReadableStream'):
        ReadableStream.new({"type": "other"})


class Sink:
    """Notes what it is told; a write waits for `gate`."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.gate = asyncio.Event()

    async def write(self, chunk: Any, controller: Any) -> None:
        await self.gate.wait()
        if isinstance(chunk, Exception):
            raise chunk
        self.told.append(chunk)

    def close(self) -> None:
        self.told.append("closed")

    def abort(self, reason: Any) -> None:
        self.told.append(("aborted", str(reason)))


async def test_a_writer_is_told_to_wait() -> None:
    sink = Sink()
    stream = WritableStream.new(sink, CountQueuingStrategy.new(highWaterMark=2))
    writer = stream.getWriter()
    assert (writer.desiredSize, writer.ready.is_pending) == (2, False)
    writes = [writer.write(number) for number in range(3)]
    assert (writer.desiredSize, writer.ready.is_pending) == (-1, True)
    sink.gate.set()
    await writer.ready
    await asyncio.gather(*writes)
    await writer.close()
    assert sink.told == [0, 1, 2, "closed"]
    await writer.closed
    with pytest.raises(JsTypeError, match="This WritableStream has been closed"):
        await writer.write("more")


async def test_bytes_count_by_their_length() -> None:
    writer = WritableStream.new(Sink(), ByteLengthQueuingStrategy.new(highWaterMark=10)).getWriter()
    writer.write(Uint8Array(b"abcd"))
    assert writer.desiredSize == 6


async def test_a_failed_write_ends_everything() -> None:
    sink = Sink()
    sink.gate.set()
    writer = WritableStream.new(sink).getWriter()
    for promise in [writer.write(ValueError("boom")), writer.write("after"), writer.close(), writer.closed]:
        with pytest.raises(ValueError, match="boom"):
            await promise
    with pytest.raises(ValueError, match="boom"):
        await writer.ready
    assert writer.desiredSize is jsnull
    assert sink.told == []


async def test_abort_reaches_the_sink_after_the_write_under_way() -> None:
    sink = Sink()
    writer = WritableStream.new(sink).getWriter()
    first, second = writer.write("a"), writer.write("b")
    aborted = writer.abort("enough")
    sink.gate.set()
    await first
    await aborted
    with pytest.raises(JsException, match="enough"):
        await second
    assert sink.told == ["a", ("aborted", "enough")]


async def test_a_writable_lock_keeps_others_out() -> None:
    stream = WritableStream.new(Sink())
    writer = stream.getWriter()
    with pytest.raises(JsTypeError, match="This WritableStream is currently locked to a writer"):
        stream.getWriter()
    for promise in (stream.close(), stream.abort()):
        with pytest.raises(JsTypeError, match="This WritableStream is currently locked to a writer"):
            await promise
    writer.releaseLock()
    with pytest.raises(JsTypeError, match="This WritableStream writer has been released"):
        await writer.write("a")
    stream.getWriter()


async def test_a_transform_changes_each_chunk_and_adds_at_the_end() -> None:
    def transform(chunk: Any, controller: Any) -> None:
        controller.enqueue(chunk * 2)

    def flush(controller: Any) -> None:
        controller.enqueue("end")

    stream = ReadableStream.from_([1, 2]).pipeThrough(TransformStream.new({"transform": transform, "flush": flush}))
    assert await all_of(stream) == [2, 4, "end"]


async def test_an_async_transform_and_several_in_a_row() -> None:
    async def spell(chunk: Any, controller: Any) -> None:
        for letter in chunk:
            await asyncio.sleep(0)
            controller.enqueue(letter)

    stream = ReadableStream.from_(["ab", "", "c"])
    for _ in range(3):
        stream = stream.pipeThrough(TransformStream.new(transform=spell))
    assert await all_of(stream) == ["a", "b", "c"]


async def test_a_write_waits_until_it_is_read() -> None:
    pipe = TransformStream.new()
    writer = pipe.writable.getWriter()
    first = writer.write("a")
    await asyncio.sleep(0.01)
    assert first.is_pending
    reader = pipe.readable.getReader()
    assert (await reader.read()).value == "a"
    await first
    closing = writer.close()
    assert (await reader.read()).done
    await closing


async def test_a_transform_that_fails_fails_both_ends() -> None:
    async def transform(chunk: Any, controller: Any) -> None:
        raise ValueError("boom")

    pipe = TransformStream.new({"transform": transform})
    writer = pipe.writable.getWriter()
    reader = pipe.readable.getReader()
    read, write = reader.read(), writer.write("a")
    for promise in (read, write, writer.closed, reader.closed):
        with pytest.raises(ValueError, match="boom"):
            await promise


async def test_whoever_reads_may_give_up() -> None:
    pipe = TransformStream.new()
    writer = pipe.writable.getWriter()
    write = writer.write("a")
    await pipe.readable.cancel("enough")
    for promise in (write, writer.closed, writer.write("b")):
        with pytest.raises(JsException, match="enough"):
            await promise


async def test_whoever_writes_may_give_up() -> None:
    pipe = TransformStream.new()
    reader = pipe.readable.getReader()
    read = reader.read()
    await pipe.writable.abort("enough")
    with pytest.raises(JsException, match="enough"):
        await read


async def test_a_transform_may_terminate() -> None:
    def transform(chunk: Any, controller: Any) -> None:
        controller.enqueue(chunk)
        controller.terminate()

    pipe = TransformStream.new({"transform": transform})
    writer = pipe.writable.getWriter()
    writer.write("a").mark_handled()
    assert await all_of(pipe.readable) == ["a"]
    with pytest.raises(JsTypeError, match="The transform stream has been terminated"):
        await writer.write("b")


async def test_a_pipe_goes_no_faster_than_its_destination() -> None:
    sink, numbers = Sink(), Numbers()
    piping = numbers.stream(highWaterMark=0).pipeTo(WritableStream.new(sink, {"highWaterMark": 3}))
    await asyncio.sleep(0.05)
    assert numbers.made == 3
    numbers.until = 5
    sink.gate.set()
    await piping
    assert sink.told == [1, 2, 3, 4, 5, "closed"]


async def test_a_pipe_tells_each_side_of_the_others_failure() -> None:
    sink = Sink()
    sink.gate.set()
    with pytest.raises(ValueError, match="boom"):
        await ReadableStream.of(Chunks("a", ValueError("boom"))).pipeTo(WritableStream.new(sink))
    assert sink.told == ["a", ("aborted", "boom")]
    numbers = Numbers()

    def write(chunk: Any, controller: Any) -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        await numbers.stream().pipeTo(WritableStream.new({"write": write}))
    assert [str(reason) for reason in numbers.cancelled] == ["full"]


async def test_a_pipe_stops_at_a_signal() -> None:
    sink, numbers, controller = Sink(), Numbers(), AbortController.new()
    sink.gate.set()
    piping = numbers.stream().pipeTo(WritableStream.new(sink), signal=controller.signal)
    await asyncio.sleep(0)
    controller.abort("enough")
    with pytest.raises(JsException, match="enough"):
        await piping
    assert numbers.cancelled
    assert sink.told[-1] == ("aborted", "enough")


async def test_a_pipe_that_waits_for_its_source_stops_at_once() -> None:
    closed, controller = asyncio.Event(), AbortController.new()

    async def never() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await asyncio.sleep(60)
        finally:
            closed.set()

    piping = ReadableStream.of(never()).pipeTo(WritableStream.new(), signal=controller.signal)
    await asyncio.sleep(0.01)
    controller.abort("enough")
    with pytest.raises(JsException, match="enough"):
        await asyncio.wait_for(piping, 1)
    assert closed.is_set()


async def test_what_a_pipe_leaves_alone() -> None:
    sink = Sink()
    sink.gate.set()
    writable = WritableStream.new(sink)
    await ReadableStream.from_(["a"]).pipeTo(writable, preventClose=True)
    await ReadableStream.from_(["b"]).pipeTo(writable, {"preventClose": True})
    assert sink.told == ["a", "b"]
    assert not writable.locked
    with pytest.raises(ValueError, match="boom"):
        await ReadableStream.of(Chunks(ValueError("boom"))).pipeTo(writable, preventAbort=True)
    await writable.getWriter().close()
    assert sink.told == ["a", "b", "closed"]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=5)), st.integers(0, 3), st.integers(0, 3))
def test_chunks_pass_through_whatever_is_kept_in_between(chunks: list[bytes], writable: int, readable: int) -> None:
    async def run() -> None:
        pipe = TransformStream.new(None, {"highWaterMark": writable or 1}, {"highWaterMark": readable})
        source = ReadableStream.of(Chunks(*chunks))
        assert await all_of(source.pipeThrough(pipe)) == chunks

    asyncio.run(run())
