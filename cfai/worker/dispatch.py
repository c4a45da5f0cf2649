"""Which of a script's functions answers a request, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from cfai.config import Config
from cfai.worker import sdk
from cfai.worker.calls import relaxed
from cfai.worker.compat import current
from cfai.worker.ctx import Context
from cfai.worker.env import Env
from cfai.worker.web import messages

__all__ = ["Handler", "find_handler"]

Handler = Callable[[messages.Request, Env, Context], Awaitable[messages.Response]]


def find_handler(module: ModuleType, config: Config) -> Handler:
    """The handler of `module`: the one that the compatibility date asks for, otherwise the one that is there."""
    by_class = current().compat.has_class_handlers
    default = getattr(module, "Default", None)
    if inspect.isclass(default):
        if not issubclass(default, sdk.WorkerEntrypoint):
            raise TypeError("class Default does not derive from workers.WorkerEntrypoint")
        names = ("fetch", "on_fetch") if by_class else ("on_fetch", "fetch")
        method = next((name for name in names if hasattr(default, name)), None)
        if method is not None:
            return _of_class(default, method)
    if callable(function := getattr(module, "on_fetch", None)):
        return _of_function(function)
    if inspect.isclass(default):
        raise TypeError("Method fetch does not exist")
    if by_class:
        raise TypeError("Handler does not export a fetch() function.")
    assert config.main is not None  # a module was loaded from it
    raise TypeError(f'Python entrypoint "{config.main.name}" does not export a handler named "on_fetch"')


def _of_class(default: type[sdk.WorkerEntrypoint], method: str) -> Handler:
    async def handle(request: messages.Request, env: Env, ctx: Context) -> messages.Response:
        entrypoint = default(ctx, env)
        result = await relaxed(getattr(entrypoint, method), sdk.Request(request), env, ctx)
        return _as_response(result, f"Default.{method}")

    return handle


def _of_function(function: Callable[..., Any]) -> Handler:
    async def handle(request: messages.Request, env: Env, ctx: Context) -> messages.Response:
        return _as_response(await relaxed(function, request, env, ctx), "on_fetch")

    return handle


def _as_response(result: Any, of: str) -> messages.Response:
    if isinstance(result, sdk.Response):
        return result.js_object
    if isinstance(result, messages.Response):
        return result
    problem = "Incorrect type for Promise: the Promise did not resolve to 'Response'."
    raise TypeError(f"{problem} {of} returned {type(result).__name__}")
