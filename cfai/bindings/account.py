"""What a day's answers would have cost on Cloudflare, and how much of it is free."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cfai.clock import Clock, RealClock, seconds_since_1970
from cfai.cost import FREE_NEURONS, Cost, shown_neurons

__all__ = ["COSTS", "KEEP_DAYS", "Account", "read_line"]

log = logging.getLogger("cfai.cost")

COSTS = "costs"
"""The folder of `weights.home()` in which the days of this user are."""

KEEP_DAYS = 31
"""How many days are kept, the present one among them."""

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl")


class Account:
    """Every answer's cost, and the neurons of the present day, which begins at 00:00 UTC.

    ```python
    account = Account(weights.home() / COSTS)
    account.add("@cf/meta/llama-3.2-1b-instruct", Cost(39, 12, neurons=0.3))
    account.today  # 0.3, and what other processes added to the same folder
    ```

    folder  where the answers of a day are a file, a line of JSON for each: its time, model, tokens and neurons, never
            what was asked. Any number of processes may share it; None remembers nothing beyond this process
    clock   what says which day it is; default: the machine's
    """

    def __init__(self, folder: Path | None = None, *, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or RealClock()
        self._lock = threading.Lock()
        self._day = ""
        self._neurons = 0.0
        self._unwritten = 0.0
        """Those of them that are in no file."""
        self._read = 0
        """Bytes of the day's file that are counted."""
        self._is_told = False

    @property
    def now(self) -> datetime:
        """This moment, in UTC."""
        # Asked anew each time: a machine that slept has a day that its steady clock did not see begin.
        return datetime.fromtimestamp(seconds_since_1970(self._clock) + self._clock.now(), UTC)

    @property
    def today(self) -> float:
        """The neurons of the day so far; answers of models without a known price cost none."""
        with self._lock:
            self._begin_day()
            self._read_on()
            return self._neurons

    @property
    def resets_in(self) -> float:
        """Seconds until the next day begins."""
        now = self.now
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return (midnight - now).total_seconds()

    def add(self, model: str, cost: Cost) -> None:
        """Count an answer. Where it cannot be written down, it counts in this process only."""
        with self._lock:
            self._begin_day()
            if not self._written(model, cost):
                self._neurons += cost.neurons or 0.0
                self._unwritten += cost.neurons or 0.0

    def shown(self) -> str:
        """The gauge in words: `12.3 of 10,000 free neurons today`."""
        return f"{shown_neurons(self.today)} of {FREE_NEURONS:,} free neurons today"

    def to_json(self) -> dict[str, Any]:
        """The gauge: neurons of today, how many are free, and the seconds until the next day."""
        return {"today": round(self.today, 6), "free": FREE_NEURONS, "resets_in": round(self.resets_in)}

    def _begin_day(self) -> None:
        day = self.now.date().isoformat()
        if day != self._day:
            self._day, self._neurons, self._unwritten, self._read = day, 0.0, 0.0, 0

    @property
    def _file(self) -> Path | None:
        return None if self._folder is None else self._folder / f"{self._day}.jsonl"

    def _written(self, model: str, cost: Cost) -> bool:
        if (file := self._file) is None:
            return False
        row = {
            "at": self.now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "model": model,
            "in": cost.input_tokens,
            "cached": cost.cached_tokens,
            "out": cost.output_tokens,
            "neurons": cost.neurons,
        }
        try:
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                self._forget_old(file.parent)
            # One write of a whole line to the file's end: lines of several processes do not mix.
            descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                line = f"{json.dumps(row, ensure_ascii=False)}\n".encode()
                if os.lseek(descriptor, 0, os.SEEK_END):
                    os.lseek(descriptor, -1, os.SEEK_END)
                    if os.read(descriptor, 1) != b"\n":  # what a process that was killed left
                        line = b"\n" + line
                if os.write(descriptor, line) < len(line):
                    # The disk is full. What is there of the line ends with it, so that the next is one of its own.
                    os.write(descriptor, b"\n")
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                log.warning("costs are not kept beyond this process: %s cannot be written: %s", file, error.strerror)
            return False
        return True

    def _read_on(self) -> None:
        """Count the lines that came since the last look."""
        file = self._file
        if file is None:
            return
        with contextlib.suppress(OSError), file.open("rb") as lines:
            if lines.seek(0, os.SEEK_END) < self._read:  # it was removed, or begun anew
                self._neurons, self._read = self._unwritten, 0
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):  # it is being written
                    return
                self._read += len(line)
                if (row := read_line(line)) is not None:
                    self._neurons += row[2].neurons or 0.0

    def _forget_old(self, folder: Path) -> None:
        oldest = (self.now - timedelta(days=KEEP_DAYS - 1)).date().isoformat()
        for file in folder.iterdir():
            if _NAME.fullmatch(file.name) and file.stem < oldest:
                file.unlink(missing_ok=True)


def read_line(line: bytes) -> tuple[str, str, Cost] | None:
    """When, by which model and for how much, of a line that an `Account` wrote; None for any other.

    ```python
    read_line(b'{"at": "2026-01-31T09:00:00Z", "model": "@cf/x/y", "in": 39, "cached": 0, "out": 1, "neurons": 1.2}')
    ```
    """
    try:
        row = json.loads(line)
        at, model = str(row["at"]), str(row["model"])
        inputs, outputs, cached = (int(row[name]) for name in ("in", "out", "cached"))
        neurons = None if row["neurons"] is None else float(row["neurons"])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):  # cut short, or somebody else's
        return None
    # What is no amount, NaN above all, would spoil the sum of the day.
    if min(inputs, outputs, cached) < 0 or not 0 <= (neurons or 0.0) < math.inf:
        return None
    return at, model, Cost(inputs, outputs, cached, neurons)
