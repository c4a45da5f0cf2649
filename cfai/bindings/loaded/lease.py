"""An engine for the time of one answer."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from cfai.bindings.loaded.ticket import Ticket
from cfai.bindings.loaded.weights import Engine

__all__ = ["Lease", "Lender"]

E = TypeVar("E", bound=Engine)


class Lender(Protocol):
    """What a lease tells of itself; `LoadedModels` is one."""

    def ask(self, ticket: Ticket[Any]) -> None:
        """It wants an engine."""

    def release(self, ticket: Ticket[Any]) -> None:
        """It is closed."""

    def drop(self, ticket: Ticket[Any]) -> None:
        """Python collects it, and it was not closed: in any thread at any place, so nothing here may take a lock."""


class Lease(Generic[E]):
    """The right to use an engine, which stays in memory meanwhile. `LoadedModels.use` makes it.

    ```python
    async with loaded.use(weights) as engine:
        stream = engine.submit(prompt, sampling)
    ```

    One that is dropped is closed when Python collects it.
    """

    def __init__(self, lender: Lender, ticket: Ticket[E]) -> None:
        self._lender = lender
        self._ticket = ticket
        self._has_asked = False
        self._is_closed = False

    def ask(self) -> None:
        """Stand in the queue, without waiting. `engine` does it too."""
        if not self._has_asked and not self._is_closed:
            self._has_asked = True
            self._lender.ask(self._ticket)

    async def engine(self) -> E:
        """The engine, once its model is loaded; raises why it is not. May be cancelled and called again.

        Who waits keeps the place in the queue until `close`.
        """
        self.ask()
        return await self._ticket.decision()

    def close(self) -> None:
        """The answer is over, or nobody wants it any more. From any thread, any number of times."""
        if not self._is_closed:
            self._is_closed = True
            if self._has_asked:
                self._lender.release(self._ticket)
            self._ticket.give_back()

    async def __aenter__(self) -> E:
        try:
            return await self.engine()
        except BaseException:
            self.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._has_asked and not self._is_closed:
            self._lender.drop(self._ticket)
