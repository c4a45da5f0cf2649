"""`Ai` for programs without an event loop: one loop of its own, which runs while a call waits."""

from __future__ import annotations

import types
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cfai.results import ByteStream

if TYPE_CHECKING:
    import asyncio

__all__ = ["BlockingStream", "OwnLoop"]

T = TypeVar("T")


class OwnLoop:
    """An event loop that lives from its first use to `close`, on the thread that uses it."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncio

        if _a_loop_runs():
            work.close()
            raise RuntimeError("run_sync is for programs without an event loop, and one runs here: await ai.run(...)")
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(work)

    @property
    def is_open(self) -> bool:
        return self._runner is not None

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def _a_loop_runs() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class BlockingStream:
    """The events of an answer, one after the other, each waited for.

    ```python
    with ai.run_sync(model, {"prompt": "hi", "stream": True}) as events:
        for event in events:
            print(event)  # b'data: {"response":"New"}\\n\\n'
    ```

    Reading to the end closes it; so do `close()` and leaving the `with`, which stop the model.
    """

    def __init__(self, stream: ByteStream, loop: OwnLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        async def next_one() -> bytes | None:
            return await anext(self._stream, None)

        if (event := self._loop.run(next_one())) is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Stop the answer. Closing twice does nothing."""
        if self._loop.is_open:
            self._loop.run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()
