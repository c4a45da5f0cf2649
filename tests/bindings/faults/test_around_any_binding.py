"""The same faults around every kind of binding."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from cfai import Ai, Binding, Call, FakeBinding, FaultBinding, HttpBinding, LocalBinding, TapeBinding, sse
from cfai.errors import ConnectionDropped, OutOfCapacity
from cfai.server.app import rest_app
from tests.bindings.faults.doubles import MODEL, STREAM, body_of, read, read_until_error
from tests.serving import serving

LLAMA = "@cf/test/llama"
CALL = Call(LLAMA, {**STREAM, "temperature": 0, "max_tokens": 6})


@pytest.fixture(params=["fake", "local", "http", "tape"])
async def inner(request: pytest.FixtureRequest, local: LocalBinding, tmp_path: Path) -> AsyncIterator[Binding]:
    fake = FakeBinding({LLAMA: ["New", " York", " is", " big"]})
    match request.param:
        case "fake":
            yield fake
        case "local":
            yield local
        case "http":
            async with serving(rest_app(fake)) as address:
                http = HttpBinding(address)
                yield http
                await http.aclose()
        case "tape":
            path = tmp_path / "tape.json"
            recording = TapeBinding(path, fake)
            await read(recording, CALL)
            recording.close_tape()
            yield TapeBinding(path, record="none")


async def test_an_answer_is_refused_interrupted_and_cut(inner: Binding) -> None:
    faults = FaultBinding(inner, "capacity:1, drop:2:times=1, split-bytes, two-dones")
    assert isinstance((await faults.send(CALL)).error, OutOfCapacity)
    half, error = await read_until_error(faults, CALL)
    assert isinstance(error, ConnectionDropped)
    assert {len(byte) for byte in half} == {1}
    if isinstance(inner, TapeBinding):
        return  # it has one answer to give
    whole = b"".join(await read(faults, CALL))
    assert whole.startswith(b"".join(half))
    assert whole.endswith(sse.DONE + sse.DONE)


async def test_with_no_fault_it_is_the_inner_bindings_answer(inner: Binding) -> None:
    chunks = await read(FaultBinding(inner, "capacity:model=@cf/another/model"), CALL)
    assert chunks[-1] == sse.DONE
    assert all(isinstance(body_of(chunk)["response"], str) for chunk in chunks[:-1])


async def test_a_function_that_picks_calls_and_fails_leaves_nothing_open() -> None:
    """It is asked once for each call, before anything is."""
    asked: list[Call] = []

    def when(call: Call) -> bool:
        asked.append(call)
        return bool(call.inputs["city"])

    inner = FakeBinding({MODEL: "New York"})
    faults = FaultBinding(inner)
    faults.add("split-bytes, no-done", when=when)
    with pytest.raises(KeyError, match="city"):
        await faults.send(Call(MODEL, STREAM))
    assert inner.calls == []
    await read(faults, Call(MODEL, {**STREAM, "city": "New York"}))
    assert len(asked) == 3, "two faults ask"


async def test_bytes_have_a_wrong_content_type_too() -> None:
    call = Call("@cf/lykon/dreamshaper-8-lcm", {"prompt": "new york"})
    reply = await FaultBinding(FakeBinding({call.model: b"\x89PNG"}), "content-type").send(call)
    assert reply.headers["content-type"] == "text/plain"
    await reply.aclose()


@pytest.mark.parametrize("chunks", ["events", "network"])
async def test_a_server_that_drops_a_stream_is_recorded_as_one_that_drops_it(
    chunks: Literal["events", "network"], tmp_path: Path
) -> None:
    path = tmp_path / "tape.json"
    dropping = FaultBinding(FakeBinding({LLAMA: ["New", " York", " is", " big"]}), "drop:2")
    async with serving(rest_app(dropping)) as address:
        recording = TapeBinding(path, HttpBinding(address, chunks=chunks))
        recorded, error = await read_until_error(recording, CALL)
        assert isinstance(error, ConnectionDropped)
        await recording.aclose()
    async with serving(rest_app(TapeBinding(path, record="none"))) as address:
        http = HttpBinding(address, chunks=chunks)
        replayed, error = await read_until_error(http, CALL)
        await http.aclose()
    assert isinstance(error, ConnectionDropped)
    assert b"".join(replayed) == b"".join(recorded)
    assert b"[DONE]" not in b"".join(replayed)


async def test_the_inner_binding_may_be_exchanged() -> None:
    faults = FaultBinding(FakeBinding({"@cf/one/model": "one"}), "capacity:1")
    assert await Ai(faults).models() == [{"name": "@cf/one/model"}]
    faults.inner = FakeBinding({LLAMA: "two"})
    assert await Ai(faults).models() == [{"name": LLAMA}]
    assert isinstance((await faults.send(CALL)).error, OutOfCapacity)
