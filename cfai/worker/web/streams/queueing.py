"""How much may wait in a stream before who makes it is told to wait."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from cfai.worker.web.streams.algorithms import member
from cfai.worker.web.values import JsClass, JsProxy, JsRangeError, options_of

__all__ = ["ByteLengthQueuingStrategy", "CountQueuingStrategy", "Queue", "Strategy", "strategy_of"]


class CountQueuingStrategy(JsProxy, metaclass=JsClass):
    """`CountQueuingStrategy.new(highWaterMark=4)`: so many chunks."""

    def __init__(self, init: Any = None) -> None:
        self.highWaterMark = options_of(init).get("highWaterMark")

    def size(self, chunk: Any = None) -> int:
        return 1


class ByteLengthQueuingStrategy(CountQueuingStrategy):
    """`ByteLengthQueuingStrategy.new(highWaterMark=65536)`: so many bytes."""

    def size(self, chunk: Any = None) -> int:
        length = getattr(chunk, "byteLength", None)
        return len(chunk) if length is None else int(length)


class Strategy:
    """A high water mark, and what a chunk counts for."""

    __slots__ = ("high_water_mark", "size")

    def __init__(self, high_water_mark: float, size: Callable[[Any], Any] | None = None) -> None:
        self.high_water_mark = high_water_mark
        self.size = size


def strategy_of(given: Any, default: float) -> Strategy:
    mark, size = member(given, "highWaterMark"), member(given, "size")
    mark = default if mark is None else mark
    if not isinstance(mark, int | float) or math.isnan(mark) or mark < 0:
        raise JsRangeError(f"The high water mark of a stream is a number from 0 on, not {mark!r}.")
    return Strategy(mark, size)


class Queue:
    """Chunks that wait, and what they count for together."""

    __slots__ = ("_chunks", "_strategy", "total")

    def __init__(self, strategy: Strategy) -> None:
        self._chunks: deque[tuple[Any, float]] = deque()
        self._strategy = strategy
        self.total: float = 0

    def put(self, chunk: Any, promise: Any = None) -> None:
        """Append `chunk`, with the promise of its end if there is one."""
        size = self._strategy.size
        counts = 1 if size is None else size(chunk)
        if not isinstance(counts, int | float) or math.isnan(counts) or counts < 0 or counts == math.inf:
            raise JsRangeError(f"The size of a chunk is a number from 0 on, not {counts!r}.")
        self._chunks.append((chunk if promise is None else (chunk, promise), counts))
        self.total += counts

    def put_back(self, chunk: Any, counts: float) -> None:
        self._chunks.appendleft((chunk, counts))
        self.total += counts

    def take(self) -> Any:
        chunk, counts = self._chunks.popleft()
        self.total = self.total - counts if self._chunks else 0
        return chunk

    def first(self) -> Any:
        return self._chunks[0][0]

    def clear(self) -> None:
        self._chunks.clear()
        self.total = 0

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def desired_size(self) -> float:
        """How much more is wanted."""
        left = self._strategy.high_water_mark - self.total
        return int(left) if isinstance(left, float) and left.is_integer() else left
