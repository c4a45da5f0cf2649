"""Events, listeners and signals."""

import asyncio
from typing import Any

import pytest

from cfai.worker.web.aborting import AbortController, AbortSignal
from cfai.worker.web.events import CustomEvent, Event, EventTarget
from cfai.worker.web.exceptions import DOMException
from cfai.worker.web.promises import Promise


def test_listeners_in_order() -> None:
    target: Any = EventTarget.new()
    heard: list[Any] = []
    target.onready = lambda event: heard.append("on")
    listener = lambda event: heard.append(event.detail)  # noqa: E731
    target.addEventListener("ready", listener)
    target.addEventListener("ready", listener)
    target.addEventListener("ready", lambda event: heard.append("once"), {"once": True})
    assert target.dispatchEvent(CustomEvent.new("ready", {"detail": 5}))
    assert target.dispatchEvent(CustomEvent.new("ready", {"detail": 6}))
    target.removeEventListener("ready", listener)
    target.dispatchEvent(CustomEvent.new("ready"))
    target.dispatchEvent(Event.new("other"))
    assert heard == ["on", 5, "once", "on", 6, "on"]


def test_a_listener_may_prevent_and_stop() -> None:
    target = EventTarget.new()
    heard: list[Any] = []

    def first(event: Any) -> None:
        event.preventDefault()
        event.stopImmediatePropagation()

    target.addEventListener("a", first)
    target.addEventListener("a", heard.append)
    event = Event.new("a", {"cancelable": True})
    assert not target.dispatchEvent(event)
    assert (event.defaultPrevented, event.target, event.currentTarget, heard) == (True, target, None, [])


def test_what_a_listener_raises_is_the_dispatchers() -> None:
    target = EventTarget.new()
    target.addEventListener("a", lambda event: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        target.dispatchEvent(Event.new("a"))


async def test_a_signal_takes_a_listener_away() -> None:
    target, controller = EventTarget.new(), AbortController.new()
    heard: list[Any] = []
    target.addEventListener("a", heard.append, {"signal": controller.signal})
    controller.abort()
    target.dispatchEvent(Event.new("a"))
    assert heard == []


async def test_a_signal_aborts_once_with_its_reason() -> None:
    controller = AbortController.new()
    heard: list[Any] = []
    controller.signal.onabort = lambda event: heard.append(event.type)
    controller.abort("first")
    controller.abort("second")
    assert (controller.signal.aborted, controller.signal.reason, heard) == (True, "first", ["abort"])


async def test_a_signal_of_time() -> None:
    signal = AbortSignal.timeout(1)
    signal.throwIfAborted()
    await asyncio.sleep(0.05)
    with pytest.raises(DOMException, match="TimeoutError: The operation was aborted due to timeout"):
        signal.throwIfAborted()
    assert signal.reason.code == 23


async def test_a_signal_of_several() -> None:
    one, two = AbortController.new(), AbortController.new()
    joint = AbortSignal.any([one.signal, two.signal])
    assert not joint.aborted
    two.abort("enough")
    assert joint.reason == "enough"
    assert AbortSignal.any([one.signal, two.signal]).aborted
    with pytest.raises(DOMException, match="AbortError: The operation was aborted"):
        AbortSignal.abort().throwIfAborted()


async def test_a_promise_is_awaited_again_and_again() -> None:
    promise = Promise.pending()
    waiting = [asyncio.ensure_future(_awaited(promise)) for _ in range(2)]
    await asyncio.sleep(0)
    promise.settle(5)
    promise.settle(6)
    assert await asyncio.gather(*waiting) == [5, 5]
    assert await promise == 5
    assert await promise.then(lambda value: value + 1) == 6
    assert await Promise.reject("no").catch(lambda error: str(error)) == "Error: no"
    assert list(await Promise.all([promise, Promise.resolve(1), asyncio.sleep(0, 2)])) == [5, 1, 2]
    assert await Promise.race([asyncio.sleep(5), promise]) == 5
    assert (await Promise.allSettled([Promise.reject("no")]))[0].status == "rejected"


async def _awaited(promise: Any) -> Any:
    return await promise


async def test_cancelling_the_only_one_who_waits_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    promise = Promise.of(work())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(promise, 0.01)
    assert ended.is_set()
