"""What every server of ours shares: a socket, a guard at the door, and an orderly end.

Only this machine is served unless told otherwise. But a page of the web, open in a browser of this machine, can send
requests to 127.0.0.1 too, directly or by a name that resolves there. So the Host header must name this machine, as must
the Origin header where there is one, and a browser's request that another site started is refused unless the user
navigates. Origins may be allowed by name; the application then makes them the CORS grants.

At the end, streams are given some time and are then ended by the application, each with its last event: an
EventSource takes a cut for an accident and asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import uvicorn

from cfai.http_writes import Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = [
    "BINDING_HOSTS",
    "DRAIN_SECONDS",
    "Guard",
    "PortTaken",
    "end_with_parent",
    "ending_signals",
    "is_loopback",
    "listen",
    "listen_unix",
    "refuse",
    "serve",
]

DRAIN_SECONDS = 10.0
"""How long running answers may go on after SIGTERM or the first Ctrl-C."""

ARRIVAL_SECONDS = 0.2
"""How long a connection that was just accepted has to bring its request when the server is told to end."""

LEAVE_SECONDS = 5
"""How long the last events, and what a Worker gave to `waitUntil`, may take after that."""


class PortTaken(OSError):
    """Another process listens there already, or nobody may. Its `strerror` is the sentence that says so."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        problem = str(error.strerror or error).partition(" (while attempting")[0]  # Python repeats the address there
        shown = f"[{host}]" if ":" in host else host
        raise PortTaken(error.errno, f"cannot listen on {shown}:{port}: {problem}") from error
    listener.set_inheritable(True)
    # For the connections too. asyncio sets it for sockets that know their protocol, which this one does not: a head and
    # its body, written one after the other, would be 40 ms apart.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may connect to. Raises `PortTaken`.

    A socket that an ended process left behind is replaced; `serve` removes this one at the end.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    everybody = os.umask(0o077)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise PortTaken(error.errno, f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(everybody)
    return listener


def _remove_stale(path: Path) -> None:
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


async def serve(
    app: ASGIApp,
    *,
    listener: socket.socket,
    end_streams: Callable[[], Awaitable[None]],
    drain: float = DRAIN_SECONDS,
    with_parent: int | None = None,
    tls: tuple[Path, Path] | None = None,
    websockets: Callable[..., asyncio.Protocol] | None = None,
    on_end: Callable[[], None] | None = None,
) -> None:
    """Serve `app` until SIGTERM, SIGHUP or Ctrl-C.

    Then stop listening, let answers go on for `drain` seconds or until a second signal, and call `end_streams`, again
    and again until nothing is open: it ends what runs so that each stream gets its last event.

    with_parent  the id of the parent process, to end with it however it ends
    tls          the files of a certificate and its key, to speak https
    websockets   what takes over a connection that asks to become a WebSocket; `app` gets such requests without one
    on_end       is called as soon as the end was asked for
    """
    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=round(drain) + LEAVE_SECONDS,
        ws=websockets or "none",  # type: ignore[arg-type]  # uvicorn only calls it
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http=Protocol,  # httptools, which uvicorn prefers where it is installed, takes headers of any size
        h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
    )
    server = _Server(config)
    if with_parent is not None:
        end_with_parent(with_parent)
    with _no_trace(listener):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_on_signal, server, end_streams, drain, on_end)
            await server.serve(sockets=[listener])
            tasks.cancel_scope.cancel()


@contextlib.contextmanager
def _no_trace(listener: socket.socket) -> Iterator[None]:
    path = listener.getsockname() if listener.family == socket.AF_UNIX else None
    try:
        yield
    finally:
        if path:
            Path(path).unlink(missing_ok=True)


def ending_signals() -> list[signal.Signals]:
    """What tells a program to end. A closed terminal does, unless the program was started with `nohup`."""
    ending = [signal.SIGINT, signal.SIGTERM]
    return ending if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*ending, signal.SIGHUP]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `_stop_on_signal` listens for them: uvicorn would wait for endless streams, or cut them


async def _stop_on_signal(
    server: uvicorn.Server,
    end_streams: Callable[[], Awaitable[None]],
    drain: float,
    on_end: Callable[[], None] | None,
) -> None:
    with anyio.open_signal_receiver(*ending_signals()) as signals:
        await anext(signals)
        if on_end is not None:
            on_end()
        await _stop_accepting(server)
        server.should_exit = True
        with anyio.move_on_after(drain):
            await anext(signals)
        while True:  # also what comes in on connections that are still open
            await end_streams()
            await anyio.sleep(0.1)


def end_with_parent(parent: int) -> None:
    """End this process soon after its parent, the process `parent`, has ended."""
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:  # nothing tells that a parent is gone
        time.sleep(0.5)
    for _ in range(2):  # the first lets answers finish, the second ends them: there is nobody to wait for
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    time.sleep(LEAVE_SECONDS)
    os._exit(1)  # a script that holds on to its thread does not hear signals


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


BINDING_HOSTS: Mapping[str, Collection[str]] = {
    "workers-binding.ai": ("/run", "/ai-gateway/", "/ai-api/", "/to-everything/", "/autorag/", "/aisearch/"),
}
"""The host that env.AI names, whoever answers it, and the paths of its protocol."""

MAX_HEADERS = 128
MAX_HEADER_BYTES = 32 * 1024
"""All header names and values of a request together."""


class Guard:
    """Pass requests on to `app` if they come from this machine, or to one of `hosts` by name.

    any_address  let every IP address pass as Host, for a server that other machines reach: only a name can be made to
                 resolve to somewhere else
    origins      whose pages may send requests, such as `http://localhost:3000`; `*` is every page there is
    paths_of     hosts that are accepted on these paths only; one that ends in a slash stands for all that begin so
    is_strict    let pages of other ports of this machine read at most, unless their origin is among `origins`
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = (),
        *,
        any_address: bool = False,
        origins: Collection[str] = (),
        paths_of: Mapping[str, Collection[str]] = {},
        is_strict: bool = False,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._any_address = any_address
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._paths_of = paths_of
        self._is_strict = is_strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif _is_headed_too_much(scope):
            await refuse(431, "Request Header Fields Too Large", scope, send)
        elif {b"transfer-encoding", b"content-length"} <= {name for name, _ in scope["headers"]}:
            # Somebody in between may have read it by the other of the two (RFC 9112, section 6.3).
            await refuse(400, "Bad Request: both Transfer-Encoding and Content-Length", scope, send)
        elif problem := self._problem(scope):
            await refuse(403, f"Forbidden: {problem}", scope, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._may_be_named(_host_name(hosts[0]), scope["path"]):
            shown = ", ".join(hosts)[:80]
            return f"the Host header {shown!r} does not name this machine; start it with --allow-host NAME"
        origins = [value for name, value in headers if name == b"origin"]
        for origin in origins:
            # What browsers send besides it, Sec-Fetch-Site, they do not send to a plain-http name.
            if not self._is_ours(_origin_name(origin)) and not self._may_come_from(origin):
                option = "--cors-origin ORIGIN" if self._is_strict else "--allow-host NAME"
                return f"the Origin {origin[:80]!r} is another site; start it with {option}"
        given = dict(headers)
        if self._is_strict and scope.get("method") == "POST" and given.get(b"sec-fetch-site") != "same-origin":
            # A browser that says same-origin talks to a development server, which passes on what it asks.
            for origin in origins:
                if not self._may_come_from(origin) and _authority(origin) != hosts[0].lower():
                    return f"the Origin {origin[:80]!r} is another one; start it with --cors-origin {origin[:80]}"
        is_foreign = given.get(b"sec-fetch-site") == "cross-site" and given.get(b"sec-fetch-mode") != "navigate"
        if is_foreign and not (origins and all(map(self._may_come_from, origins))):
            return "a page of another site may not use this server"
        return None

    def _may_be_named(self, host: str, path: str) -> bool:
        paths = self._paths_of.get(host, ())
        return self._is_ours(host) or any(path.startswith(own) if own.endswith("/") else path == own for own in paths)

    def _is_ours(self, host: str) -> bool:
        return host in self._hosts or is_loopback(host) or (self._any_address and _is_address(host))

    def _may_come_from(self, origin: str) -> bool:
        return "*" in self._origins or origin.lower() in self._origins


def _is_headed_too_much(scope: Scope) -> bool:
    headers = scope["headers"]
    return len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES


async def refuse(status: int, sentence: str, scope: Scope, send: Send) -> None:
    """Answer a request, or one for a WebSocket, with `sentence`."""
    of = "websocket." if scope["type"] == "websocket" else ""
    body = f"{sentence}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if status == 400:  # where the next request begins is not certain
        headers.append((b"connection", b"close"))
    await send({"type": f"{of}http.response.start", "status": status, "headers": headers})
    await send({"type": f"{of}http.response.body", "body": body})


def _host_name(host: str) -> str:
    """The name in a Host header, without port; it never raises, whatever is in there."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _origin_name(origin: str) -> str:
    """The name in an Origin header; empty for `null` and whatever is none."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    """Name and port in an Origin header, as a Host header has them."""
    return origin.partition("://")[2].lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine's loopback interface."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
