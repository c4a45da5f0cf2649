"""What the supervisor and a worker process tell each other: lines on a pair of sockets.

The supervisor says `preload NAMES` to a process in reserve, `go` when it is wanted, `terminal` when it may read from
the terminal. The process answers `warm`, `imported` or `failed`, `ending` once it has heard that it should end,
`terminal` when a script wants to read from there and `done` afterwards, `debugger PORT`, and, as JSON, `modules` and
`outside`: what the script made it import. The end of the channel is the end of the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence

import anyio

__all__ = ["Channel", "Supervisor"]


class Channel:
    """The supervisor's end."""

    def __init__(self) -> None:
        self._socket, self.childs = socket.socketpair()
        """The other end is the child's to inherit."""
        self._socket.setblocking(False)

    def tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a process that has ended is noticed elsewhere
            self._socket.send(f"{line}\n".encode())

    async def lines(self) -> AsyncIterator[str]:
        """What the process says, until it ends."""
        rest = b""
        while True:
            await anyio.wait_readable(self._socket)
            try:
                chunk = self._socket.recv(65536)
            except OSError:
                chunk = b""
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode()

    def close(self) -> None:
        self._socket.close()


class Supervisor:
    """The worker's end. Its calls block, and are short."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._reader = self._socket.makefile("r")

    def tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a parent that is gone is noticed elsewhere
            self._socket.sendall(f"{line}\n".encode())

    def tell_names(self, what: str, names: Sequence[str]) -> None:
        self.tell(f"{what} {json.dumps(list(names))}")

    def next_order(self) -> tuple[str, list[str]]:
        """The next word and its names; the word is empty once the supervisor is gone."""
        try:
            word, _, names = self._reader.readline().strip().partition(" ")
        except OSError:
            return "", []
        return word, json.loads(names) if names else []
