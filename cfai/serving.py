"""What every server of ours shares: a socket, a guard at the door, and an orderly end.

Only this machine is served unless told otherwise. But a page of the web, open in a browser of this machine, can send
requests to 127.0.0.1 too, directly or by a name that resolves there. So the Host header must name this machine, and a
browser's request that another site started is refused unless the user navigates. No CORS grants are made.

At the end, streams are given some time and are then ended by the application, each with its last event: an
EventSource takes a cut for an accident and asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path

import anyio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["DRAIN_SECONDS", "Guard", "PortTaken", "is_loopback", "listen", "serve"]

DRAIN_SECONDS = 10.0
"""How long running answers may go on after SIGTERM or the first Ctrl-C."""

ARRIVAL_SECONDS = 0.2
"""How long a connection that was just accepted has to bring its request when the server is told to end."""

LEAVE_SECONDS = 5
"""How long the last events, and what a Worker gave to `waitUntil`, may take after that."""


class PortTaken(OSError):
    """Another process listens there already."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise PortTaken(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


async def serve(
    app: ASGIApp,
    *,
    listener: socket.socket | None = None,
    unix_socket: Path | None = None,
    end_streams: Callable[[], Awaitable[None]],
    drain: float = DRAIN_SECONDS,
) -> None:
    """Serve `app` on one of the two until SIGTERM or Ctrl-C.

    Then stop listening, let answers go on for `drain` seconds or until a second signal, and call `end_streams`, again
    and again until nothing is open: it ends what runs so that each stream gets its last event.
    """
    config = uvicorn.Config(
        app,
        uds=str(unix_socket) if unix_socket else None,
        access_log=False,
        log_config=None,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=round(drain) + LEAVE_SECONDS,
        ws="none",
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, server, end_streams, drain)
        await server.serve(sockets=[listener] if listener else None)
        tasks.cancel_scope.cancel()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `_stop_on_signal` listens for them: uvicorn would wait for endless streams, or cut them


async def _stop_on_signal(server: uvicorn.Server, end_streams: Callable[[], Awaitable[None]], drain: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await anext(signals)
        await _stop_accepting(server)
        server.should_exit = True
        with anyio.move_on_after(drain):
            await anext(signals)
        while True:  # also what comes in on connections that are still open
            await end_streams()
            await anyio.sleep(0.1)


async def _stop_accepting(server: uvicorn.Server) -> None:
    """Take no more connections, but answer those whose request is still on its way.

    uvicorn closes a connection that has not brought its request yet; the next process on the same socket would have
    answered it.
    """
    loop = asyncio.get_running_loop()
    for listening in server.servers:
        for one in listening.sockets:
            loop.remove_reader(one.fileno())
    await anyio.sleep(ARRIVAL_SECONDS)


class Guard:
    """Pass requests on to `app` if they come from this machine, or to one of `hosts` by name."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (problem := self._problem(scope)) is None:
            await self._app(scope, receive, send)
            return
        body = f"Forbidden: {problem}\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _problem(self, scope: Scope) -> str | None:
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(_host_name(hosts[0])):
            return f"the Host header {', '.join(hosts)[:80]!r} does not name this machine"
        given = dict(headers)
        if given.get(b"sec-fetch-site") == "cross-site" and given.get(b"sec-fetch-mode") != "navigate":
            return "a page of another site may not use this server"
        return None

    def _is_ours(self, host: str) -> bool:
        return host in self._hosts or is_loopback(host)


def _host_name(host: str) -> str:
    """The name in a Host header, without port; it never raises, whatever is in there."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine's loopback interface."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
