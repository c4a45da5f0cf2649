"""The classes that a script derives from, and `handler`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from cfai.worker.calls import relaxed
from cfai.worker.env import as_entrypoints_see_it
from cfai.worker.sdk.requests import Request
from cfai.worker.web import messages

__all__ = ["DurableObject", "WorkerEntrypoint", "WorkflowEntrypoint", "handler"]


class WorkerEntrypoint:
    """The base of an entrypoint; one is made per request."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class DurableObject:
    """So that a script that declares one can be imported; none is run."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class WorkflowEntrypoint:
    """So that a script that declares one can be imported; none is run."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


def handler(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """For a module-level `on_fetch`: its request becomes a `Request` of this module."""

    @wraps(function)
    async def handle(request: Any, env: Any = None, ctx: Any = None) -> Any:
        if isinstance(request, messages.Request):
            request = Request(request)
        return await relaxed(function, request, None if env is None else as_entrypoints_see_it(env), ctx)

    # wraps() shows the signature of what it wraps; surplus arguments are this function's business.
    del handle.__wrapped__
    return handle
