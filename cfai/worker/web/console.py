"""`console`."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from cfai.worker.web.values import JSON, JsArray, JsObject

__all__ = ["console"]


class _Console:
    """`console`: one line per call, at once."""

    def log(self, *values: Any) -> None:
        self._write(sys.stdout, values)

    info = debug = log

    def error(self, *values: Any) -> None:
        self._write(sys.stderr, values)

    warn = error

    def _write(self, to: TextIO, values: tuple[Any, ...]) -> None:
        shown = [value if isinstance(value, str) else _shown(value) for value in values]
        to.write(" ".join(shown) + "\n")
        to.flush()


def _shown(value: Any) -> str:
    try:
        return (JSON.stringify(value) if isinstance(value, dict | list | JsObject | JsArray) else None) or str(value)
    except (TypeError, ValueError):
        return str(value)


console = _Console()
