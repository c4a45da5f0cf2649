"""A device that counts its bytes, models for it that load when a test says so, and a lender that lends by hand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cfai.bindings.loaded import Claim, Weights
from cfai.errors import AiError
from cfai.ready import Ready

__all__ = ["Device", "EngineDouble", "LoaderDouble", "weights_of"]


def weights_of(name: str) -> Weights:
    return Weights(Path("/models") / name, name=name)


class Device:
    """Memory of `size` bytes, and what is in it. Whatever must never be is written down in `wrongs`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken: Counter[str] = Counter()
        self.most = 0
        self.loads = 0
        self.wrongs: list[str] = []
        self._lock = threading.Lock()

    def take(self, name: str, size: int) -> None:
        with self._lock:
            if name in self.taken:
                self.wrongs.append(f"{name} is loaded twice")
            self.taken[name] += size
            self.loads += 1
            self.most = max(self.most, self.taken.total())
            if self.taken.total() > self.size:
                self.wrongs.append(f"{dict(self.taken)} take more than {self.size}")

    def give(self, name: str) -> None:
        with self._lock:
            del self.taken[name]


class EngineDouble:
    """An engine that loads until `finish`, and notes when it is closed while somebody uses it."""

    def __init__(self, name: str, size: int, device: Device) -> None:
        self.name = name
        self.memory = size
        self.ready = Ready()
        self.has_loaded = False
        self.has_ended = False
        self.is_alive = True
        self.users = 0
        self._device = device
        device.take(name, size)

    def finish(self, error: AiError | None = None) -> None:
        """Loading ends, well or not."""
        if error is None and not self.has_ended:
            self.has_loaded = True
        else:
            self.is_alive = False
        self.ready.set(error)

    def stats(self) -> dict[str, Any]:
        return {"running": self.users, "waiting": 0, "tokens": 0}

    def close(self, timeout: float = 10) -> None:
        if not self.has_ended and timeout:
            if self.users:
                self._device.wrongs.append(f"{self.name} is closed while {self.users} use it")
            self.has_ended, self.is_alive = True, False
            self._device.give(self.name)


class LoaderDouble:
    """Makes engines for models of the given sizes.

    on_start  called with each engine when it begins to load, in the keeper's thread; default: it is ready at once
    """

    def __init__(
        self, sizes: Mapping[str, int], device: Device, on_start: Callable[[EngineDouble], object] | None = None
    ) -> None:
        self.started: list[EngineDouble] = []
        self._sizes = sizes
        self._device = device
        self._on_start = on_start or EngineDouble.finish

    def budget(self, device: str | None) -> int | None:
        return self._device.size

    def claim(self, weights: Weights, device: str | None, budget: int | None) -> Claim:
        return Claim(self._sizes[weights.name])

    def start(self, weights: Weights, device: str | None, budget: int | None) -> EngineDouble:
        engine = EngineDouble(weights.name, self._sizes[weights.name], self._device)
        self.started.append(engine)
        self._on_start(engine)
        return engine
