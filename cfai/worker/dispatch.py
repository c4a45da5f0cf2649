"""Which of a script's functions answers a request, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from cfai.config import Config
from cfai.worker import instead, sdk
from cfai.worker.calls import relaxed
from cfai.worker.compat import current
from cfai.worker.ctx import Context
from cfai.worker.env import Env, as_entrypoints_see_it
from cfai.worker.pyfetch import FetchResponse
from cfai.worker.web import messages
from cfai.worker.web.errors import JsException

__all__ = ["GivenNone", "Handler", "find_handler", "surplus"]

Handler = Callable[[messages.Request, Env, Context], Awaitable[messages.Response]]


def find_handler(module: ModuleType, config: Config) -> Handler:
    """The handler of `module`: the one that the compatibility date asks for, otherwise the one that is there."""
    by_class = current().compat.has_class_handlers
    default = _default_class(module)
    asked, other = ("fetch", "on_fetch") if by_class else ("on_fetch", "fetch")
    if default is not None:
        if callable(getattr(default, asked, None)):
            return _of_class(default, asked)
        if callable(getattr(default, other, None)):
            current().lenient(f"a class Default with {other}", lambda: TypeError(f"Method {asked} does not exist"))
            return _of_class(default, other)
    if callable(function := getattr(module, "on_fetch", None)):
        if by_class:
            problem = "Handler does not export a fetch() function."
            current().lenient("a handler on_fetch in the module", lambda: TypeError(problem))
        return _of_function(function)
    raise _no_handler(module, config, asked, has_class=default is not None)


def _default_class(module: ModuleType) -> type[sdk.WorkerEntrypoint] | None:
    """`Default`, if the module exports it and it is an entrypoint: that is how workerd looks for it."""
    default = getattr(module, "Default", None)
    exported: Any = getattr(module, "__all__", ("Default",))
    if "Default" in exported and inspect.isclass(default) and issubclass(default, sdk.WorkerEntrypoint):
        return default
    return None


def _no_handler(module: ModuleType, config: Config, asked: str, *, has_class: bool) -> Exception:
    if has_class:
        return TypeError(f"Method {asked} does not exist")
    if asked == "fetch":
        error: Exception = TypeError("Handler does not export a fetch() function.")
    else:
        assert config.main is not None  # a module was loaded from it
        problem = f'Python entrypoint "{config.main.name}" does not export a handler named "on_fetch"'
        error = JsException(problem)
    if hasattr(module, "Default"):
        error.add_note("the script has a Default, but it is not exported, or does not derive from WorkerEntrypoint")
    return error


class GivenNone:
    """What a method of an entrypoint is given for `env` and `ctx`: Cloudflare gives None, cfai the thing itself.

    It is false, so that `env = env or self.env` does what it does there.
    """

    def __init__(self, thing: Any, name: str) -> None:
        self.__thing = thing
        self.__name = name

    def __getattr__(self, name: str) -> Any:
        problem = f"'NoneType' object has no attribute '{name}'"
        current().lenient(
            f"the argument {self.__name} of a method of an entrypoint",
            lambda: AttributeError(problem, name=name),
            kind=f"argument {self.__name}",
            instead=instead.of_self(self.__name, name),
        )
        return getattr(self.__thing, name)

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "None"


def surplus(thing: Any, name: str) -> Any:
    """`thing` as an argument that Cloudflare gives None for."""
    return None if current().strict else GivenNone(thing, name)


def _of_class(default: type[sdk.WorkerEntrypoint], method: str) -> Handler:
    async def handle(request: messages.Request, env: Env, ctx: Context) -> messages.Response:
        seen = as_entrypoints_see_it(env)
        entrypoint = default(ctx, seen)
        call = getattr(entrypoint, method)
        result = await relaxed(call, sdk.Request(request), surplus(seen, "env"), surplus(ctx, "ctx"))
        return _as_response(_sent(result), f"Default.{method}")

    return handle


def _of_function(function: Callable[..., Any]) -> Handler:
    async def handle(request: messages.Request, env: Env, ctx: Context) -> messages.Response:
        return _as_response(await relaxed(function, request, env, ctx), "on_fetch")

    return handle


def _sent(result: Any) -> Any:
    """What a method returns, as it goes back to the runtime."""
    # A Response is what nearly all return, and needs no more than this.
    return result.js_object if isinstance(result, sdk.Response) else sdk.python_to_rpc(result)


def _as_response(result: Any, of: str) -> messages.Response:
    if isinstance(result, messages.Response):
        return result
    error = TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.")
    error.add_note(f"{of} returned {type(result).__name__}")
    if isinstance(result, FetchResponse):
        # Before 2025-08-14 a handler of the module may return one; what response.clone() gives is one as well.
        if of != "on_fetch":
            current().lenient(
                "returning response.clone()", lambda: error, instead="Response(response.js_object.clone())"
            )
        return result.js_response
    raise error
