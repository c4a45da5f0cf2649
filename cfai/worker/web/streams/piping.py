"""`pipeTo`: everything of one stream into another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cfai.worker.web.promises import Promise, error_of
from cfai.worker.web.values import JsTypeError

if TYPE_CHECKING:
    from cfai.worker.web.streams.readable import ReadableStream
    from cfai.worker.web.streams.writable import WritableStream

__all__ = ["pipe"]


def pipe(source: ReadableStream, destination: WritableStream, options: Mapping[str, Any]) -> Promise:
    """Pipe as the standard says: the end, a failure and an abort of either side reach the other one."""
    return Promise.of(_Pipe(source, destination, options).run())


class _Pipe:
    def __init__(self, source: ReadableStream, destination: WritableStream, options: Mapping[str, Any]) -> None:
        self._source = source
        self._destination = destination
        self._keeps_open = bool(options.get("preventClose"))
        self._keeps_whole = bool(options.get("preventAbort"))
        self._keeps_source = bool(options.get("preventCancel"))
        self._signal: Any = options.get("signal")
        self._stopped: BaseException | None = None
        self._writer = destination.getWriter()
        source.lock(self)

    async def run(self) -> None:
        forget = None if self._signal is None else self._signal.on_abort(self._abort)
        self._writer.closed.when_ended(lambda _: None, self._stop)
        try:
            if self._signal is not None and self._signal.aborted:
                self._abort()
            await self._pump()
        except asyncio.CancelledError:  # the request is over
            self._writer.abort(JsTypeError("The pipe operation was aborted.")).mark_handled()
            await self._source.aclose()
            raise
        finally:
            if forget is not None:
                forget()
            self._writer.releaseLock()
            self._source.unlock()

    async def _pump(self) -> None:
        source, destination, writer = self._source, self._destination, self._writer
        last: Promise | None = None
        try:
            while self._stopped is None:
                if destination.is_closing or destination.state == "closed":
                    self._stopped = JsTypeError("This destination writable stream is closed.")
                elif destination.error is not None:
                    self._stopped = destination.error
                else:
                    if destination.has_backpressure:
                        await writer.ready
                    last = writer.write(source.shown(await source.wait())).mark_handled()
        except StopAsyncIteration:
            if self._stopped is None:
                await self._finish(last)
                return
        except (Exception, SystemExit) as error:
            if self._stopped is None and source.state == "errored":
                if not self._keeps_whole:
                    await writer.abort(error)
                raise
            self._stopped = self._stopped or error
        if not self._keeps_source and source.state == "readable":
            await source.cancel_locked(self._stopped)
        assert self._stopped is not None  # the loop goes on otherwise
        raise self._stopped

    async def _finish(self, last: Promise | None) -> None:
        if self._destination.error is not None:
            raise self._destination.error
        if not self._keeps_open:
            await self._writer.close()
        elif last is not None:
            await last

    def _stop(self, error: Any) -> None:
        """Nothing more is taken: whoever waits for the source need not."""
        if self._stopped is None:
            self._stopped = error_of(error)
            self._source.finish_reads()

    def _abort(self) -> None:
        self._stop(self._signal.reason)
        if not self._keeps_whole:
            self._writer.abort(self._signal.reason).mark_handled()
