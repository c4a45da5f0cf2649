"""A `cfai` process in tests, its output read line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Process"]

MOST_SECONDS = 60.0
"""How long a process may take to end."""


class Process:
    """`cfai ARGUMENTS...`, interrupted when the block is left."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "cfai"),
        cwd: Path | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [*program, *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(environment or {})},
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._lines: Iterator[str] = iter(self._output.readline, "")
        self.rest = ""

    def read_until(self, text: str) -> str:
        """The first line with `text` in it."""
        seen = []
        for line in self._lines:
            seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came: {''.join(seen)}")

    def lines_until(self, text: str) -> str:
        """All lines up to the first with `text` in it."""
        seen = ""
        while text not in seen:
            seen += next(self._lines)
        return seen

    def next_line(self) -> str:
        return next(self._lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """Send the signal, read what is left to read into `rest`, and return the exit status.

        A process that does not end is killed, so that its test fails, not the whole run.
        """
        too_long = threading.Timer(MOST_SECONDS, self._process.kill)
        too_long.start()
        try:
            self.tell(number)
            self.rest = "".join(self._lines)
            self._output.close()
            return self._process.wait(30)
        finally:
            too_long.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._output.closed:
            self.end(signal.SIGINT)
