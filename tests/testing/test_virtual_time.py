"""Event loops whose time jumps."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio import from_thread, to_thread

from cfai import Ai, FakeBinding, FaultBinding
from cfai.clock import VirtualClock
from cfai.testing import VirtualTimeLoop, virtual_time_backend

MODEL = "@cf/meta/llama-2-7b-chat-int8"
STREAM = {"prompt": "hi", "stream": True}
DAY = 24 * 3600.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return virtual_time_backend(request.param)


async def test_a_week_of_sleep_is_over_at_once() -> None:
    before = anyio.current_time()
    await anyio.sleep(7 * DAY)
    assert anyio.current_time() - before == pytest.approx(7 * DAY)


async def test_sleepers_and_timeouts_come_in_the_order_of_their_time() -> None:
    came: list[str] = []

    async def sleeper(seconds: float, limit: float) -> None:
        with anyio.move_on_after(limit) as scope:
            await anyio.sleep(seconds)
        came.append(f"{seconds:g} {'cut' if scope.cancelled_caught else 'whole'}")

    async with anyio.create_task_group() as tasks:
        for seconds, limit in ((9, 3600), (3600, 4), (2, 1), (DAY * 300, DAY * 200)):
            tasks.start_soon(sleeper, seconds, limit)
    assert came == ["2 cut", "3600 cut", "9 whole", f"{DAY * 300:g} cut"]


async def test_the_timeout_of_a_reader_comes_before_a_stall_is_over() -> None:
    """What a program under test does by itself, around a stream that a fault has stopped."""
    fake = FakeBinding({MODEL: ["New", " York"]})
    faults = FaultBinding(fake, "stall:1:seconds=60:times=1", clock=VirtualClock())
    for expected in ("cut", "whole"):
        stream = await Ai(faults).run(MODEL, STREAM)
        events = []
        before = anyio.current_time()
        with anyio.move_on_after(30) as scope:
            async for event in stream:
                events.append(event)
        await stream.aclose()
        assert ("cut" if scope.cancelled_caught else "whole") == expected
        assert anyio.current_time() - before == pytest.approx(30 if expected == "cut" else 0)


async def test_a_reader_that_waits_long_enough_gets_all_of_a_stalled_stream() -> None:
    faults = FaultBinding(FakeBinding({MODEL: ["New", " York"]}), "stall:1:seconds=60", clock=VirtualClock())
    with anyio.fail_after(61):
        events = [event async for event in await Ai(faults).run(MODEL, STREAM)]
    assert events[-1] == b"data: [DONE]\n\n"
    assert faults.clock.now() == pytest.approx(60)


async def test_a_stall_without_end_is_ended_by_the_readers_timeout() -> None:
    stream = await Ai(FaultBinding(FakeBinding({MODEL: "New York"}), "stall:1")).run(MODEL, STREAM)
    assert await anext(stream)
    with pytest.raises(TimeoutError):
        with anyio.fail_after(DAY):
            await anext(stream)


async def test_a_virtual_clock_is_the_loops_own_time() -> None:
    clock = VirtualClock()
    assert clock.now() == 0
    await anyio.sleep(5)
    await clock.sleep(10)
    assert clock.now() == pytest.approx(15)
    with anyio.move_on_after(3):
        await clock.sleep(10)
    assert clock.now() == pytest.approx(18)


async def test_time_does_not_jump_while_a_thread_works() -> None:
    def nap() -> str:
        time.sleep(0.05)
        return "done"

    with anyio.fail_after(3600):  # a jump would be to its end
        assert await to_thread.run_sync(nap) == "done"
    assert anyio.current_time() < 3600


async def test_a_thread_may_call_back_into_the_loop() -> None:
    async def half_an_hour() -> float:
        await anyio.sleep(0.01)
        return anyio.current_time()

    with anyio.fail_after(3600):
        assert await to_thread.run_sync(from_thread.run, half_an_hour) < 3600


async def test_time_jumps_again_when_the_thread_is_done() -> None:
    await to_thread.run_sync(time.sleep, 0.01)
    with anyio.fail_after(2 * DAY):
        await anyio.sleep(DAY)


async def test_a_timeout_still_ends_a_thread_that_is_abandoned() -> None:
    go_on = threading.Event()
    try:
        with anyio.move_on_after(0.01) as scope:
            await to_thread.run_sync(go_on.wait, abandon_on_cancel=True)
    finally:
        go_on.set()
    assert scope.cancelled_caught


async def test_both_ends_of_a_connection_in_one_loop_are_in_time() -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(await stream.receive() + b" York")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(3600):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"New")
                assert await stream.receive() == b"New York"
        tasks.cancel_scope.cancel()


def test_asyncios_own_timeouts_and_threads_go_by_it() -> None:
    async def program() -> float:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(60)
        assert loop.time() == pytest.approx(30)
        async with asyncio.timeout(3600):
            await asyncio.to_thread(time.sleep, 0.05)
            await loop.run_in_executor(None, time.sleep, 0.05)
        assert loop.time() < 3600
        await asyncio.sleep(3600)
        return loop.time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert 3630 <= runner.run(program()) < 3640


def test_pytest_asyncio_takes_it_for_a_loop(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from cfai.testing import VirtualTimeLoop\n"
        "def pytest_asyncio_loop_factories(config, item):\n"
        "    return {'virtual': VirtualTimeLoop}\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import asyncio, pytest\n"
        "@pytest.mark.asyncio\n"
        "async def test_it():\n"
        "    with pytest.raises(TimeoutError):\n"
        "        async with asyncio.timeout(3600):\n"
        "            await asyncio.Event().wait()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-ppytest_asyncio.plugin"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout


def test_a_clock_goes_from_loop_to_loop() -> None:
    clock = VirtualClock()
    for backend, options in (virtual_time_backend("asyncio"), virtual_time_backend("trio")):
        anyio.run(clock.sleep, 10, backend=backend, backend_options=options)
    anyio.run(clock.sleep, 10)
    assert clock.now() == pytest.approx(30)


def test_a_backend_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="no backend is called 'curio'; there are asyncio and trio"):
        virtual_time_backend("curio")  # type: ignore[arg-type]
