"""What asyncio and trio call by different names: work that a loop does for another thread, and work of its own.

Everything else goes through anyio, which has neither, because both step out of the order of its task groups.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from anyio.lowlevel import EventLoopToken, current_token

__all__ = ["run_soon", "start_task"]


class _Loop(Protocol):
    """The methods of asyncio's event loop that are asked for here; trio's spell them differently."""

    def call_soon_threadsafe(self, call: Callable[..., object], *args: object) -> object: ...
    def create_task(self, work: Awaitable[None]) -> object: ...


def run_soon(token: EventLoopToken, call: Callable[..., object], *args: object) -> bool:
    """Have the loop of `token` make a call, from any thread. False if that loop has ended.

    ```python
    token = anyio.lowlevel.current_token()
    run_soon(token, event.set)  # in another thread
    ```
    """
    native: Any = token.native_token
    soon = (
        cast("_Loop", native).call_soon_threadsafe if hasattr(native, "call_soon_threadsafe") else native.run_sync_soon
    )
    try:
        soon(call, *args)
    except RuntimeError:  # asyncio's "Event loop is closed", trio's RunFinishedError
        return False
    return True


def start_task(work: Callable[[], Awaitable[None]]) -> object:
    """Start `work`, which raises nothing, in this loop beside all task groups; keep what comes back until it has ended.

    ```python
    task = start_task(reader.run)  # and wait for what tells that it has ended
    ```
    """
    native: Any = current_token().native_token
    if hasattr(native, "create_task"):
        return cast("_Loop", native).create_task(work())
    import trio

    return trio.lowlevel.spawn_system_task(work)
