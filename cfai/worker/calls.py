"""How the runtime calls a script's functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["relaxed"]


async def relaxed(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` with as many of `args` as it takes, sync or async."""
    result = function(*args[: _positions(function)])
    return await result if inspect.isawaitable(result) else result


def _positions(function: Callable[..., Any]) -> int | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)
