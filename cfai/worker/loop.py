"""The event loop of the worker process, which goes on whatever a script raises in it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

from cfai.worker.failures import is_the_scripts

__all__ = ["WorkerLoop"]

T = TypeVar("T")


class WorkerLoop(asyncio.SelectorEventLoop):
    """A loop that `sys.exit()` in a task or a callback does not end.

    ```python
    anyio.run(main, backend_options={"loop_factory": WorkerLoop})
    ```

    asyncio raises SystemExit and KeyboardInterrupt out of the loop, and with it ends every other request. Here the
    loop goes on; a task has its error for whoever awaits it, and what a callback raises is reported.
    """

    _whole: asyncio.Future[Any] | None = None

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        whole: asyncio.Future[T] = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]  # typeshed leaves generators out
        self._whole = whole
        return super().run_until_complete(whole)

    def run_forever(self) -> None:
        while True:
            try:
                return super().run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if not is_the_scripts(error) or self._whole is None or self._whole.done():
                    raise
                if not _was_in_a_task(error):
                    self.call_exception_handler({"message": f"Uncaught {type(error).__name__}", "exception": error})


def _was_in_a_task(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_flags & inspect.CO_COROUTINE and trace.tb_frame.f_globals["__name__"] != __name__:
            return True
        trace = trace.tb_next
    return False
