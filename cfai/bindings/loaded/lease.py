"""An engine for the time of one answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from cfai.bindings.loaded.weights import Engine
from cfai.errors import RequestAborted

__all__ = ["Lease"]

E = TypeVar("E", bound=Engine)


class Lease(Generic[E]):
    """The right to use an engine, which stays in memory meanwhile.

    ```python
    async with loaded.use(weights) as engine:
        stream = engine.submit(prompt, sampling)
    ```
    """

    def __init__(self, find: Callable[[], E]) -> None:
        self._find = find
        self._engine: E | None = None
        self._is_closed = False

    async def engine(self) -> E:
        """The engine, once its model is loaded; raises why it is not. May be cancelled and called again."""
        if self._is_closed:
            raise RequestAborted()
        if self._engine is None:
            self._engine = self._find()
        await self._engine.ready.wait()
        return self._engine

    def close(self) -> None:
        """The answer is over, or nobody wants it any more. From any thread, any number of times."""
        self._is_closed = True
        self._engine = None

    async def __aenter__(self) -> E:
        return await self.engine()

    async def __aexit__(self, *_: object) -> None:
        self.close()
