"""Clocks that bindings go by."""

import anyio

from cfai.clock import Clock, RealClock, VirtualClock


async def test_an_hour_of_virtual_sleep_is_over_at_once() -> None:
    clock = VirtualClock()
    with anyio.fail_after(60):
        await clock.sleep(3600)
    assert clock.now() == 3600


async def test_virtual_sleepers_wake_in_the_order_of_their_time() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.now()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleeper, "slow", 5, 5)
        tasks.start_soon(sleeper, "quick", 2, 2, 2)
    assert woken == [("quick", 2), ("quick", 4), ("slow", 5), ("quick", 6), ("slow", 10)]


async def test_a_cancelled_virtual_sleeper_holds_nobody_up() -> None:
    clock = VirtualClock()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await clock.sleep(1)
        tasks.start_soon(clock.sleep, 2)
    assert clock.now() == 2


async def test_the_real_clock_passes_time() -> None:
    clock = RealClock()
    before = clock.now()
    await clock.sleep(0.01)
    assert clock.now() > before
    assert isinstance(clock, Clock)
