"""What a loaded model has done: requests by outcome, tokens, and how long things took.

    event loop      metrics.request(prompt_tokens)            the request enters the queue
    engine thread   request.admitted(now, cached_tokens=...)  it gets a slot
                    request.tokens(now)                       after every step that made tokens for it
                    request.finished(now)                     or stopped, or failed
    any thread      metrics.refused(), metrics.snapshot()

All but `refused` is written by the engine thread alone, so a token costs no lock. A snapshot that is taken meanwhile
may miss what is being written; it never holds a bucket without its count.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

__all__ = ["BOUNDS", "Histogram", "ModelMetrics", "RequestMetrics"]

# All bounds that the OpenTelemetry conventions advise, and more at both ends: theirs begin at 10 ms per token, which a
# small model or a GPU does not need, and end at 10 s to the first one, which a long prompt on a CPU may take.
# https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
_WAITING = (
    *(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0),
)
_PER_TOKEN = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.025, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
_DURATION = tuple(0.01 * 2**power for power in range(16))
_TOKENS = tuple(float(4**power) for power in range(14))

BOUNDS: dict[str, tuple[float, ...]] = {
    "time_to_first_token": _WAITING,
    "queue_time": _WAITING,
    "prefill_time": _WAITING,
    "inter_token_latency": _PER_TOKEN,
    "time_per_output_token": _PER_TOKEN,
    "request_duration": _DURATION,
    "input_tokens": _TOKENS,
    "output_tokens": _TOKENS,
}
"""The histograms of a model by name, with the upper bounds of their buckets: seconds, or tokens of one request."""


class Histogram:
    """Values counted by size, in buckets with the given upper bounds and one for all that is larger."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def snapshot(self) -> dict[str, Any]:
        """`bounds`, `counts` (one more, each bucket's own) and `sum`."""
        return {"bounds": list(self._bounds), "counts": self._counts.copy(), "sum": round(self._sum, 6)}


class ModelMetrics:
    """The figures of one loaded model.

    ```python
    request = metrics.request(prompt_tokens=12)
    request.admitted(), request.tokens(), request.finished()
    ```

    Times are `time.monotonic()`, in seconds; where one may be given, None reads the clock.
    """

    def __init__(self) -> None:
        self.load_seconds: float | None = None
        """How long the weights took to load; None until they are there."""
        self._lock = threading.Lock()
        self._refused = 0
        self._outcomes = {"finished": 0, "stopped": 0, "failed": 0}
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._prefix_hits = 0
        self._output_tokens = 0
        self._histograms = {name: Histogram(bounds) for name, bounds in BOUNDS.items()}

    def request(self, prompt_tokens: int, now: float | None = None) -> RequestMetrics:
        """A request enters the queue. Nothing is counted before it is admitted or ends."""
        return RequestMetrics(self, prompt_tokens, time.monotonic() if now is None else now)

    def refused(self) -> None:
        """A request was turned away, the queue being full. May be called from any thread."""
        with self._lock:
            self._refused += 1

    def snapshot(self) -> dict[str, Any]:
        """All figures since the model was loaded, as plain JSON.

        requests         how many, by outcome: finished; stopped, their readers left; failed; refused
        prompt_tokens    of the requests that got a slot
        cached_tokens    how many of these were in the KV cache already
        prefix_hits      requests of whose prompt a part was in the KV cache
        output_tokens    made so far, those of running requests too
        load_seconds     how long the weights took to load, or None
        histograms       by the names in `BOUNDS`; see `Histogram.snapshot`
        """
        return {
            "requests": {**self._outcomes, "refused": self._refused},
            "prompt_tokens": self._prompt_tokens,
            "cached_tokens": self._cached_tokens,
            "prefix_hits": self._prefix_hits,
            "output_tokens": self._output_tokens,
            "load_seconds": self.load_seconds,
            "histograms": {name: histogram.snapshot() for name, histogram in self._histograms.items()},
        }


class RequestMetrics:
    """One request on its way through the engine; `ModelMetrics.request` makes it."""

    __slots__ = ("_admitted", "_arrived", "_first", "_has_ended", "_last", "_model", "_output_tokens", "_prompt_tokens")

    def __init__(self, model: ModelMetrics, prompt_tokens: int, arrived: float) -> None:
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._output_tokens = 0
        self._arrived = arrived
        self._admitted: float | None = None
        self._first: float | None = None
        self._last = arrived
        self._has_ended = False

    def admitted(self, now: float | None = None, *, cached_tokens: int = 0) -> None:
        """The request gets a slot; `cached_tokens` of its prompt need no prefill.

        Only the first time counts: a sequence that was put back into the queue comes again.
        """
        if self._admitted is not None:
            return
        model = self._model
        self._admitted = time.monotonic() if now is None else now
        model._histograms["queue_time"].observe(self._admitted - self._arrived)
        model._prompt_tokens += self._prompt_tokens
        model._cached_tokens += cached_tokens
        model._prefix_hits += cached_tokens > 0

    def tokens(self, now: float | None = None, count: int = 1) -> None:
        """One step made `count` tokens. Those of one step share the time since the last one."""
        if now is None:
            now = time.monotonic()
        model = self._model
        if self._first is None:
            self._first = now
            model._histograms["time_to_first_token"].observe(now - self._arrived)
            model._histograms["prefill_time"].observe(
                now - (self._arrived if self._admitted is None else self._admitted)
            )
        else:
            model._histograms["inter_token_latency"].observe((now - self._last) / count, count)
        self._last = now
        self._output_tokens += count
        model._output_tokens += count

    def finished(self, now: float | None = None) -> None:
        """The answer is whole."""
        if not self._end("finished"):
            return
        histograms = self._model._histograms
        histograms["request_duration"].observe((time.monotonic() if now is None else now) - self._arrived)
        histograms["input_tokens"].observe(self._prompt_tokens)
        histograms["output_tokens"].observe(self._output_tokens)
        if self._first is not None and self._output_tokens > 1:
            histograms["time_per_output_token"].observe((self._last - self._first) / (self._output_tokens - 1))

    def stopped(self) -> None:
        """Its reader left, in the queue or later."""
        self._end("stopped")

    def failed(self) -> None:
        """It ended with an error."""
        self._end("failed")

    def _end(self, outcome: str) -> bool:
        """Count the outcome; false if there was one already."""
        if self._has_ended:
            return False
        self._has_ended = True
        self._model._outcomes[outcome] += 1
        return True
