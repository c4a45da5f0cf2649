"""Calling what a script gives a stream: a function or none, sync or async, a promise, or one that raises."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from cfai.worker.web.callbacks import begin
from cfai.worker.web.promises import Promise
from cfai.worker.web.values import jsnull

__all__ = ["call", "member"]


def member(source: Any, name: str) -> Any:
    """What an object, a mapping or an instance of a script's own class, has under `name`."""
    if source is None or source is jsnull:
        return None
    value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    return None if value is jsnull else value


def call(
    function: Callable[..., Any] | None,
    *args: Any,
    done: Callable[[Any], None],
    failed: Callable[[BaseException], None],
) -> bool:
    """Call `function`, and `done` or `failed` when it is through. Whether that is the case already."""
    if function is None:
        done(None)
        return True
    try:
        result = function(*args)
    except (Exception, SystemExit) as error:
        failed(error)
        return True
    if isinstance(result, Promise):
        return result.when_ended(done, failed)
    if result is not None and inspect.isawaitable(result):
        begin(_wait(result, done, failed))
        return False
    done(result)
    return True


async def _wait(work: Any, done: Callable[[Any], None], failed: Callable[[BaseException], None]) -> None:
    try:
        result = await work
    except (Exception, SystemExit) as error:
        failed(error)
    else:
        done(result)
