"""The engines in memory and their lives."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import anyio
from anyio import to_thread

from cfai.bindings.loaded.lease import Lease
from cfai.bindings.loaded.weights import Engine, Weights

__all__ = ["LoadedModels"]

E = TypeVar("E", bound=Engine)


class LoadedModels(Generic[E]):
    """Opens an engine for weights when they are first wanted, on every device, and closes all in the end.

    ```python
    loaded = LoadedModels(start_engine, devices=["cuda:0", "cuda:1"])
    async with loaded.use(Weights(folder)) as engine: ...
    ```

    start    makes the engine for weights on a device; it loads by itself
    devices  where to run; None is the best there is

    Usable from any number of tasks, threads and event loops.
    """

    def __init__(self, start: Callable[[Weights, str | None], E], *, devices: Sequence[str | None] = (None,)) -> None:
        self._start = start
        self._devices = [*devices]
        self._engines: dict[Weights, list[E]] = {}
        self._lock = threading.Lock()

    def use(self, weights: Weights, *, session: str | None = None) -> Lease[E]:
        """An engine with `weights` for one answer; answers of one `session` get the one on the same device."""
        return Lease(partial(self._find, weights, session))

    def _find(self, weights: Weights, session: str | None) -> E:
        with self._lock:  # tasks of several event loops may want the first answer of a model at once
            before: list[E | None] = [*self._engines.get(weights, [])] or [None] * len(self._devices)
            engines = self._engines[weights] = [
                engine if engine is not None and engine.is_alive else self._start(weights, device)
                for device, engine in zip(self._devices, before, strict=True)
            ]
        if session is not None:
            return engines[zlib.crc32(session.encode()) % len(engines)]
        return min(engines, key=lambda engine: engine.load)

    def engines(self) -> list[E]:
        """All that load or are loaded."""
        with self._lock:
            return [engine for engines in self._engines.values() for engine in engines if engine.is_alive]

    async def aclose(self) -> None:
        """Close all engines. Whoever uses one gets what it ends its answers with."""
        with self._lock:
            engines = [engine for engines in self._engines.values() for engine in engines]
            self._engines.clear()
        with anyio.CancelScope(shield=True):
            for engine in engines:
                await to_thread.run_sync(engine.close)
