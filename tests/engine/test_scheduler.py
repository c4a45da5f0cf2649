"""Which sequences run next, without a model."""

from __future__ import annotations

import pytest

from cfai.engine.scheduler import Scheduler
from cfai.engine.sequence import Sampling, Sequence
from cfai.engine.stream import TextStream


def nobody() -> None: ...


def sequence(*, limit: int = 256) -> Sequence:
    return Sequence([1, 2], Sampling(), TextStream(nobody, limit=limit))


async def test_sequences_run_in_order_of_arrival_as_slots_are_free() -> None:
    scheduler = Scheduler(slots=2, queue_limit=2)
    one, two, three = sequence(), sequence(), sequence()
    for each in (one, two, three):
        scheduler.add(each)
    assert scheduler.next_step() == [one, two]
    scheduler.remove(one)
    assert scheduler.next_step() == [two, three]


async def test_a_full_queue_says_so() -> None:
    scheduler = Scheduler(slots=1, queue_limit=1)
    assert not scheduler.is_full
    scheduler.add(sequence())
    scheduler.add(sequence())
    assert scheduler.is_full


async def test_what_nobody_reads_leaves_the_queue_and_the_slots() -> None:
    scheduler = Scheduler(slots=1, queue_limit=3)
    running, kept, queued = sequence(), sequence(), sequence()
    for each in (running, kept, queued):
        scheduler.add(each)
    scheduler.next_step()
    await running.stream.aclose()
    await queued.stream.aclose()
    assert set(scheduler.drop_abandoned()) == {running, queued}
    assert scheduler.next_step() == [kept]


async def test_a_sequence_whose_reader_lags_waits_alone() -> None:
    scheduler = Scheduler(slots=2, queue_limit=0)
    slow, quick = sequence(limit=1), sequence()
    scheduler.add(slow)
    scheduler.add(quick)
    assert scheduler.next_step() == [slow, quick]
    slow.stream.put("piece")
    assert scheduler.next_step() == [quick]
    assert await anext(slow.stream) == "piece"
    assert scheduler.next_step() == [slow, quick]


async def test_readers_who_lag_keep_no_place_from_the_others() -> None:
    scheduler = Scheduler(slots=2, queue_limit=4)
    lagging, waiting = [sequence(limit=1) for _ in range(2)], [sequence() for _ in range(2)]
    for each in (*lagging, *waiting):
        scheduler.add(each)
    assert scheduler.next_step() == lagging
    for each in lagging:
        each.stream.put("piece")
    assert scheduler.next_step() == waiting
    for each in lagging:
        await anext(each.stream)
    steps = [scheduler.next_step() for _ in range(4)]
    assert all(len(step) == 2 for step in steps), "never more than there are slots"
    assert {each for step in steps[:2] for each in step} == {*lagging, *waiting}, "and everybody's turn comes"


@pytest.mark.parametrize(("prefilled", "needs"), [(0, True), (1, True), (2, False)])
async def test_a_sequence_needs_prefill_until_its_prompt_is_in(prefilled: int, needs: bool) -> None:
    one = sequence()
    one.prefilled = prefilled
    assert one.needs_prefill is needs
