"""The engines in memory: `Lives` with a lock around it, and a thread that does what it orders."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import anyio

from cfai.bindings.loaded.lease import Lease
from cfai.bindings.loaded.lives import Lives
from cfai.bindings.loaded.resident import Resident, State
from cfai.bindings.loaded.ticket import Ticket
from cfai.bindings.loaded.weights import Engine, Loader, Weights
from cfai.clock import Clock, RealClock
from cfai.errors import AiError, EngineFailure

__all__ = ["Life", "LoadedModels"]

E = TypeVar("E", bound=Engine)

KEEP_ALIVE = 300.0
"""Seconds that an idle model stays, as Ollama's do: long enough for the next question, and then the memory is the
user's again."""

PATIENCE = 120.0
"""Seconds for which a request waits for room that others hold."""

CLOSE_SECONDS = 10.0
"""How long closing everything waits for a step or a load to end."""


@dataclass(frozen=True, slots=True)
class Life(Generic[E]):
    """How one model stands.

    engines     one for each device; none while it waits for room
    memory      bytes that it takes on all devices, or will
    waiting     answers that wait for it to load, or for room
    used        answers that use it
    idle        seconds since the last one ended, None while there is one
    leaves_in   seconds until it leaves if nobody asks again, None if it does not
    """

    name: str
    state: State
    engines: Sequence[E]
    memory: int
    waiting: int
    used: int
    is_pinned: bool
    idle: float | None
    leaves_in: float | None

    def stats(self) -> list[dict[str, Any]]:
        """What each engine does, or what is waited for, as plain JSON with the key `name`."""
        mine = {
            "state": self.state,
            "pinned": self.is_pinned,
            "idle_seconds": _rounded(self.idle),
            "leaves_in_seconds": _rounded(self.leaves_in),
        }
        if not self.engines:
            nothing = {"running": 0, "waiting": self.waiting, "tokens": 0, "memory": 0, "memory_in_all": self.memory}
            return [{"name": self.name, **nothing, **mine}]
        found = []
        for engine in self.engines:
            stats = engine.stats()
            found.append({"name": engine.name, **stats, "waiting": stats["waiting"] + self.waiting, **mine})
        return found


def _nothing() -> None:
    """An order that only wakes."""


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class LoadedModels(Generic[E]):
    """Loads models when they are first wanted, on every device, and lets them leave for others and when they are idle.

    ```python
    loaded = LoadedModels(loader, devices=["cuda:0", "cuda:1"], memory=20 * 10**9)
    async with loaded.use(Weights(folder)) as engine: ...
    ```

    loader         makes the engines
    devices        where to run; None is the best there is
    memory         bytes that models may take together on each device; None asks the loader
    keep_alive     seconds from a model's last answer until it leaves; 0 at once, `FOREVER` never. A lease's own wins
    waiting_limit  leases that may wait for one model
    patience       seconds for which a lease waits for room
    clock          passes the time

    What is decided stands in `Lives`. Usable from any number of tasks, threads and event loops.
    """

    def __init__(
        self,
        loader: Loader[E],
        *,
        devices: Sequence[str | None] = (None,),
        memory: int | None = None,
        keep_alive: float = KEEP_ALIVE,
        waiting_limit: int = 64,
        patience: float = PATIENCE,
        clock: Clock | None = None,
    ) -> None:
        self._loader = loader
        self._devices = [*devices]
        self._clock = clock or RealClock()
        self._lives: Lives[E] = Lives(
            self, devices=self._devices, keep_alive=keep_alive, waiting_limit=waiting_limit, patience=patience
        )
        if memory is not None:
            self._lives.budget.update(dict.fromkeys(self._devices, memory))
        self._lock = threading.Lock()
        self._keeper: threading.Thread | None = None
        self._looks_at = math.inf
        """When the keeper looks again if nobody wakes it."""
        # Putting into it is safe wherever Python may collect a lease, also inside of itself.
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()

    # any thread

    def use(
        self,
        weights: Weights,
        *,
        session: str | None = None,
        keep_alive: float | None = None,
        pinned: bool = False,
        reject_if_busy: bool = False,
    ) -> Lease[E]:
        """An engine with `weights` for one answer.

        session         answers of one session get the engine on the same device
        keep_alive      seconds that the model stays after this answer
        pinned          the model stays in memory from now on
        reject_if_busy  refuse with 3040 rather than wait for others to give room
        """
        if pinned and weights not in self._lives.pinned:
            self.pin(weights)
        return Lease(self, Ticket(weights, session=session, keep_alive=keep_alive, reject_if_busy=reject_if_busy))

    def pin(self, weights: Weights) -> None:
        """Once it is loaded, the model stays until `unpin`."""
        with self._lock:
            self._lives.pin(weights, self._clock.now())
            self._wake_in_time()

    def unpin(self, weights: Weights) -> None:
        """The model leaves again when it is idle, or for others."""
        with self._lock:
            self._lives.unpin(weights, self._clock.now())
            self._wake_in_time()

    def look(self) -> None:
        """Let what is due happen now. Needed only where `clock` is not the machine's."""
        with self._lock:
            self._lives.settle(self._clock.now())

    @property
    def budget(self) -> dict[str | None, int | None]:
        """Bytes that models may take, by device; a device that nothing was asked of yet may not be measured."""
        with self._lock:
            return dict(self._lives.budget)

    def lives(self) -> list[Life[E]]:
        """Every model that is in memory or waited for."""
        with self._lock:
            now = self._clock.now()
            return [_life(resident, now) for resident in self._lives.residents.values()]

    def ask(self, ticket: Ticket[E]) -> None:
        """`Lease.engine` calls it."""
        with self._lock:
            self._lives.ask(ticket, self._clock.now())
            self._have_a_keeper()
            self._wake_in_time()

    def release(self, ticket: Ticket[E]) -> None:
        """`Lease.close` calls it."""
        with self._lock:
            self._lives.release(ticket, self._clock.now())
            self._wake_in_time()

    def drop(self, ticket: Ticket[E]) -> None:
        """Python calls it for a lease that was not closed, in any thread at any place."""
        self._inbox.put(partial(self.release, ticket))

    async def aclose(self) -> None:
        """End all answers, those that wait and those that are made, and give all memory back."""
        with self._lock:
            leaving = self._lives.end(self._clock.now())
            engines = [engine for resident in leaving for engine in resident.engines]
            gone = [resident.gone for resident in leaving]
        for engine in engines:
            engine.close(timeout=0)  # so that they end at the same time
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            for each in gone:
                await each.wait()

    # orders of `Lives`, given while the lock is held

    def look_at(self, resident: Resident[E]) -> None:
        self._inbox.put(partial(self._look_at, resident))

    def load(self, resident: Resident[E]) -> None:
        self._inbox.put(partial(self._load, resident))

    def close(self, resident: Resident[E]) -> None:
        self._inbox.put(partial(self._close, resident))

    # the keeper's thread

    def _have_a_keeper(self) -> None:
        if self._keeper is None and self._lives.residents:
            self._keeper = threading.Thread(target=self._keep, name="cfai-models", daemon=True)
            self._keeper.start()

    def _wake_in_time(self) -> None:
        next_look = self._lives.next_look()
        if next_look is not None and next_look < self._looks_at:
            self._looks_at = next_look
            self._inbox.put(_nothing)

    def _keep(self) -> None:
        while True:
            with self._lock:
                now = self._clock.now()
                self._lives.settle(now)
                if not self._lives.residents and self._inbox.empty():
                    self._keeper = None
                    return
                next_look = self._lives.next_look()
                self._looks_at = math.inf if next_look is None else next_look
            with contextlib.suppress(Empty):
                # Called where it is taken: a name would keep the engine that it is about.
                self._inbox.get(timeout=None if next_look is None else max(0.0, next_look - now))()

    def _look_at(self, resident: Resident[E]) -> None:
        try:
            for device in {*self._devices} - {*self._lives.budget}:
                self._lives.budget[device] = self._loader.budget(device)
            budget = self._lives.budget
            claims = [self._loader.claim(resident.weights, device, budget[device]) for device in self._devices]
        except Exception as error:
            self._fail(resident, error)
            return
        with self._lock:
            self._lives.looked_at(resident, claims, self._clock.now())

    def _load(self, resident: Resident[E]) -> None:
        if resident.state != "loading":  # everything is being closed
            return
        try:
            for device in self._devices:
                budget = self._lives.budget[device]
                resident.engines.append(self._loader.start(resident.weights, device, budget))
        except Exception as error:
            self._fail(resident, error)
            return
        for engine in resident.engines:
            # Its own thread says so; what follows is decided in this one.
            engine.ready.then(partial(self._note, resident, engine))

    def _note(self, resident: Resident[E], engine: E, error: AiError | None) -> None:
        self._inbox.put(partial(self._is_ready, resident, engine, error))

    def _is_ready(self, resident: Resident[E], engine: E, error: AiError | None) -> None:
        if resident.state != "loading" or engine not in resident.engines:
            return
        if error is not None:
            self._fail(resident, error)
        elif all(each.has_loaded for each in resident.engines):
            with self._lock:
                self._lives.loaded(resident, self._clock.now())

    def _fail(self, resident: Resident[E], error: Exception) -> None:
        if not isinstance(error, AiError):
            error = EngineFailure(f"{resident.name} does not load: {error}")
        with self._lock:
            self._lives.failed(resident, error, self._clock.now())

    def _close(self, resident: Resident[E]) -> None:
        for engine in resident.engines:
            engine.close()
        if not all(engine.has_ended for engine in resident.engines):
            self._inbox.put(partial(self._close, resident))  # its memory counts until it is given back
            return
        with self._lock:
            self._lives.closed(resident, self._clock.now())


def _life(resident: Resident[E], now: float) -> Life[E]:
    leaves_at = resident.leaves_at
    return Life(
        name=resident.name,
        state=resident.state,
        engines=[*resident.engines],
        memory=resident.needs.total(),
        waiting=len(resident.waiting),
        used=len(resident.leases),
        is_pinned=resident.is_pinned,
        idle=max(0.0, now - resident.used_at) if resident.is_idle else None,
        leaves_in=None if leaves_at is None else max(0.0, leaves_at - now),
    )
