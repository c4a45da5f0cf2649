"""What one task awaits and others set, on every loop that there is."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import trio

from cfai.event_loops import Arrival
from tests.conftest import ANY_LOOP


async def wait_and_be_told() -> None:
    arrival = Arrival()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, arrival)
            await anyio.wait_all_tasks_blocked()
            arrival.set()
        arrival.set()
        await arrival


async def wait(arrival: Arrival) -> None:
    await arrival


@ANY_LOOP
async def test_who_waits_is_woken_and_who_comes_later_does_not_wait() -> None:
    await wait_and_be_told()


@ANY_LOOP
async def test_one_whose_reader_was_cancelled_can_be_set() -> None:
    arrival = Arrival()
    with anyio.move_on_after(0.01) as waiting:
        await arrival
    assert waiting.cancelled_caught
    arrival.set()


def test_trio_may_be_a_guest_of_asyncio() -> None:
    async def host() -> None:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            wait_and_be_told, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=outcome.set_result
        )
        (await outcome).unwrap()

    asyncio.run(host())
