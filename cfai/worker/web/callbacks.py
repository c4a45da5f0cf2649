"""What the runtime calls of a script's, later than the script asked for it: listeners, timers, microtasks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cfai.worker import compat, instead
from cfai.worker import ctx as contexts
from cfai.worker.web.values import JsException

__all__ = ["Later", "begin", "call_back", "kept", "report", "reported"]


def kept(call: Callable[..., Any], idiom: str) -> Callable[..., Any]:
    """`call`, which is called later on. Of a plain function Cloudflare has let go by then."""
    if inspect.isfunction(call) or inspect.ismethod(call):
        compat.current().lenient(
            f"{idiom} with a function that has no create_proxy", _destroyed, instead=instead.CREATE_PROXY
        )
    return call


def _destroyed() -> JsException:
    return JsException(
        "This borrowed proxy was automatically destroyed at the end of a function call. "
        "Try using create_proxy or create_once_callable."
    )


def begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run `work` as a part of the request that is being answered; it ends with the request at the latest."""
    task = asyncio.get_running_loop().create_task(work)
    if (ctx := contexts.current.get(None)) is not None:
        ctx.keep(task)
    return task


def call_back(call: Callable[..., Any], *args: Any) -> Any:
    """Call `call`, or begin it if it is async. What it raises is reported, there being nobody else to see it."""
    try:
        result = call(*args)
    except (Exception, SystemExit) as error:
        report(error)
        return None
    if inspect.isawaitable(result):
        begin(reported(result))
        return None
    return result


async def reported(work: Awaitable[Any]) -> None:
    """`work`, with what it raises shown."""
    try:
        await work
    except (Exception, SystemExit) as error:
        report(error)


def report(error: BaseException) -> None:
    """Show an error that nobody caught."""
    if (ctx := contexts.current.get(None)) is not None:
        ctx.report(error)
    else:
        asyncio.get_running_loop().call_exception_handler({"message": f"Uncaught {error}", "exception": error})


class Later:
    """A call in `seconds`, unless it is taken back or the request ends before."""

    def __init__(self, seconds: float, call: Callable[[], Any]) -> None:
        self._call = call
        self._ctx = contexts.current.get(None)
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fire)
        if self._ctx is not None:
            self._ctx.at_end(self._handle.cancel)

    def cancel(self) -> None:
        self._handle.cancel()
        self._forget()

    def _fire(self) -> None:
        self._forget()
        self._call()

    def _forget(self) -> None:
        if self._ctx is not None:
            self._ctx.forget(self._handle.cancel)
