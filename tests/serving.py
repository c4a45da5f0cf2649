"""A real server on the loopback interface, or on a Unix socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import uvicorn
from starlette.types import ASGIApp

from cfai.serving import listen
from tests.waiting import until

__all__ = ["serving"]


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, *, unix_socket: Path | None = None, websockets: type[asyncio.Protocol] | None = None
) -> AsyncIterator[str]:
    """Serve `app` and give its address."""
    listener = None if unix_socket else listen("127.0.0.1", 0)
    uds = str(unix_socket) if unix_socket else None
    server = uvicorn.Server(
        uvicorn.Config(app, uds=uds, log_level="warning", ws=websockets or "none", timeout_graceful_shutdown=2)
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener] if listener else None)
        await until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}" if listener else str(unix_socket)
        finally:
            server.should_exit = True
