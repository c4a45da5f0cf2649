"""The terminal of `cfai dev`: its keys, and who reads from it.

Usually the supervisor does, key by key. While a script stops in `breakpoint()` or `input()`, its process does, line by
line. Whatever happens, the terminal is at the end as it was at the start.
"""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator

import anyio

__all__ = ["Terminal"]

STDIN = 0


class Terminal:
    """What is behind stdin. Where that is no terminal, or another program's, there are no keys.

    ```python
    with Terminal().kept() as terminal:
        async for key in terminal.keys():
            ...
    ```
    """

    def __init__(self) -> None:
        self.has_keys = _is_ours()
        self._lent = 0
        self._is_back = anyio.Event()

    @contextlib.contextmanager
    def kept(self) -> Iterator[Terminal]:
        if not self.has_keys:
            yield self
            return
        before = termios.tcgetattr(STDIN)
        try:
            self._read_keys()
            yield self
        finally:
            with contextlib.suppress(termios.error, OSError):  # a terminal that is gone needs no care
                termios.tcsetattr(STDIN, termios.TCSADRAIN, before)

    def _read_keys(self) -> None:
        with contextlib.suppress(termios.error, OSError):
            tty.setcbreak(STDIN, termios.TCSADRAIN)

    def continued(self) -> None:
        """The process was stopped, and the shell may have set up the terminal for itself."""
        if self.has_keys and not self._lent:
            self._read_keys()

    async def keys(self) -> AsyncIterator[str]:
        while self.has_keys:
            while self._lent:
                await self._is_back.wait()
            await anyio.wait_readable(STDIN)
            key = self._key()
            if key is None:
                return
            if key:
                yield key.decode("latin-1").lower()

    def _key(self) -> bytes | None:
        """The next key; empty if a script was given the terminal meanwhile, None at the end."""
        if self._lent:
            return b""
        try:
            return os.read(STDIN, 1) or None
        except OSError:
            return None

    def lend(self) -> None:
        """Let a script read lines."""
        self._lent += 1
        if self.has_keys and self._lent == 1:
            with contextlib.suppress(termios.error, OSError):
                mode = termios.tcgetattr(STDIN)
                mode[0] |= termios.ICRNL
                mode[3] |= termios.ICANON | termios.ECHO
                termios.tcsetattr(STDIN, termios.TCSADRAIN, mode)

    def take_back(self) -> None:
        self._lent -= 1
        if not self._lent:
            self.continued()
            self._is_back.set()
            self._is_back = anyio.Event()


def _is_ours() -> bool:
    try:
        # A job in the background that touches the terminal is stopped.
        return sys.stdin.isatty() and sys.stdout.isatty() and os.tcgetpgrp(STDIN) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False
