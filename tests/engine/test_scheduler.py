"""Which sequences run next, without a model."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cfai.engine.regions import Copy, Regions
from cfai.engine.scheduler import Scheduler, Step
from cfai.engine.sequence import Sampling, Sequence
from cfai.engine.stream import TextStream

PROMPT = range(100, 102)


def nobody() -> None: ...


def sequence(prompt: Iterable[int] = PROMPT, *, max_tokens: int = 8, limit: int = 256) -> Sequence:
    return Sequence([*prompt], Sampling(max_tokens=max_tokens), TextStream(nobody, limit=limit))


def scheduler(*, slots: int = 2, queue_limit: int = 8, step_tokens: int = 64, capacity: int = 1000) -> Scheduler:
    return Scheduler(slots=slots, queue_limit=queue_limit, step_tokens=step_tokens, regions=Regions(capacity))


def run(step: Step, token: int = 7) -> dict[Sequence, tuple[int, int]]:
    """Play the model: every draw gives `token`. Returns what each sequence did: tokens in, tokens drawn."""
    for work in step.works:
        work.sequence.ids += [token] * work.draws
    return {work.sequence: (work.count, work.draws) for work in step.works}


async def test_sequences_run_in_order_of_arrival_as_slots_are_free() -> None:
    plan = scheduler(slots=2)
    one, two, three = sequence(), sequence(), sequence()
    for each in (one, two, three):
        plan.add(each)
    assert run(plan.next_step()) == {one: (2, 1), two: (2, 1)}
    plan.remove(one)
    assert run(plan.next_step()) == {two: (1, 1), three: (2, 1)}


async def test_a_long_prompt_goes_in_chunks_beside_those_that_decode() -> None:
    plan = scheduler(slots=3, step_tokens=10)
    quick, long, last = sequence(), sequence(range(25)), sequence()
    plan.add(quick)
    assert run(plan.next_step()) == {quick: (2, 1)}
    plan.add(long)
    plan.add(last)
    assert run(plan.next_step()) == {quick: (1, 1), long: (9, 0)}
    assert run(plan.next_step()) == {quick: (1, 1), long: (9, 0)}
    assert run(plan.next_step()) == {quick: (1, 1), long: (7, 1), last: (2, 1)}
    assert run(plan.next_step()) == {quick: (1, 1), long: (1, 1), last: (1, 1)}


async def test_no_step_is_planned_beyond_the_last_token() -> None:
    plan = scheduler()
    one = sequence(max_tokens=2)
    plan.add(one)
    steps = [run(plan.next_step()) for _ in range(3)]
    assert steps == [{one: (2, 1)}, {one: (1, 1)}, {}]


async def test_steps_can_be_planned_before_the_tokens_of_the_last_are_known() -> None:
    plan = scheduler()
    one = sequence()
    plan.add(one)
    starts = [plan.next_step().works[0].start for _ in range(4)]
    assert starts == [0, 2, 3, 4]
    assert (one.made, one.drawn, one.left) == (0, 4, 1)


async def test_a_full_queue_says_so() -> None:
    plan = scheduler(slots=1, queue_limit=1)
    assert not plan.is_full
    plan.add(sequence())
    plan.add(sequence())
    assert plan.is_full


async def test_what_nobody_reads_leaves_the_queue_the_slots_and_the_cache() -> None:
    plan = scheduler(slots=1)
    running, kept, queued = sequence(), sequence(), sequence()
    for each in (running, kept, queued):
        plan.add(each)
    run(plan.next_step())
    await running.stream.aclose()
    await queued.stream.aclose()
    assert set(plan.drop_abandoned()) == {running, queued}
    assert plan.regions.used == 0
    assert run(plan.next_step()) == {kept: (2, 1)}


async def test_a_sequence_whose_reader_lags_waits_alone() -> None:
    plan = scheduler(slots=2)
    slow, quick = sequence(limit=1), sequence()
    plan.add(slow)
    plan.add(quick)
    run(plan.next_step())
    slow.stream.put("piece")
    assert run(plan.next_step()) == {quick: (1, 1)}
    assert await anext(slow.stream) == "piece"
    assert run(plan.next_step()) == {slow: (1, 1), quick: (1, 1)}


async def test_readers_who_lag_keep_no_slot_from_the_others() -> None:
    plan = scheduler(slots=2)
    lagging, others = [sequence(limit=1) for _ in range(2)], [sequence() for _ in range(2)]
    for each in (*lagging, *others):
        plan.add(each)
    assert [*run(plan.next_step())] == lagging
    for each in lagging:
        each.stream.put("piece")
    assert [*run(plan.next_step())] == others
    for each in lagging:
        await anext(each.stream)
    steps = [run(plan.next_step()) for _ in range(2)]
    assert all(len(step) == 2 for step in steps), "never more than there are slots"
    assert {each for step in steps for each in step} == {*lagging, *others}, "and everybody's turn comes"


async def test_a_sequence_waits_until_the_cache_has_room_for_its_longest_answer() -> None:
    plan = scheduler(capacity=30)
    one, two = sequence(range(10), max_tokens=8), sequence(range(50, 60), max_tokens=8)
    plan.add(one)
    plan.add(two)
    assert run(plan.next_step()) == {one: (10, 1)}
    plan.remove(one)
    assert run(plan.next_step()) == {two: (10, 1)}


async def test_a_lagging_reader_gives_its_room_up_and_is_computed_again() -> None:
    plan = scheduler(capacity=30)
    slow, next_one = sequence(range(10), max_tokens=8, limit=1), sequence(range(50, 60), max_tokens=8)
    plan.add(slow)
    run(plan.next_step())
    run(plan.next_step())
    slow.stream.put("piece")
    plan.add(next_one)
    assert run(plan.next_step()) == {next_one: (10, 1)}
    assert [*plan.waiting] == [slow]
    await anext(slow.stream)
    assert run(plan.next_step()) == {next_one: (1, 1)}, "there is no room yet"
    plan.remove(next_one)
    assert run(plan.next_step()) == {slow: (12, 1)}, "its prompt and the two tokens made"


async def test_a_chat_that_goes_on_is_not_computed_again() -> None:
    plan = scheduler()
    first = sequence(range(40))
    plan.add(first)
    for _ in range(3):
        run(plan.next_step())
    plan.remove(first)
    second = sequence([*range(40), 7, 7, 7, 200, 201])
    plan.add(second)
    step = plan.next_step()
    assert run(step) == {second: (3, 1)}, "the last token made was never put into the cache"
    assert step.copies == []
    assert second.stream.cached_tokens == 42


async def test_a_beginning_that_two_prompts_share_is_copied() -> None:
    plan = scheduler()
    first, second = sequence(range(40)), sequence([*range(30), 200])
    plan.add(first)
    run(plan.next_step())
    plan.add(second)
    step = plan.next_step()
    assert run(step) == {first: (1, 1), second: (1, 1)}
    assert step.copies == [Copy(0, 48, 30)]


async def test_what_failed_is_not_reused() -> None:
    plan = scheduler()
    first, second = sequence(range(40)), sequence(range(40))
    plan.add(first)
    run(plan.next_step())
    plan.remove(first, keep=False)
    plan.add(second)
    assert run(plan.next_step()) == {second: (40, 1)}


def test_regions_fill_gaps_and_what_is_kept_gives_way_oldest_first() -> None:
    regions = Regions(100)
    taken = [regions.take([n] * 20, 25) for n in range(4)]
    assert [region.start for region, _ in filter(None, taken)] == [0, 25, 50, 75]
    assert regions.take([9] * 20, 25) is None
    for pair in (taken[2], taken[0]):
        assert pair is not None
        regions.release(pair[0], 20)
    assert (regions.used, regions.kept) == (50, 40)
    third = regions.take([9] * 20, 25)
    assert third is not None
    assert third[0].start == 50, "the place that was left first"


def test_nothing_that_is_kept_gives_way_in_vain() -> None:
    regions = Regions(100)
    kept, running = regions.take([1] * 20, 25), regions.take([2] * 20, 50)
    assert kept is not None
    assert running is not None
    regions.release(kept[0], 20)
    assert regions.take([3] * 20, 60) is None
    assert regions.kept == 20
    assert not regions.has_room(60)
    assert regions.has_room(60, without=[running[0]])


def test_a_region_grows_into_free_room_behind_it() -> None:
    regions = Regions(100)
    ids = [*range(20)]
    first = regions.take(ids, 25)
    assert first is not None
    regions.release(first[0], 20)
    grown = regions.take([*ids, 50], 90)
    assert grown is not None
    assert (grown[0].start, grown[0].size, grown[0].computed, grown[1]) == (0, 90, 20, None)


@pytest.mark.parametrize("size", [101, 1000])
def test_a_region_larger_than_the_cache_is_not_given(size: int) -> None:
    assert Regions(100).take([1], size) is None
