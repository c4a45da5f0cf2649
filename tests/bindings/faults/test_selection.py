"""Which call meets which fault, in which order, and what is told of it afterwards."""

from __future__ import annotations

import anyio
import pytest

from cfai import Ai, Call, FakeBinding, FaultBinding, sse
from cfai.binding import Listing, Searchable
from cfai.bindings.faults import SCENARIOS, Fault
from cfai.clock import RealClock, VirtualClock
from cfai.errors import AiError, ConnectionDropped, OutOfCapacity
from tests.bindings.faults.doubles import MODEL, PROMPT, STREAM, Watched, read, read_until_error

OTHER = "@cf/meta/llama-3.1-8b-instruct"


def fake() -> FakeBinding:
    return FakeBinding({MODEL: ["New", " York"], OTHER: "Paris"})


async def outcomes(faults: FaultBinding, calls: int, inputs: dict[str, object] | None = None) -> list[int]:
    """The code with which each of some calls was refused, 0 where it was answered."""
    found = []
    for _ in range(calls):
        reply = await faults.send(Call(MODEL, inputs or PROMPT))
        found.append(reply.error.code if reply.error else 0)
        await reply.aclose()
    return found


async def test_the_next_calls_and_no_more() -> None:
    faults = FaultBinding(fake(), "capacity:2")
    assert await outcomes(faults, 4) == [3040, 3040, 0, 0]
    assert faults.pending == []


async def test_the_first_refusal_that_is_left_refuses_and_the_others_wait_their_turn() -> None:
    faults = FaultBinding(fake(), "capacity:1, rate-limit:2", 5028)
    assert await outcomes(faults, 5) == [3040, 3021, 3021, 5028, 5028]


async def test_a_fault_of_answers_waits_while_calls_are_refused() -> None:
    faults = FaultBinding(fake(), "no-done:times=1", "capacity:1")
    assert await outcomes(faults, 1, STREAM) == [3040]
    assert faults.pending == [Fault("no-done", times=1)]
    assert sse.DONE not in await read(faults, Call(MODEL, STREAM))
    assert sse.DONE in await read(faults, Call(MODEL, STREAM))


async def test_a_fault_that_did_not_come_about_waits_for_the_next_call() -> None:
    faults = FaultBinding(fake(), "drop:9:times=1")
    await read(faults, Call(MODEL, STREAM))
    assert faults.injected == []
    assert faults.pending == [Fault("drop", after=9, times=1)]


async def test_faults_are_for_a_model_or_for_the_calls_that_a_function_picks() -> None:
    faults = FaultBinding(fake())
    faults.add("capacity", model=OTHER)
    faults.add("3021:1", when=lambda call: "paris" in call.inputs["prompt"])
    assert (await faults.send(Call(OTHER, PROMPT))).status == 429
    assert await outcomes(faults, 1) == [0]
    assert await outcomes(faults, 2, {"prompt": "where is paris?"}) == [3021, 0]


async def test_two_calls_at_once_do_not_share_one_fault() -> None:
    faults = FaultBinding(fake(), "drop:1:times=1")
    ended: list[Exception | None] = []

    async def ask() -> None:
        ended.append((await read_until_error(faults, Call(MODEL, STREAM)))[1])

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert sorted(type(error).__name__ for error in ended) == ["ConnectionDropped", *["NoneType"] * 4]


async def test_faults_act_in_one_order_whatever_the_order_they_were_added_in() -> None:
    """What is said, then where it breaks off, then how it is cut."""
    inner = Watched(FakeBinding({MODEL: ["1", "2", "3"]}))
    for faults in ("split-bytes, drop:2, number-response", "number-response, drop:2, split-bytes"):
        chunks, error = await read_until_error(FaultBinding(inner, faults), Call(MODEL, STREAM))
        assert b"".join(chunks).startswith(b'data: {"response":1')
        assert b"".join(chunks).count(b"\n\n") == 2
        assert {len(chunk) for chunk in chunks} == {1}
        assert isinstance(error, ConnectionDropped)


async def test_several_interruptions_of_one_stream_all_happen() -> None:
    clock = VirtualClock()
    faults = FaultBinding(fake(), "stall:1:seconds=5, stall:1:seconds=2, slow-reader:1, drop:2", clock=clock)
    chunks, error = await read_until_error(faults, Call(MODEL, STREAM))
    assert (len(chunks), clock.now()) == (2, 8)
    assert isinstance(error, ConnectionDropped)
    assert [injected.fault.scenario for injected in faults.injected] == ["stall", "stall", "slow-reader", "drop"]


async def test_what_merge_holds_back_comes_before_the_connection_drops() -> None:
    inner = Watched(fake())
    chunks, _ = await read_until_error(FaultBinding(inner, "merge:5, drop:2"), Call(MODEL, STREAM))
    assert chunks == [b"".join(inner.sent[:2])]


async def test_the_log_tells_what_was_done_to_which_call() -> None:
    faults = FaultBinding(fake(), "capacity:1, stall:1:seconds=3:times=1", clock=VirtualClock())
    await outcomes(faults, 2)
    await read(faults, Call(MODEL, STREAM))
    assert [str(injected) for injected in faults.injected] == [
        f"call 1, {MODEL}: capacity:1: refused with 3040",
        f"call 2, {MODEL}: stall:1:times=1:seconds=3: nothing of the answer",
    ]
    assert faults.injected[0].call.inputs == PROMPT


async def test_clear_takes_every_fault_away_and_keeps_the_log() -> None:
    faults = FaultBinding(fake(), "capacity", seed=1, rate=1)
    assert await outcomes(faults, 1) == [3040]
    faults.clear()
    assert await outcomes(faults, 3) == [0, 0, 0]
    assert (faults.pending, len(faults.injected)) == ([], 1)


async def test_one_binding_of_faults_goes_around_another() -> None:
    faults = FaultBinding(FaultBinding(fake(), "no-done"), "split-bytes")
    chunks, error = await read_until_error(faults, Call(MODEL, STREAM))
    assert error is None
    assert b"[DONE]" not in b"".join(chunks)
    assert {len(chunk) for chunk in chunks} == {1}


def test_the_clock_is_the_inner_bindings_where_it_has_one() -> None:
    inner, mine = fake(), VirtualClock()
    assert FaultBinding(inner).clock is inner.clock
    assert FaultBinding(FaultBinding(inner)).clock is inner.clock
    assert FaultBinding(inner, clock=mine).clock is mine
    assert isinstance(FaultBinding(Watched(fake())).clock, RealClock)


async def test_it_lists_models_where_the_inner_binding_does() -> None:
    faults = FaultBinding(fake(), "capacity")
    assert isinstance(faults, Listing)
    assert not isinstance(faults, Searchable)
    assert {row["name"] for row in await Ai(faults).models()} == {MODEL, OTHER}
    assert not isinstance(FaultBinding(Watched(fake())), Listing)


async def history(seed: int, calls: int = 40) -> list[str]:
    faults = FaultBinding(fake(), seed=seed, rate=0.5, clock=VirtualClock())
    for number in range(calls):
        try:
            result = await Ai(faults).run(MODEL, STREAM if number % 2 else PROMPT)
            if number % 2 and not isinstance(result, dict):
                async for _ in result:
                    pass
        except AiError:
            pass
    return list(map(str, faults.injected))


def test_a_seed_is_one_sequence_of_faults_on_every_loop() -> None:
    runs = [anyio.run(history, 7, backend=backend) for backend in ("asyncio", "trio", "asyncio")]
    assert runs[0] == runs[1] == runs[2]
    assert [line.replace(f"{MODEL}: ", "") for line in runs[0][:4]] == [  # on any machine, with any release of Python
        "call 3, content-type: the content type application/json; charset=utf-8",
        "call 5, rate-limit:seconds=5: refused with 3021",
        "call 8, two-dones: two [DONE]s",
        "call 11, rate-limit:seconds=4: refused with 3021",
    ]
    assert anyio.run(history, 8) != runs[0]
    assert 10 <= len(runs[0]) <= 30


async def test_the_answers_of_concurrent_calls_do_not_change_what_a_seed_decides() -> None:
    faults = FaultBinding(fake(), "random:7:rate=0.5", clock=VirtualClock())
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(read_quietly, faults)
    at_once = sorted((injected.number, str(injected.fault)) for injected in faults.injected)
    again = FaultBinding(fake(), "random:7:rate=0.5", clock=VirtualClock())
    for _ in range(20):
        await read_quietly(again)
    assert at_once == [(injected.number, str(injected.fault)) for injected in again.injected]


async def read_quietly(faults: FaultBinding) -> None:
    reply = await faults.send(Call(MODEL, STREAM))
    try:
        if not reply.error and not isinstance(reply.body, dict):
            async for _ in reply.body:
                pass
    except ConnectionDropped:
        pass


async def test_a_share_of_none_and_a_share_of_all() -> None:
    assert await outcomes(FaultBinding(fake(), seed=3, rate=0), 20) == [0] * 20
    faults = FaultBinding(fake(), Fault("random", seed=3, rate=1, times=2), clock=VirtualClock())
    for _ in range(4):
        await read_quietly(faults)
    assert len(faults.injected) == 2
    assert {injected.fault.scenario for injected in faults.injected} <= set(SCENARIOS)


async def test_a_fault_says_at_once_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match=r"no fault is called \'stal\'; did you mean \'stall\'\? That is: After"):
        FaultBinding(fake(), "stal")
    with pytest.raises(ValueError, match="the fault no-done takes no after"):
        FaultBinding(fake()).add("no-done", after=2)
    with pytest.raises(ValueError, match="no error has the code 3999"):
        FaultBinding(fake(), 3999)
    with pytest.raises(OutOfCapacity):
        await Ai(FaultBinding(fake(), 3040)).run(MODEL, PROMPT)
