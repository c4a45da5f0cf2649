"""A wish for an engine, in the queue or granted."""

from __future__ import annotations

import zlib
from typing import Generic, TypeVar

from cfai.bindings.loaded.weights import Engine, Weights
from cfai.errors import AiError, RequestAborted
from cfai.ready import Ready

__all__ = ["Ticket"]

E = TypeVar("E", bound=Engine)


class Ticket(Generic[E]):
    """What `Lives` knows of somebody who wants, or has, an engine with `weights`; see `LoadedModels.use`."""

    def __init__(
        self,
        weights: Weights,
        *,
        session: str | None = None,
        keep_alive: float | None = None,
        reject_if_busy: bool = False,
    ) -> None:
        self.weights = weights
        self.session = session
        self.keep_alive = keep_alive
        self.reject_if_busy = reject_if_busy
        self.asked_at = 0.0
        self.number = 0
        """Whoever asked earlier has a smaller one."""
        self._engine: E | None = None
        self._decided = Ready()

    @property
    def is_decided(self) -> bool:
        """It is lent an engine, or refused one, or given back."""
        return self._decided.is_set

    @property
    def engine(self) -> E | None:
        """What it is lent."""
        return self._engine

    def place(self, engines: int) -> int | None:
        """Which of so many engines it must be; None for any."""
        return None if self.session is None else zlib.crc32(self.session.encode()) % engines

    def lend(self, engine: E) -> None:
        self._engine = engine
        self._decided.set()

    def refuse(self, error: AiError) -> None:
        self._decided.set(error)

    def give_back(self) -> None:
        self._engine = None
        self._decided.set(RequestAborted())

    async def decision(self) -> E:
        """The engine, once it is lent; raises why it is not."""
        await self._decided.wait()
        if (engine := self._engine) is None:
            raise RequestAborted()
        return engine
