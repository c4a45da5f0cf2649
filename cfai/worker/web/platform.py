"""What JavaScript finds lying about: Date, Math, Map."""

from __future__ import annotations

import copy
import math
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from cfai.worker.web.values import JsClass, JsMap

__all__ = ["Date", "Map", "Math", "structuredClone"]


def structuredClone(value: Any, options: Any = None) -> Any:  # noqa: N802  # JavaScript's spelling
    """A deep copy."""
    return copy.deepcopy(value)


class Date(metaclass=JsClass):
    """`Date`."""

    def __init__(self, value: Any = None) -> None:
        if value is None:
            self._when = datetime.now(UTC)
        elif isinstance(value, str):
            when = datetime.fromisoformat(value)
            self._when = when if when.tzinfo else when.replace(tzinfo=UTC)
        else:
            self._when = datetime.fromtimestamp(value / 1000, UTC)

    @staticmethod
    def now() -> int:
        return time.time_ns() // 1_000_000

    def getTime(self) -> int:  # noqa: N802
        return round(self._when.timestamp() * 1000)

    def toISOString(self) -> str:  # noqa: N802
        return self._when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    toJSON = toISOString  # noqa: N815

    def __str__(self) -> str:
        return self.toISOString()


class Math:
    """`Math`: whole results are ints, as they arrive from JavaScript."""

    PI = math.pi
    floor = staticmethod(math.floor)
    ceil = staticmethod(math.ceil)
    max = staticmethod(max)
    min = staticmethod(min)
    abs = staticmethod(abs)

    @staticmethod
    def round(value: float) -> int:
        return math.floor(value + 0.5)

    @staticmethod
    def random() -> float:
        return secrets.randbelow(2**53) / 2**53


class Map:
    """`Map`."""

    @staticmethod
    def new(entries: Any = ()) -> JsMap:
        return JsMap((key, value) for key, value in entries or ())
