"""`pyodide.code`, as far as Workers use it."""

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["relaxed_call"]


def relaxed_call(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `func` without the arguments that it does not take."""
    parameters = inspect.signature(func).parameters.values()
    kinds = {one.kind for one in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        args = args[: sum(one.kind in positional for one in parameters)]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        names = {one.name for one in parameters}
        kwargs = {name: value for name, value in kwargs.items() if name in names}
    return func(*args, **kwargs)
