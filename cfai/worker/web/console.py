"""`console`."""

from __future__ import annotations

import sys
import time
import traceback
from typing import Any, TextIO

from cfai.dev.colours import RED, YELLOW, on
from cfai.worker.web.inspecting import formatted, inspect, rows_and_columns
from cfai.worker.web.proxies import JsProxy

__all__ = ["console"]


class _Console(JsProxy):
    """`console`: warnings and errors to stderr, the rest to stdout, each at once."""

    def __init__(self) -> None:
        self._indent = ""
        self._counts: dict[str, int] = {}
        self._timers: dict[str, float] = {}

    def log(self, *values: Any) -> None:
        self._write(sys.stdout, formatted(values))

    info = debug = log

    def error(self, *values: Any) -> None:
        self._write(sys.stderr, formatted(values), RED)

    def warn(self, *values: Any) -> None:
        self._write(sys.stderr, formatted(values), YELLOW)

    def dir(self, value: Any = None, options: Any = None) -> None:
        self._write(sys.stdout, inspect(value, 1) if isinstance(value, str) else inspect(value))

    dirxml = log

    def table(self, value: Any = None, columns: Any = None) -> None:
        self._write(sys.stdout, rows_and_columns(value) or formatted((value,)))

    def trace(self, *values: Any) -> None:
        frames = "".join(traceback.format_stack()[:-1]).rstrip()
        self._write(sys.stderr, f"Trace{': ' if values else ''}{formatted(values)}\n{frames}")

    def assert_(self, condition: Any = False, *values: Any) -> None:
        if not condition:
            self._write(sys.stderr, f"Assertion failed{': ' if values else ''}{formatted(values)}", RED)

    def group(self, *values: Any) -> None:
        if values:
            self.log(*values)
        self._indent += "  "

    groupCollapsed = group  # noqa: N815  # JavaScript's spelling

    def groupEnd(self) -> None:  # noqa: N802
        self._indent = self._indent[2:]

    def count(self, label: str = "default") -> None:
        self._counts[label] = self._counts.get(label, 0) + 1
        self.log(f"{label}: {self._counts[label]}")

    def countReset(self, label: str = "default") -> None:  # noqa: N802
        self._counts.pop(label, None)

    def time(self, label: str = "default") -> None:
        self._timers.setdefault(label, time.perf_counter())

    def timeLog(self, label: str = "default", *values: Any) -> None:  # noqa: N802
        if (since := self._timers.get(label)) is None:
            self.warn(f"Timer '{label}' does not exist")
        else:
            self.log(f"{label}: {(time.perf_counter() - since) * 1000:.3f}ms", *values)

    def timeEnd(self, label: str = "default") -> None:  # noqa: N802
        self.timeLog(label)
        self._timers.pop(label, None)

    def clear(self) -> None:
        """The terminal is the developer's."""

    timeStamp = profile = profileEnd = lambda self, *values: None  # noqa: N815

    def _write(self, to: TextIO, text: str, colour: str | None = None) -> None:
        lines = f"{self._indent}{text}".replace("\n", f"\n{self._indent}") if self._indent else text
        to.write(f"{lines if colour is None else on(to, colour, lines)}\n")
        to.flush()


console = _Console()
