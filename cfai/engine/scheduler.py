"""Which sequences run next. Policy only: no tensors, no threads, no clock.

Sequences wait in order of arrival for one of `slots` places. Every step advances those running sequences that can
advance: one prefill chunk or one decoded token. A sequence whose reader lags keeps its cache but not its place.
"""

from __future__ import annotations

from collections import deque

from cfai.engine.sequence import Sequence

__all__ = ["Scheduler"]


class Scheduler:
    """`slots` sequences run at once, up to `queue_limit` more wait."""

    def __init__(self, *, slots: int, queue_limit: int) -> None:
        self.slots = slots
        self.queue_limit = queue_limit
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def is_full(self) -> bool:
        return len(self.waiting) + len(self.running) >= self.slots + self.queue_limit

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        self.running.remove(sequence)

    def drop_abandoned(self) -> list[Sequence]:
        """Take out the sequences that nobody reads any more, waiting or running, and return them."""
        gone = [sequence for sequence in (*self.waiting, *self.running) if sequence.is_abandoned]
        for sequence in gone:
            (self.running if sequence in self.running else self.waiting).remove(sequence)
        return gone

    def next_step(self) -> list[Sequence]:
        """Fill free places from the queue and return the sequences to advance; none if all of them wait for readers."""
        ready = [sequence for sequence in self.running if not sequence.is_stalled]
        while self.waiting and len(ready) < self.slots:
            ready.append(self.waiting.popleft())
            self.running.append(ready[-1])
        step = ready[: self.slots]
        if len(ready) > self.slots:  # readers caught up: the places go round
            self.running = [sequence for sequence in self.running if sequence not in step] + step
        return step
