import json
from collections.abc import AsyncGenerator

import anyio
import pytest

from cfai import AiResult, ByteStream
from cfai.results import AiList, plain, wrap
from tests.conftest import ANY_LOOP


def test_a_result_is_a_dict_with_attributes() -> None:
    result = AiResult({"response": "hi", "usage": {"total_tokens": 3}, "data": [{"score": 1}, [2]]})
    assert result.response == result["response"] == "hi"
    assert result.usage.total_tokens == 3
    assert result.data[0].score == 1
    assert result.data.length == 2
    assert result.data[1:][0][0] == 2
    assert isinstance(result.data[:1], AiList)
    assert json.loads(json.dumps(result)) == result == {**result}


def test_to_py_gives_plain_containers() -> None:
    data = {"a": {"b": [{"c": 1}]}}
    copy = AiResult(data).to_py()
    assert copy == data
    assert type(copy) is type(copy["a"]) is dict
    assert type(copy["a"]["b"]) is list
    assert AiResult(data).a.b.to_py() == [{"c": 1}]


def test_a_missing_attribute_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no 'respnse', only: response"):
        _ = AiResult({"response": ""}).respnse
    assert getattr(AiResult(), "x", None) is None


def test_setting_an_attribute_sets_the_item() -> None:
    result = AiResult()
    result.response = "new"
    assert result == {"response": "new"}


def test_plain_asks_a_proxy_for_its_value() -> None:
    class Proxy:
        def to_py(self) -> object:
            return {"prompt": ("a", AiResult({"b": 1}))}

    assert plain(Proxy()) == {"prompt": ["a", {"b": 1}]}
    assert wrap(wrap({"a": 1})) == {"a": 1}


class Source:
    def __init__(self, *items: bytes | Exception) -> None:
        self.items = list(items)
        self.closed = 0

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        self.closed += 1


@ANY_LOOP
async def test_reading_to_the_end_closes_the_stream() -> None:
    source = Source(b"a", b"b")
    assert [chunk async for chunk in ByteStream(source)] == [b"a", b"b"]
    assert source.closed == 1


@ANY_LOOP
async def test_a_stream_that_was_never_read_closes_its_source() -> None:
    source = Source(b"a")
    stream = ByteStream(source)
    await stream.aclose()
    await stream.aclose()
    assert source.closed == 1
    assert [chunk async for chunk in stream] == []


@ANY_LOOP
async def test_leaving_the_block_closes_the_stream() -> None:
    source = Source(b"a", b"b")
    async with ByteStream(source) as stream:
        assert await anext(stream) == b"a"
    assert source.closed == 1


@ANY_LOOP
async def test_an_error_closes_the_stream() -> None:
    source = Source(ValueError("broke"))
    with pytest.raises(ValueError, match="broke"):
        await anext(ByteStream(source))
    assert source.closed == 1


@ANY_LOOP
async def test_a_cancelled_reader_closes_the_stream() -> None:
    class Stuck(Source):
        async def __anext__(self) -> bytes:
            await anyio.sleep_forever()
            raise AssertionError

        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()
            await super().aclose()

    source = Stuck()
    with anyio.move_on_after(0.01):
        await anext(ByteStream(source))
    assert source.closed == 1


@ANY_LOOP
async def test_wait_closed_returns_when_the_stream_ends() -> None:
    stream = ByteStream(Source(b"a"))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.wait_closed)
            await anyio.lowlevel.checkpoint()
            assert [chunk async for chunk in stream] == [b"a"]
        await stream.wait_closed()


@ANY_LOOP
async def test_who_waits_for_the_end_is_told_also_when_another_call_at_the_end_raises() -> None:
    async def fail() -> None:
        with pytest.raises(OSError, match="disk full"):
            await stream.aclose()

    def call() -> None:
        calls.append("made")
        raise OSError("disk full")

    calls: list[str] = []
    stream = ByteStream(Source(b"a"))
    stream.on_close(call)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.wait_closed)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(fail)
    await stream.aclose()
    assert calls == ["made"]


@ANY_LOOP
async def test_a_generator_is_a_source() -> None:
    ended = []

    async def chunks() -> AsyncGenerator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append(True)

    async with ByteStream(chunks()) as stream:
        assert await anext(stream) == b"a"
    assert ended == [True]
