"""How the runtime calls a script's functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cfai.worker.compat import current

__all__ = ["relaxed", "strict"]


async def relaxed(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` with as many of `args` as it takes, sync or async."""
    count = _positions(function)
    args = args[:count]
    if count is not None and count > len(args):
        inspect.signature(function).bind(*args)  # says what is missing, if anything is, in Pyodide's words
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


async def strict(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` with all of `args`, as it is called on Cloudflare; one that takes fewer is called with those."""
    count = _positions(function)
    if count is not None and count < len(args):
        name = getattr(function, "__qualname__", repr(function))
        takes = count + inspect.ismethod(function)
        given = len(args) + inspect.ismethod(function)
        problem = f"{name}() takes {takes} positional argument{'s' * (takes != 1)} but {given} were given"
        current().lenient(f"{name} with fewer arguments", lambda: TypeError(problem))
    return await relaxed(function, *args)


def _positions(function: Callable[..., Any]) -> int | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
