"""What a test asks of the network beyond this machine: refused, and remembered."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from cfai.testing.frames import is_the_users

__all__ = ["NetworkGuard"]


class NetworkGuard:
    """Between `begin` and `end`, whatever leaves loopback is refused with an OSError and noted.

    ```python
    guard.begin()
    socket.create_connection(("192.0.2.1", 80))  # PermissionError
    guard.take()  # ["connect to 192.0.2.1:80, at test_page.py:7"]
    guard.end()
    ```

    It covers this process: threads, and names that are looked up, but no processes that a test starts.
    """

    def __init__(self) -> None:
        self._is_installed = False
        self.is_on = False
        self._lock = threading.Lock()
        self.attempts: list[str] = []

    def begin(self) -> None:
        if not self._is_installed:  # an audit hook stays for the life of the process, so there is one
            sys.addaudithook(self._hear)
            self._is_installed = True
        self.attempts = []
        self.is_on = True

    def take(self) -> list[str]:
        """The attempts that nobody has been told of."""
        with self._lock:
            taken, self.attempts = self.attempts, []
        return taken

    def end(self) -> None:
        self.is_on = False

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.is_on or not event.startswith("socket."):
            return
        if (way_of := _WAYS.get(event)) is None or (way := way_of(args)) is None:
            return
        with self._lock:
            self.attempts.append(f"{way}{_where()}")
        raise PermissionError(errno.EACCES, f"{way}: this test is marked no_network")


def _connecting(verb: str) -> Callable[[tuple[Any, ...]], str | None]:
    def way(args: tuple[Any, ...]) -> str | None:
        family, address = getattr(args[0], "family", None), args[1]
        if family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
            return None  # a Unix socket, or one that is connected already
        return None if _is_here(address[0]) else f"{verb} {address[0]}:{address[1]}"

    return way


def _looking_up(args: tuple[Any, ...]) -> str | None:
    host = args[0]
    if isinstance(host, bytes | bytearray):
        host = host.decode("utf-8", "replace")
    if host is None or _is_here(host) or _address(str(host)) is not None:  # a number needs nobody to look it up
        return None
    return f"look up {host}"


_WAYS: Mapping[str, Callable[[tuple[Any, ...]], str | None]] = {
    "socket.connect": _connecting("connect to"),
    "socket.sendto": _connecting("send to"),
    "socket.sendmsg": _connecting("send to"),
    "socket.getaddrinfo": _looking_up,
    "socket.gethostbyname": _looking_up,
    "socket.gethostbyaddr": _looking_up,
}


def _is_here(host: Any) -> bool:
    name = str(host).lower().rstrip(".")
    if name in ("", "localhost", socket.gethostname().lower()) or name.endswith(".localhost"):
        return True
    if (address := _address(name)) is None:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _where() -> str:
    """The innermost line that is the test's or the program's own."""
    for frame in reversed(traceback.extract_stack()):
        if is_the_users(frame.filename):
            return f", at {os.path.relpath(frame.filename)}:{frame.lineno}"
    return ""
