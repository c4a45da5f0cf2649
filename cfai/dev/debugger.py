"""`cfai dev --inspect`: one port for debuggers, whichever process the script is in.

Every worker process has a debugger of its own, on a port of its own. The supervisor passes on what comes to the port
that was told to the user. A debugger that comes back after a reload so finds the new process, and is kept waiting until
there is one.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from socket import socket
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketListener, SocketStream

from cfai.dev.processes import Worker

__all__ = ["is_attached", "listen_for_debuggers", "pass_debuggers_on"]

HOST = "127.0.0.1"
"""A debugger may run anything: only this machine's."""


def listen_for_debuggers() -> int:
    """Let debuggers into this process, and return the port."""
    # Or debugpy warns at length of the standard library's frozen modules, which nobody steps through.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    debugpy = _debugpy()
    port: int = debugpy.listen((HOST, 0))[1]
    return port


def is_attached() -> bool:
    attached: bool = _debugpy().is_client_connected()
    return attached


def _debugpy() -> Any:
    import debugpy  # not a dependency: whoever debugs installs it

    return debugpy


async def pass_debuggers_on(worker: Worker, listener: socket) -> None:
    """Serve debuggers on `listener` for as long as the task lives."""
    async with await SocketListener.from_socket(listener) as connections:
        await connections.serve(partial(_serve, worker))


async def _serve(worker: Worker, client: SocketStream) -> None:
    async with client:
        while (port := worker.run.debugger) is None:  # noqa: ASYNC110  # it may be replaced meanwhile
            await anyio.sleep(0.05)
        with contextlib.suppress(OSError):
            async with await anyio.connect_tcp(HOST, port) as process, anyio.create_task_group() as tasks:
                tasks.start_soon(_pass, client, process, tasks.cancel_scope)
                tasks.start_soon(_pass, process, client, tasks.cancel_scope)


async def _pass(source: ByteReceiveStream, sink: ByteSendStream, both: anyio.CancelScope) -> None:
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in source:
            await sink.send(chunk)
    both.cancel()
