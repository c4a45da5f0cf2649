"""What a program that runs a model sees of each fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from cfai import Ai, AiResult, ByteStream, Call, FakeBinding, FaultBinding, sse
from cfai.bindings.faults import CODES, SCENARIOS, Fault
from cfai.clock import VirtualClock
from cfai.errors import (
    AiError,
    ConnectionDropped,
    DailyLimit,
    EngineFailure,
    OutOfCapacity,
    RateLimited,
    RequestTimeout,
)
from cfai.testing import virtual_time_backend
from tests.bindings.faults.doubles import MODEL, PROMPT, STREAM


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Timeouts of programs cost no time."""
    return virtual_time_backend(request.param)


ANSWER = ["Né", "w", " York", "12"]
TEXT = "".join(ANSWER)

Seen = Callable[[Ai], Awaitable[None]]


def raises(kind: type[AiError], message: str, *, after: int | None = None) -> Seen:
    """The call raises it, or, `after` some events, its stream."""

    async def see(ai: Ai) -> None:
        events = []
        with pytest.raises(kind) as caught:
            stream = await ai.run(MODEL, STREAM)
            assert after is not None, "the call itself was to raise"
            async for event in stream:
                events.append(event)
        assert (type(caught.value), str(caught.value)) == (kind, message)
        assert len(events) == (after or 0)

    return see


def stalls(after: int) -> Seen:
    async def see(ai: Ai) -> None:
        events = []
        with anyio.move_on_after(3600) as scope:
            async for event in await ai.run(MODEL, STREAM):
                events.append(event)
        assert scope.cancelled_caught
        assert len(events) == after

    return see


def streams(check: Callable[[list[bytes]], bool]) -> Seen:
    """The stream comes to its end, and its chunks are odd."""

    async def see(ai: Ai) -> None:
        chunks = [chunk async for chunk in await ai.run(MODEL, STREAM)]
        assert check(chunks), chunks

    return see


def pieces(chunks: list[bytes]) -> list[Any]:
    bodies = map(sse.loads, sse.Decoder().feed(b"".join(chunks)))
    return [body["response"] for body in bodies if isinstance(body, dict) and body.get("response")]


async def is_json_in_place_of_a_stream(ai: Ai) -> None:
    result = await ai.run(MODEL, STREAM)
    assert isinstance(result, AiResult)
    assert result.response == TEXT
    with pytest.raises(TypeError, match="async for"):
        async for _ in result:  # type: ignore[attr-defined]  # which is what the program would do
            pass


async def is_a_stream_of_another_type(ai: Ai) -> None:
    stream = await ai.run(MODEL, STREAM)
    reply = await ai.run(MODEL, STREAM, {"returnRawResponse": True})
    assert reply.headers["content-type"] == "text/plain"
    await reply.aclose()
    assert pieces([chunk async for chunk in stream]) == ANSWER


async def is_slow(ai: Ai) -> None:
    stream = await ai.run(MODEL, STREAM)
    times = [stream.clock.now() async for _ in stream]
    assert times[:4] == pytest.approx([0, 1, 2, 3])


LOST = "8500: Network connection lost."
IN_STREAMS: dict[str, Seen] = {
    "capacity": raises(OutOfCapacity, "3040: Capacity temporarily exceeded, please try again."),
    "rate-limit": raises(RateLimited, "3021: rate limiting: inference request per min rate reached"),
    "daily-neurons": raises(DailyLimit, "3036: You have used up your daily free allocation of 10,000 neurons"),
    "timeout": raises(RequestTimeout, "3007: Request timeout"),
    "timeout-in-stream": raises(RequestTimeout, "3007: Request timeout", after=1),
    "stall": stalls(after=1),
    "drop": raises(ConnectionDropped, LOST, after=1),
    "split-bytes": streams(lambda chunks: pieces(chunks) == ANSWER and {len(chunk) for chunk in chunks} == {1}),
    "merge": streams(lambda chunks: pieces(chunks) == ANSWER and chunks[0].count(b"data: ") == 2),
    "split-character": streams(lambda chunks: pieces(chunks) == ANSWER and chunks[0].endswith(b"\xc3")),
    "no-done": raises(EngineFailure, "8500: the stream ended before data: [DONE]", after=5),
    "two-dones": streams(lambda chunks: chunks[-2:] == [sse.DONE, sse.DONE]),
    "json-for-stream": is_json_in_place_of_a_stream,
    "number-response": streams(lambda chunks: pieces(chunks) == ["Né", "w", " York", 12]),
    "null-finaliser": streams(lambda chunks: b'{"tool_calls":[{"id":null,"type":null,' in chunks[4]),
    "content-type": is_a_stream_of_another_type,
    "slow-reader": is_slow,
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_stream_with_each_fault(name: str) -> None:
    fake = FakeBinding({MODEL: ANSWER})
    faults = FaultBinding(fake, name, clock=VirtualClock())
    await IN_STREAMS[name](Ai(faults))
    assert faults.injected[0].fault == Fault(name)


async def _whole(ai: Ai) -> str:
    """In a word or two, what comes of a call that does not stream."""
    try:
        with anyio.fail_after(3600):
            result = await ai.run(MODEL, PROMPT)
    except AiError as error:
        return str(error)
    except TimeoutError:
        return "nothing"
    if isinstance(result, ByteStream):
        return "a stream of " + b"".join([chunk async for chunk in result])[:12].decode()
    return repr(result.response)


WHOLE = {
    "capacity": "3040: Capacity temporarily exceeded, please try again.",
    "rate-limit": "3021: rate limiting: inference request per min rate reached",
    "daily-neurons": "3036: You have used up your daily free allocation of 10,000 neurons",
    "timeout": "3007: Request timeout",
    "stall": "nothing",
    "drop": LOST,
    "number-response": "42",
    "content-type": 'a stream of {"response":',
}
"""Every other fault is one of streams."""


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_whole_answer_with_each_fault(name: str) -> None:
    faults = FaultBinding(FakeBinding({MODEL: "42"}), name, clock=VirtualClock())
    assert await _whole(Ai(faults)) == WHOLE.get(name, "'42'")
    assert bool(faults.injected) == (name in WHOLE)
    assert faults.pending == ([] if name in WHOLE else [Fault(name)])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("inputs", [PROMPT, STREAM])
async def test_any_code_is_the_error_that_it_stands_for(code: int, inputs: dict[str, Any]) -> None:
    fake = FakeBinding({MODEL: "hi"})
    ai = Ai(FaultBinding(fake, f"{code}:1"))
    with pytest.raises(AiError) as caught:
        await ai.run(MODEL, inputs)
    assert caught.value.code == code
    assert caught.value.status == ai.last_request_http_status_code
    assert ai.last_request_id
    assert fake.calls == []
    assert await ai.run(MODEL, PROMPT) is not None


async def test_a_rate_limit_says_when_to_come_again() -> None:
    faults = FaultBinding(FakeBinding({MODEL: "hi"}), "rate-limit:1:seconds=2.5")
    reply = await faults.send(Call(MODEL, PROMPT))
    assert (reply.status, reply.headers["retry-after"]) == (429, "3")
    reply = await FaultBinding(FakeBinding(), "rate-limit").send(Call(MODEL, PROMPT))
    assert reply.headers["retry-after"] == "1"


async def test_a_timeout_comes_when_its_seconds_are_over() -> None:
    clock = VirtualClock()
    with pytest.raises(RequestTimeout):
        await Ai(FaultBinding(FakeBinding({MODEL: "hi"}), "3007:1:seconds=30", clock=clock)).run(MODEL, PROMPT)
    assert clock.now() == pytest.approx(30)


async def test_a_refusal_of_the_inner_binding_is_left_alone() -> None:
    refused = FakeBinding({MODEL: RateLimited()})
    faults = FaultBinding(refused, "drop, content-type, json-for-stream, split-bytes")
    for inputs in (PROMPT, STREAM):
        with pytest.raises(RateLimited):
            await Ai(faults).run(MODEL, inputs)
    assert faults.injected == []


async def test_an_error_is_known_however_its_event_is_cut() -> None:
    stream = await Ai(FaultBinding(FakeBinding({MODEL: ANSWER}), "split-bytes, timeout-in-stream:2")).run(MODEL, STREAM)
    got = b""
    with pytest.raises(RequestTimeout):
        async for byte in stream:
            got += byte
    assert pieces([got]) == ANSWER[:2]
    merged = await Ai(FaultBinding(FakeBinding({MODEL: ANSWER}), "merge:9, timeout-in-stream:2")).run(MODEL, STREAM)
    chunks = []
    with pytest.raises(RequestTimeout):
        async for chunk in merged:
            chunks.append(chunk)
    assert pieces(chunks) == ANSWER[:2]
