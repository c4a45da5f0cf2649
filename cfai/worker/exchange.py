"""One HTTP request and its response.

How a request ends. The handler runs in one cancel scope with a watcher that reads the client's side of the
connection: when the client goes away, whatever the handler awaits is cancelled, and a body that was being sent is
closed, which stops the model behind it. Work given to `waitUntil` runs beside that scope and outlives it.

How a stream ends. A whole body ends cleanly. A `text/event-stream` that fails ends with one event that carries the
error, `[DONE]` and a clean close, because an EventSource that sees a cut reconnects and runs the prompt again. Any
other body that fails is cut without its last chunk, so that the client can tell; so is an event stream of which only a
connection that broke off is known, as on Cloudflare.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

import anyio

from cfai import sse
from cfai.binding import EVENT_STREAM
from cfai.errors import AiError, ConnectionDropped, EngineFailure
from cfai.worker import ctx as contexts
from cfai.worker.ctx import Context
from cfai.worker.failures import failure, is_the_scripts, python_error
from cfai.worker.incoming import Incoming, path_of, request_of
from cfai.worker.loader import trace_of
from cfai.worker.stack_switching import switching
from cfai.worker.web.messages import Request, Response, status_text
from cfai.worker.web.streams import CLOSE_LIMIT, ClientGone, ReadableStream
from cfai.worker.web.values import JsTypeError

__all__ = ["HttpExchange"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Log = Callable[[str], None]
Respond = Callable[[Request, str], Coroutine[Any, Any, Response]]

# workerd, src/workerd/api/http.c++
NO_UPGRADE = (
    "Worker tried to return a WebSocket in a response to a request "
    'which did not contain the header "Upgrade: websocket".'
)


class HttpExchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ctx: Context, log: Log, report: Log) -> None:
        self._scope = scope
        self._method: str = scope["method"].upper()
        self._path = path_of(scope)
        self._client = Incoming(receive)
        self._send = send
        self._ctx = ctx
        self._log = log
        self._report = report
        self._scope_of_work = anyio.CancelScope()
        self._stopping = False
        self._body: ReadableStream | None = None
        self._is_event_stream = False
        self._head_sent = False
        self._ended = False
        self._tail = b""  # of an event stream, what was sent last
        self._started_at = time.perf_counter()

    def stop(self) -> None:
        """End the answer because the process ends."""
        self._stopping = True
        self._cancel_work()

    def _cancel_work(self) -> None:
        self._scope_of_work.cancel()
        self._ctx.leave_threads()

    async def run(self, respond: Respond) -> None:
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._client.watch, self._cancel_work)
            # An OSError is how a server says that the client is gone.
            with self._scope_of_work, contextlib.suppress(OSError):
                with contexts.of(self._ctx):
                    response = await respond(request_of(self._scope, self._client), self._path)
                await self._reply(response)
            watching.cancel_scope.cancel()
        if self._stopping and not self._ended:
            await self._end_early()
        elif not self._head_sent:
            self._log(f"[wrangler:info] {self._method} {self._path} canceled ({self._elapsed}ms)")

    @property
    def _elapsed(self) -> int:
        return round((time.perf_counter() - self._started_at) * 1000)

    async def _reply(self, response: Response) -> None:
        try:
            if response.webSocket is not None:
                raise JsTypeError(NO_UPGRADE)
            whole = response.whole
            self._body = None if whole is not None else response.stream()
        except TypeError as error:  # the script read the body that it returns
            self._report(f"{error}")
            response = failure(python_error(f"{error}\n"))
            whole = response.whole
        headers = [pair for pair in response.headers.raw if pair[0] != "transfer-encoding"]
        length = len(whole) if self._body is None and whole is not None else self._body and self._body.expected_length
        says_length = self._method != "HEAD" or bool(length)
        if length is not None and says_length and response.status not in (101, 204, 304):
            headers = [pair for pair in headers if pair[0] != "content-length"]
            headers.append(("content-length", str(length)))
        kind = (response.headers.find("content-type") or "").partition(";")[0].strip().lower()
        self._is_event_stream = kind == EVENT_STREAM
        self._log_line(response)
        try:
            self._head_sent = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": response.status,
                    "headers": [(name.encode("latin-1"), value.encode()) for name, value in headers],
                }
            )
            if self._body is None or self._method == "HEAD":
                await self._end(b"" if self._method == "HEAD" else whole or b"")
            else:
                await switching(self._stream(self._body))
        finally:
            if self._body is not None:
                await switching(self._close_body(self._body))

    def _log_line(self, response: Response) -> None:
        status = f"{response.status} {status_text(response)}".strip()
        self._log(f"[wrangler:info] {self._method} {self._path} {status} ({self._elapsed}ms)")

    async def _stream(self, body: ReadableStream) -> None:
        while True:
            try:
                # Only this is done for the script. A server may begin with the next request while it sends.
                with contexts.of(self._ctx):
                    chunk = await body.next_bytes()
            except StopAsyncIteration:
                await self._end()
                return
            except BaseException as error:
                if not is_the_scripts(error):
                    raise
                self._report(trace_of(error))
                if self._is_event_stream and not isinstance(error, ConnectionDropped):
                    await self._end(self._last_events(error))
                return
            if chunk:
                if self._is_event_stream:
                    self._tail = (self._tail + chunk[-len(sse.DONE) :])[-len(sse.DONE) :]
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _close_body(self, body: ReadableStream) -> None:
        try:
            with contexts.of(self._ctx):
                await body.aclose(None if self._ended else ClientGone())
        except Exception as error:
            self._report(trace_of(error))

    async def _end(self, last: bytes = b"") -> None:
        self._ended = True
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _end_early(self) -> None:
        """The process ends before the answer did."""
        error = EngineFailure("the Worker is being stopped", hint="ask again")
        with anyio.move_on_after(CLOSE_LIMIT, shield=True), contextlib.suppress(OSError):
            if not self._head_sent:
                headers = {"content-type": "text/plain; charset=utf-8", "retry-after": "1"}
                await self._reply(Response.new(error.description, {"status": 503, "headers": headers}))
            elif self._is_event_stream:
                await self._end(self._last_events(error))

    def _last_events(self, error: BaseException) -> bytes:
        if self._tail == sse.DONE:
            return b""
        failure = error if isinstance(error, AiError) else EngineFailure(f"{type(error).__name__}: {error}")
        # An event that was cut in the middle must not swallow the error.
        between = b"" if not self._tail or self._tail.endswith(b"\n\n") else b"\n\n"
        return between + sse.encode(failure.to_event()) + sse.DONE
