"""The scheduled handler of a script: how it is found and run, and the paths that run it by hand."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anyio

from cfai.worker import ctx as contexts
from cfai.worker import sdk
from cfai.worker.calls import relaxed, strict
from cfai.worker.compat import current
from cfai.worker.ctx import Context
from cfai.worker.env import Env
from cfai.worker.failures import is_the_scripts
from cfai.worker.loader import trace_of
from cfai.worker.stack_switching import switching
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.urls import URL
from cfai.worker.web.values import JSON, JsProxy

__all__ = [
    "NO_HANDLER",
    "Outcome",
    "Scheduled",
    "ScheduledController",
    "answer_by_hand",
    "find_scheduled",
    "run_scheduled",
]

WAIT_UNTIL_LIMIT = 30.0
"""How long what was given to `waitUntil` may go on after the handler."""

NO_HANDLER = "Handler does not export a scheduled() function."

BY_HAND = ("/cdn-cgi/handler/scheduled", "/cdn-cgi/local/scheduled")
"""miniflare 4 has the first of them, later sources the second (`src/workers/core`)."""


class ScheduledController(JsProxy):
    """What a scheduled handler is given: `cron`, `scheduledTime` in milliseconds since 1970, `noRetry()`."""

    def __init__(self, cron: str, scheduled_time: int) -> None:
        self.cron = cron
        self.scheduledTime = scheduled_time
        self._retries = True

    def noRetry(self) -> None:  # noqa: N802  # JavaScript's spelling
        self._retries = False

    def __repr__(self) -> str:
        return "[object ScheduledController]"


Scheduled = Callable[[ScheduledController, Env, Context], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: "ok" or "exception", and with which traceback."""

    outcome: str
    no_retry: bool
    problem: str = ""


def find_scheduled(module: ModuleType) -> Scheduled | None:
    """The scheduled handler of `module`, if it has one."""
    by_class = current().compat.has_class_handlers
    default = getattr(module, "Default", None)
    if inspect.isclass(default) and issubclass(default, sdk.WorkerEntrypoint):
        names = ("scheduled", "on_scheduled") if by_class else ("on_scheduled", "scheduled")
        if (name := next((name for name in names if hasattr(default, name)), None)) is not None:
            return _of_class(default, name)
    function = getattr(module, "on_scheduled", None)
    return _of_function(function, is_refused=by_class) if callable(function) else None


def _of_class(default: type[sdk.WorkerEntrypoint], name: str) -> Scheduled:
    async def run(controller: ScheduledController, env: Env, ctx: Context) -> Any:
        # workerd gives a method of an entrypoint no env and no ctx: `self` has them.
        return await strict(getattr(default(ctx, env), name), controller, None, None)

    return run


def _of_function(function: Callable[..., Any], *, is_refused: bool) -> Scheduled:
    async def run(controller: ScheduledController, env: Env, ctx: Context) -> Any:
        if is_refused:
            current().lenient("on_scheduled of the module", lambda: TypeError(NO_HANDLER))
        return await relaxed(function, controller, env, ctx)

    return run


async def run_scheduled(
    handler: Scheduled | None, controller: ScheduledController, env: Env, report: Callable[[str], None]
) -> Outcome:
    """Run a handler and what it gives to `waitUntil`. What it raises is reported, and goes no further."""
    problems: list[str] = []

    def fail(error: BaseException) -> None:
        problems.append(trace_of(error))
        report(problems[-1])

    async with anyio.create_task_group() as background:
        ctx = Context(background, fail)
        with contexts.of(ctx):
            try:
                if handler is None:
                    raise TypeError(NO_HANDLER)
                await switching(handler(controller, env, ctx))
            except BaseException as error:
                if not is_the_scripts(error):
                    raise
                fail(error)
        # From here on only what was given to waitUntil is left.
        background.cancel_scope.deadline = anyio.current_time() + WAIT_UNTIL_LIMIT
    if background.cancel_scope.cancel_called:
        late = f"waitUntil: work was still going on {WAIT_UNTIL_LIMIT:.0f} s after the scheduled handler; cancelled"
        problems.append(late)
        report(late)
    await ctx.close_streams()
    await ctx.end()
    return Outcome("exception" if problems else "ok", not controller._retries, "".join(problems))


async def answer_by_hand(
    request: Request, run: Callable[[ScheduledController], Awaitable[Outcome]], *, test_scheduled: bool
) -> Response | None:
    """The answer to a request for one of the paths that run the handler; None for another path."""
    url = URL.new(request.url)
    if url.pathname in BY_HAND:
        return await _run_for(url, run)
    if url.pathname == "/cdn-cgi/handler/email":
        return Response.new("email handlers are not simulated", {"status": 501})
    if url.pathname.startswith("/cdn-cgi/handler/"):
        known = f'"{BY_HAND[0]}" or "/cdn-cgi/handler/email"'
        problem = f'"{url.pathname}" is not a valid handler. Did you mean to use {known}?'
        return Response.new(problem, {"status": 404})
    if test_scheduled and url.pathname == "/__scheduled":
        done = await run(ScheduledController(url.searchParams.get("cron") or "", _now()))
        if done.problem:
            return Response.new(f"PythonError: {done.problem}", {"status": 500})
        return Response.new("Ran scheduled event")
    return None


async def _run_for(url: URL, run: Callable[[ScheduledController], Awaitable[Outcome]]) -> Response:
    at = url.searchParams.get("time")
    # As JavaScript's parseInt reads it.
    number = re.match(r"\s*([+-]?\d+)", at, re.ASCII) if at else None
    if at and number is None:
        problem = "TypeError: The value cannot be converted because it is not a valid Date."
        return Response.new(f"{problem} It is {at!r}; time is in milliseconds since 1970.", {"status": 500})
    scheduled_time = _now() if number is None else int(number[1])
    done = await run(ScheduledController(url.searchParams.get("cron") or "", scheduled_time))
    status = {"status": 200 if done.outcome == "ok" else 500}
    if url.searchParams.get("format") == "json":
        text = JSON.stringify({"outcome": done.outcome, "noRetry": done.no_retry})
        return Response.new(text, {**status, "headers": {"content-type": "application/json"}})
    return Response.new(done.outcome, status)


def _now() -> int:
    return time.time_ns() // 1_000_000
