"""Work beside the handler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from cfai.worker import ctx as contexts

__all__ = ["begin", "logger", "run_in_background"]

logger = logging.getLogger("asgi")


def run_in_background(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Begin `work`; what it raises is logged."""
    return begin(_logged(work))


async def _logged(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Exception:
        logger.exception("Unhandled exception in background task")


def begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run `work` as long as `waitUntil` would."""
    task = asyncio.get_running_loop().create_task(work)
    if (ctx := contexts.current.get(None)) is not None:
        ctx.start(_ended, task)
    return task


async def _ended(task: asyncio.Task[Any]) -> None:
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()  # where the request is over before the task is
