"""LoadedModels: who is in memory, with engines that load and end when a test says so."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from cfai.bindings.loaded import Lease, LoadedModels
from cfai.clock import VirtualClock
from cfai.errors import AiError, EngineFailure, NotEnoughMemory, OutOfCapacity, RequestAborted
from cfai.quantities import FOREVER
from tests.bindings.loaded.doubles import Device, EngineDouble, LoaderDouble, weights_of
from tests.conftest import ANY_LOOP
from tests.waiting import until

SIZES = {"a": 4, "b": 4, "c": 4, "large": 9, "huge": 11}

IS_LONG = bool(os.environ.get("CFAI_LONG"))
ANSWERS = 10_000 if IS_LONG else 300

Start = Callable[..., LoadedModels[EngineDouble]]


@pytest.fixture
def device() -> Device:
    return Device(10)


@pytest.fixture
async def start(device: Device) -> AsyncIterator[Start]:
    """Make one that is closed in the end; whatever must never be has not been."""
    made: list[LoadedModels[EngineDouble]] = []

    def start(on_start: Callable[[EngineDouble], object] | None = None, **settings: Any) -> LoadedModels[EngineDouble]:
        made.append(LoadedModels(LoaderDouble(SIZES, device, on_start), **settings))
        return made[-1]

    yield start
    for loaded in made:
        await loaded.aclose()
        assert not loaded.lives()
    assert not device.taken
    assert not device.wrongs


async def once(loaded: LoadedModels[EngineDouble], name: str, **options: Any) -> EngineDouble:
    """One answer of a model."""
    async with loaded.use(weights_of(name), **options) as engine:
        engine.users += 1
        await anyio.lowlevel.checkpoint()
        engine.users -= 1
    return engine


async def in_a_loop_of_its_own(backend: str, run: Callable[[], Awaitable[None]]) -> None:
    await to_thread.run_sync(lambda: anyio.run(run, backend=backend))


def names(loaded: LoadedModels[EngineDouble]) -> list[str]:
    return sorted(life.name for life in loaded.lives())


def is_measured(loaded: LoadedModels[EngineDouble], name: str) -> bool:
    """Whether it is known how much room the model wants; until then it is in nobody's way."""
    return any(life.name == name and life.memory > 0 for life in loaded.lives())


@ANY_LOOP
async def test_who_was_not_used_for_longest_leaves_for_another(start: Start) -> None:
    loaded = start()
    a = await once(loaded, "a")
    await once(loaded, "b")
    assert await once(loaded, "a") is a
    await once(loaded, "c")
    assert names(loaded) == ["a", "c"]
    assert (await once(loaded, "large")).name == "large"
    assert names(loaded) == ["large"]


@ANY_LOOP
async def test_who_answers_never_leaves_and_who_asks_for_another_waits(start: Start) -> None:
    loaded = start()
    got: list[str] = []

    async def ask() -> None:
        got.append((await once(loaded, "large")).name)

    async with loaded.use(weights_of("a")), anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(lambda: names(loaded) == ["a", "large"])
        await anyio.sleep(0.02)
        assert got == []
        life = loaded.lives()[0]
        assert (life.name, life.used, life.idle) == ("a", 1, None)
        tasks.cancel_scope.cancel()
    await until(lambda: names(loaded) == ["a"])


async def test_a_model_that_others_want_gets_no_new_answers_until_they_had_their_turn(start: Start) -> None:
    loaded = start()
    turns: list[str] = []

    async def ask(name: str) -> None:
        async with loaded.use(weights_of(name)):
            turns.append(name)

    async with anyio.create_task_group() as tasks, loaded.use(weights_of("a")):
        tasks.start_soon(ask, "large")
        await until(lambda: is_measured(loaded, "large"))
        tasks.start_soon(ask, "a")
        await anyio.sleep(0.02)
        assert turns == []
    assert turns == ["large", "a"]


async def test_a_small_model_that_is_asked_for_later_takes_no_room_before(start: Start) -> None:
    loaded = start()
    turns: list[str] = []

    async def ask(name: str) -> None:
        async with loaded.use(weights_of(name)):
            turns.append(name)

    async with anyio.create_task_group() as tasks, loaded.use(weights_of("a")):
        tasks.start_soon(ask, "large")
        await until(lambda: is_measured(loaded, "large"))
        tasks.start_soon(ask, "b")
        await anyio.sleep(0.02)
        assert turns == []
    assert turns == ["large", "b"]


async def test_pinned_models_stay(start: Start) -> None:
    loaded = start(keep_alive=0)
    pinned = await once(loaded, "a", pinned=True)
    for name in ("b", "c", "b"):
        await once(loaded, name)
    assert await once(loaded, "a", keep_alive=0) is pinned
    with pytest.raises(NotEnoughMemory, match="may take 10 bytes, 4 bytes of it pinned"):
        await once(loaded, "large")
    loaded.unpin(weights_of("a"))
    await once(loaded, "large")
    await until(lambda: not loaded.lives())


async def test_another_one_leaves_in_place_of_a_pinned_one(start: Start) -> None:
    loaded = start()
    pinned = await once(loaded, "a", pinned=True)
    for name in ("b", "c"):  # each finds room for one beside the pinned model, which was used before
        await once(loaded, name)
        assert names(loaded) == ["a", name]
    assert await once(loaded, "a") is pinned


@pytest.mark.parametrize(
    ("usual", "own", "stays"), [(300, None, 300), (10, None, 10), (300, 5, 5), (0, 60, 60), (FOREVER, 7, 7)]
)
async def test_idle_models_leave_after_keep_alive(start: Start, usual: float, own: float | None, stays: float) -> None:
    clock = VirtualClock()
    loaded = start(keep_alive=usual, clock=clock)
    await once(loaded, "a", keep_alive=own)
    await clock.sleep(stays / 2)
    (life,) = loaded.lives()
    assert (life.idle, life.leaves_in) == (stays / 2, stays / 2)
    await once(loaded, "a", keep_alive=own)  # it counts anew
    await clock.sleep(stays - 1)
    loaded.look()
    assert names(loaded) == ["a"]
    await clock.sleep(1)
    loaded.look()
    await until(lambda: not loaded.lives())


async def test_time_alone_makes_idle_models_leave(start: Start) -> None:
    loaded = start(keep_alive=0.01)
    await once(loaded, "a")
    await until(lambda: not loaded.lives())


@pytest.mark.parametrize(("usual", "own"), [(FOREVER, None), (1, FOREVER)])
async def test_who_stays_for_ever_leaves_for_others_only(start: Start, usual: float, own: float | None) -> None:
    clock = VirtualClock()
    loaded = start(keep_alive=usual, clock=clock)
    await once(loaded, "a", keep_alive=own)
    await clock.sleep(1e9)
    loaded.look()
    assert [life.leaves_in for life in loaded.lives()] == [None]
    await once(loaded, "large")
    assert names(loaded) == ["large"]


async def test_zero_leaves_at_once(start: Start) -> None:
    loaded = start()
    await once(loaded, "a", keep_alive=0)
    await until(lambda: not loaded.lives())


async def test_what_can_never_fit_is_refused_at_once_and_with_figures(start: Start) -> None:
    loaded = start()
    async with loaded.use(weights_of("a")):
        with pytest.raises(NotEnoughMemory, match="huge needs 11 bytes, and models may take 10 bytes") as caught:
            await once(loaded, "huge")
    assert "--memory" in caught.value.hint


@ANY_LOOP
async def test_a_model_loads_once_however_many_ask_and_from_however_many_event_loops(start: Start) -> None:
    may_load = threading.Event()
    loaded = start(lambda engine: (may_load.wait(20), engine.finish()), waiting_limit=100)
    engines: list[EngineDouble] = []

    async def ask_often() -> None:
        async def ask() -> None:
            engines.append(await once(loaded, "a"))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask)

    async with anyio.create_task_group() as tasks:
        for backend in ("asyncio", "trio") * 2:
            tasks.start_soon(in_a_loop_of_its_own, backend, ask_often)
        tasks.start_soon(ask_often)
        await until(lambda: any(life.waiting == 50 for life in loaded.lives()))
        may_load.set()
    assert len(engines) == 50
    assert len({id(engine) for engine in engines}) == 1


@ANY_LOOP
async def test_why_a_model_does_not_load_is_told_to_all_who_wait_and_the_next_one_tries_again(start: Start) -> None:
    outcomes: list[AiError | None] = [EngineFailure("the weights are damaged"), None]
    may_load = threading.Event()
    loaded = start(lambda engine: (may_load.wait(20), engine.finish(outcomes.pop(0))))
    told: list[str] = []

    async def ask() -> None:
        with pytest.raises(EngineFailure) as caught:
            await once(loaded, "a")
        told.append(caught.value.description)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await until(lambda: any(life.waiting == 5 for life in loaded.lives()))
        may_load.set()
    assert told == ["the weights are damaged"] * 5
    assert (await once(loaded, "a")).name == "a"


async def test_without_memory_to_load_an_idle_model_leaves_and_it_is_tried_once_more(
    start: Start, device: Device
) -> None:
    def load(engine: EngineDouble) -> None:
        is_alone = list(device.taken) == [engine.name]
        engine.finish(None if is_alone or engine.name == "a" else NotEnoughMemory(f"no room for {engine.name}"))

    loaded = start(load)
    await once(loaded, "a")
    assert (await once(loaded, "b")).name == "b"
    assert names(loaded) == ["b"]
    async with loaded.use(weights_of("b")):
        with pytest.raises(NotEnoughMemory, match="no room for c; in memory are b 4 bytes"):
            await once(loaded, "c")
    assert device.loads == 4


async def test_who_is_told_busy_rather_than_wait_is_told_so(start: Start) -> None:
    loaded = start()
    async with loaded.use(weights_of("a")):
        with pytest.raises(OutOfCapacity):
            await once(loaded, "large", reject_if_busy=True)
        assert (await once(loaded, "b", reject_if_busy=True)).name == "b", "there is room"
    assert (await once(loaded, "large", reject_if_busy=True)).name == "large", "idle ones leave"


async def test_only_so_many_wait_for_a_model(start: Start) -> None:
    loaded = start(lambda engine: None, waiting_limit=2)
    leases = [loaded.use(weights_of("a")) for _ in range(2)]
    for lease in leases:
        lease.ask()
    with pytest.raises(OutOfCapacity, match="3040"):
        await once(loaded, "a")
    for lease in leases:
        lease.close()


async def test_nobody_waits_for_room_for_ever(start: Start) -> None:
    clock = VirtualClock()
    loaded = start(clock=clock, patience=60)
    async with loaded.use(weights_of("a")):
        lease = loaded.use(weights_of("large"))
        lease.ask()
        await until(lambda: len(loaded.lives()) == 2)
        await clock.sleep(60)
        loaded.look()
        with pytest.raises(OutOfCapacity) as caught:
            await lease.engine()
        assert caught.value.hint == "no room in 60 s; in memory are a 4 bytes"
        assert (await once(loaded, "a")).name == "a", "and others go on"


@ANY_LOOP
async def test_who_leaves_the_queue_leaves_nothing_behind(start: Start) -> None:
    loaded = start()
    async with loaded.use(weights_of("a")):
        with anyio.move_on_after(0.02):
            await once(loaded, "large")
        assert names(loaded) == ["a"]
        assert (await once(loaded, "a")).name == "a", "it is not kept waiting for nobody"
    lease = loaded.use(weights_of("b"))
    with anyio.move_on_after(0):
        await lease.engine()
    assert (await lease.engine()).name == "b", "who asks again keeps the place"
    lease.close()
    with pytest.raises(RequestAborted):
        await lease.engine()


async def test_a_lease_that_is_dropped_is_given_back(start: Start) -> None:
    loaded = start()
    lease = loaded.use(weights_of("a"))
    await lease.engine()
    assert loaded.lives()[0].used == 1
    del lease
    gc.collect()
    await until(lambda: loaded.lives()[0].used == 0)


async def test_closing_ends_those_who_wait_and_models_load_again_afterwards(start: Start) -> None:
    loaded = start(lambda engine: engine.finish() if engine.name != "b" else None)
    codes: list[int] = []

    async def ask(name: str) -> None:
        with pytest.raises(RequestAborted) as caught:
            await once(loaded, name)
        codes.append(caught.value.code)

    async with anyio.create_task_group() as tasks:
        for name in ("b", "b", "large"):
            tasks.start_soon(ask, name)
        await until(lambda: sum(life.waiting for life in loaded.lives()) == 3)
        await loaded.aclose()
    assert codes == [3008] * 3
    assert (await once(loaded, "a")).name == "a"


async def test_an_engine_that_died_is_replaced(start: Start) -> None:
    loaded = start()
    first = await once(loaded, "a")
    first.is_alive = False
    second = await once(loaded, "a")
    assert second is not first
    assert second.is_alive


async def test_who_took_more_than_it_said_makes_others_leave_or_leaves_itself(start: Start, device: Device) -> None:
    def load(engine: EngineDouble) -> None:
        if engine.name == "c":
            engine.memory = 8
        engine.finish()

    loaded = start(load)
    await once(loaded, "a")
    await once(loaded, "c")
    await until(lambda: names(loaded) == ["c"])
    await once(loaded, "large")
    got: list[str] = []

    async def ask() -> None:
        got.append((await once(loaded, "c")).name)

    await once(loaded, "a")
    async with anyio.create_task_group() as tasks, loaded.use(weights_of("a")):
        tasks.start_soon(ask)
        await until(lambda: device.loads == 5 and [life.state for life in loaded.lives()] == ["ready", "waiting"])
        assert got == []
    assert got == ["c"]


async def test_several_devices_hold_every_model_and_a_session_keeps_to_one(device: Device) -> None:
    class Both(LoaderDouble):
        def start(self, weights: Any, device: str | None, budget: int | None) -> EngineDouble:
            engine = EngineDouble(f"{weights.name} on {device}", 4, here)
            engine.finish()
            return engine

    here = Device(20)
    loaded: LoadedModels[EngineDouble] = LoadedModels(Both(SIZES, device), devices=["cuda:0", "cuda:1"], memory=10)
    leases: list[Lease[EngineDouble]] = [loaded.use(weights_of("a")) for _ in range(4)]
    assert [(await lease.engine()).name for lease in leases] == ["a on cuda:0", "a on cuda:1"] * 2
    one, other = loaded.use(weights_of("a"), session="ses_1"), loaded.use(weights_of("a"), session="ses_1")
    assert await one.engine() is await other.engine()
    for lease in (*leases, one, other):
        lease.close()
    for name in ("b", "c"):
        await once(loaded, name)
    assert names(loaded) == ["b", "c"]
    assert loaded.budget == {"cuda:0": 10, "cuda:1": 10}
    await loaded.aclose()
    assert not here.taken
    assert not here.wrongs


async def test_many_loops_and_threads_at_once_break_no_rule(start: Start, device: Device) -> None:
    """Loads end in other threads, later, some of them badly; tasks ask, are cancelled, leave; models are pinned."""
    rng = random.Random(0)
    timers: list[threading.Timer] = []

    def load(engine: EngineDouble) -> None:
        errors = [None] * 8 + [EngineFailure("damaged"), NotEnoughMemory("no room")]
        timers.append(threading.Timer(rng.random() * 0.002, engine.finish, (rng.choice(errors),)))
        timers[-1].start()

    loaded = start(load, keep_alive=0.002, waiting_limit=30)
    ends = {"answered": 0, "failed": 0, "left": 0}
    lock = threading.Lock()

    async def ask(seed: int) -> None:
        mine = random.Random(seed)
        name = mine.choice([*SIZES] + 4 * ["a", "b", "c"])
        keep_alive = mine.choice([None, 0, 0.002, FOREVER])
        end = "left"
        try:
            with anyio.move_on_after(mine.choice([0.0005, 0.01, 5])):
                async with loaded.use(
                    weights_of(name), keep_alive=keep_alive, reject_if_busy=mine.random() < 0.1
                ) as engine:
                    with lock:
                        engine.users += 1
                    try:
                        await anyio.sleep(mine.random() * 0.002)
                    finally:
                        with lock:
                            engine.users -= 1
                    end = "answered"
        except AiError:
            end = "failed"
        if mine.random() < 0.02:
            (loaded.pin if mine.random() < 0.3 else loaded.unpin)(weights_of(mine.choice("ab")))
        with lock:
            ends[end] += 1

    async def one_loop(number: int) -> None:
        limit = anyio.Semaphore(8)

        async def ask_in_turn(seed: int) -> None:
            async with limit:
                await ask(seed)

        async with anyio.create_task_group() as tasks:
            for at in range(ANSWERS // 4):
                tasks.start_soon(ask_in_turn, number * ANSWERS + at)

    async with anyio.create_task_group() as tasks:
        for number, backend in enumerate(("asyncio", "trio", "asyncio", "trio")):
            tasks.start_soon(in_a_loop_of_its_own, backend, partial(one_loop, number))
    assert sum(ends.values()) == ANSWERS
    assert min(ends.values()) > 0
    assert device.most <= device.size
    for name in SIZES:
        loaded.unpin(weights_of(name))
    await until(lambda: all(life.used == life.waiting == 0 for life in loaded.lives()))
    for timer in timers:
        timer.join()
    if IS_LONG:
        print(f"\n{ends}, {device.loads} loads")  # noqa: T201  # for who runs it by hand
