"""`setTimeout`, `setInterval`, `queueMicrotask`, `scheduler`: they belong to the request that set them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cfai.worker import compat, instead
from cfai.worker import ctx as contexts
from cfai.worker.web.aborting import aborted_by
from cfai.worker.web.callbacks import Later, call_back, kept
from cfai.worker.web.promises import promised
from cfai.worker.web.values import JsException, JsProxy, options_of

__all__ = ["clearInterval", "clearTimeout", "disallowed", "queueMicrotask", "scheduler", "setInterval", "setTimeout"]


class Timer(int):
    """The number by which a timer is cleared."""

    later: Later

    def clear(self) -> None:
        self.later.cancel()


def setTimeout(call: Callable[..., Any], delay: float | None = 0, *args: Any) -> int:  # noqa: N802  # JavaScript's
    """Call later, sync or async. What it raises is reported. The end of the request is the end of its timers."""
    kept(call, "setTimeout")
    if delay and contexts.current.get(None) is None:
        disallowed("setTimeout")
    timer = _timer()
    timer.later = Later(max(0.0, delay or 0.0) / 1000, lambda: call_back(call, *args))
    return timer


def setInterval(call: Callable[..., Any], delay: float | None = 0, *args: Any) -> int:  # noqa: N802
    """Call again and again."""
    kept(call, "setInterval")
    if contexts.current.get(None) is None:
        disallowed("setInterval")
    timer = _timer()
    seconds = max(1.0, delay or 0.0) / 1000

    def fire() -> None:
        timer.later = Later(seconds, fire)
        call_back(call, *args)

    timer.later = Later(seconds, fire)
    return timer


def clearTimeout(timer: Any = None) -> None:  # noqa: N802
    if isinstance(timer, Timer):
        timer.clear()


clearInterval = clearTimeout  # noqa: N816


def _timer() -> Timer:
    ctx = contexts.current.get(None)
    return Timer(1 if ctx is None else ctx.next_number())


def queueMicrotask(call: Callable[[], Any]) -> None:  # noqa: N802
    """Call when what runs now has come to its next `await`."""
    kept(call, "queueMicrotask")
    asyncio.get_running_loop().call_soon(call_back, call)


class _Scheduler(JsProxy):
    """`scheduler`."""

    @promised
    async def wait(self, delay: float, options: Any = None) -> None:
        await aborted_by(options_of(options).get("signal"), asyncio.sleep(max(0.0, delay or 0) / 1000))


scheduler = _Scheduler()


def disallowed(idiom: str) -> None:
    """`idiom` runs while the script is imported, where Cloudflare has no request to do it for."""
    compat.current().lenient(f"{idiom} while the script is imported", _disallowed, instead=instead.IN_A_HANDLER)


def _disallowed() -> JsException:
    # workerd, src/workerd/io/io-context.c++
    return JsException(
        "Disallowed operation called within global scope. Asynchronous I/O (ex: fetch() or connect()), setting a "
        "timeout, and generating random values are not allowed within global scope. To fix this error, perform this "
        "operation within a handler. https://developers.cloudflare.com/workers/runtime-apis/handlers/"
    )
