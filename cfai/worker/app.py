"""A Worker as an ASGI app: assets first, then the script.

How a request ends. The handler runs in one cancel scope with a watcher that reads the client's side of the
connection: when the client goes away, whatever the handler awaits is cancelled, and a body that was being sent is
closed, which stops the model behind it. Work given to `waitUntil` runs beside that scope and outlives it.

How a stream ends. A whole body ends cleanly. A `text/event-stream` that fails ends with one event that carries the
error, `[DONE]` and a clean close, because an EventSource that sees a cut reconnects and runs the prompt again. Any
other body that fails is cut without its last chunk, so that the client can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio

from cfai import sse
from cfai.ai import HasRun
from cfai.binding import EVENT_STREAM, Binding
from cfai.config import Config
from cfai.errors import AiError, EngineFailure
from cfai.worker import ctx as contexts
from cfai.worker.bindings import Bindings, open_bindings
from cfai.worker.bindings.assets import Assets
from cfai.worker.compat import Compat, Runtime, running
from cfai.worker.ctx import Context
from cfai.worker.dispatch import Handler, find_handler
from cfai.worker.env import Env, WorkerAi
from cfai.worker.loader import ScriptError, load, trace_of
from cfai.worker.sockets import SocketExchange
from cfai.worker.stack_switching import switching
from cfai.worker.web.messages import Request, Response, status_text
from cfai.worker.web.streams import CLOSE_LIMIT, ReadableStream
from cfai.worker.web.values import JsTypeError

__all__ = ["WorkerApp", "broken_app", "worker_app"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Log = Callable[[str], None]
Respond = Callable[[Request, str], Coroutine[Any, Any, Response]]

# As long as Cloudflare lets waitUntil run on.
WAIT_UNTIL_LIMIT = 30.0
# What is read ahead of a handler that does not read its body; beyond it the client waits.
READ_AHEAD = 1 << 20
# How long a listener that heard of the end of a WebSocket may go on.
LAST_EVENT_SECONDS = 1.0
# workerd, src/workerd/api/http.c++
NO_UPGRADE = (
    "Worker tried to return a WebSocket in a response to a request "
    'which did not contain the header "Upgrade: websocket".'
)


def worker_app(
    config: Config,
    ai: Binding | HasRun,
    *,
    state: Path | None = None,
    strict: bool = False,
    log: Log | None = None,
    report: Log | None = None,
) -> WorkerApp:
    """The Worker of `config`, its script imported, `env.AI` answered by `ai`.

    ```python
    with import_path(config.root):
        app = worker_app(config, Ai(FakeBinding()), log=print)
    ```

    state   where KV, D1 and the like keep their data; default: `config.state`
    strict  refuse what the Worker's compatibility date refuses
    log     takes one line per request, and notes
    report  takes tracebacks; default: stderr

    A script that cannot be imported is reported, and every request is answered with its traceback. The caller
    closes the app, and `ai`.
    """
    report = report or _to_stderr
    log = log or _nowhere
    compat = Compat(config.compatibility_date, frozenset(config.compatibility_flags))
    runtime = Runtime(compat, strict=strict, note=log)
    assets = None if config.assets is None else Assets(config.assets, log)
    bindings = open_bindings(config, state or config.state)
    if config.ai_binding is not None:
        bindings.add(config.ai_binding, WorkerAi(ai))
    if config.assets is not None and config.assets.binding is not None:
        bindings.add(config.assets.binding, assets)
    env = Env(bindings.by_name, config.vars, config.not_simulated)
    problem = handler = None
    try:
        with running(runtime):
            handler = None if config.main is None else find_handler(load(config, env), config)
    except (ScriptError, TypeError) as error:
        trace = error.trace if isinstance(error, ScriptError) else f"TypeError: {error}\n"
        report(trace)
        problem = _python_error(trace)
    return WorkerApp(handler, env, assets, runtime, bindings=bindings, problem=problem, log=log, report=report)


def broken_app(problem: str, *, log: Log | None = None, report: Log | None = None) -> WorkerApp:
    """A Worker that could not be read at all: `problem` is reported, and is the answer to every request."""
    report = report or _to_stderr
    report(problem)
    return WorkerApp(None, Env({}), None, Runtime(), problem=f"{problem}\n", log=log or _nowhere, report=report)


def _failure(problem: str) -> Response:
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return Response.new(problem, {"status": 500, "headers": headers})


def _python_error(trace: str) -> str:
    # wrangler dev shows the stack of what the script raised, after JavaScript's name for it.
    return f"PythonError: {trace}"


def _nowhere(line: str) -> None:
    pass


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not spoil an answer
        sys.stderr.write(text if text.endswith("\n") else f"{text}\n")
        sys.stderr.flush()


class WorkerApp:
    """What `worker_app` returns: an ASGI app that can end its streams."""

    def __init__(
        self,
        handler: Handler | None,
        env: Env,
        assets: Assets | None,
        runtime: Runtime,
        *,
        bindings: Bindings | None = None,
        problem: str | None = None,
        log: Log,
        report: Log,
    ) -> None:
        self._handler = handler
        self._problem = problem
        self._env = env
        self._assets = assets
        self._runtime = runtime
        self._bindings = bindings or Bindings()
        self._log = log
        self._report = report
        self._live: set[_Exchange | SocketExchange] = set()
        self._background: set[anyio.CancelScope] = set()

    @property
    def is_broken(self) -> bool:
        """Whether there is no script to ask, because it could not be read or imported."""
        return self._problem is not None

    @property
    def live(self) -> int:
        """How many requests are being answered."""
        return len(self._live)

    def close(self) -> None:
        """Close the files of the bindings. A Worker that is served no more is closed by who made it."""
        self._bindings.close()

    async def end_streams(self) -> None:
        """End every answer that is under way: an event stream with an error event and `[DONE]`, others cut."""
        for exchange in list(self._live):
            exchange.stop()
        for scope in self._background:
            scope.deadline = min(scope.deadline, anyio.current_time() + CLOSE_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] in ("http", "websocket"):
            with running(self._runtime):
                await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as background:
            scope_of_waiting = background.cancel_scope
            self._background.add(scope_of_waiting)
            ctx = Context(background, lambda error: self._report(trace_of(error)))
            exchange: _Exchange | SocketExchange
            if is_socket := scope["type"] == "websocket":
                exchange = SocketExchange(_socket_request(scope), _path_of(scope), receive, send, ctx, self._log)
            else:
                exchange = _Exchange(scope, receive, send, ctx, self._log, self._report)
            self._live.add(exchange)
            try:
                await exchange.run(partial(self._respond_or_fail, ctx))
            finally:
                self._live.discard(exchange)
                await ctx.close_streams(unread_only=True)
                # From here on only what was given to waitUntil is left.
                limit = anyio.current_time() + WAIT_UNTIL_LIMIT
                scope_of_waiting.deadline = min(scope_of_waiting.deadline, limit)
        self._background.discard(scope_of_waiting)
        if scope_of_waiting.cancel_called:
            self._report(f"waitUntil: work was still going on {WAIT_UNTIL_LIMIT:.0f} s after the response; cancelled")
        await ctx.close_streams()
        await ctx.end(grace=LAST_EVENT_SECONDS if is_socket else 0)

    async def _respond_or_fail(self, ctx: Context, request: Request, path: str) -> Response:
        try:
            return await switching(self._respond(request, path, ctx))
        except BaseException as error:
            if not _is_the_scripts(error):
                raise
            trace = trace_of(error)
            self._report(trace)
            await ctx.close_streams()
            return _failure(_python_error(trace))

    async def _respond(self, request: Request, path: str, ctx: Context) -> Response:
        if self._assets is not None:
            has_script = self._handler is not None or self._problem is not None
            if (found := await self._assets.answer(request, has_script=has_script)) is not None:
                return found
        if self._problem is not None:
            return _failure(self._problem)
        if self._handler is None:
            return Response.new("Not Found", {"status": 404, "headers": {"content-type": "text/plain"}})
        return await self._handler(request, self._env, ctx)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ctx: Context, log: Log, report: Log) -> None:
        self._scope = scope
        self._method: str = scope["method"].upper()
        self._path = _path_of(scope)
        self._client = _Client(receive)
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
        self._tail = b""
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
            with self._scope_of_work, contexts.of(self._ctx), contextlib.suppress(OSError):
                await self._reply(await respond(_request(self._scope, self._client), self._path))
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
            response = _failure(_python_error(f"{error}\n"))
            whole = response.whole
        headers = [(name, value) for name, value in response.headers.raw if name != "transfer-encoding"]
        says_length = self._method != "HEAD" or bool(whole)
        if whole is not None and says_length and response.status not in (101, 204, 304):
            headers = [*((name, value) for name, value in headers if name != "content-length")]
            headers.append(("content-length", str(len(whole))))
        kind = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
        self._is_event_stream = kind == EVENT_STREAM
        self._log_line(response)
        try:
            self._head_sent = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": response.status,
                    "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
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
                chunk = _as_bytes(await anext(body))
            except StopAsyncIteration:
                await self._end()
                return
            except BaseException as error:
                if not _is_the_scripts(error):
                    raise
                self._report(trace_of(error))
                if self._is_event_stream:
                    await self._end(self._last_events(error))
                return
            if chunk:
                self._tail = (self._tail + chunk)[-len(sse.DONE) :]
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _close_body(self, body: ReadableStream) -> None:
        try:
            await body.aclose()
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


class _Client:
    """The client's side of the connection: its body, and whether it is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._complete = False
        self._gone = False
        self._changed = anyio.Event()

    async def watch(self, gone: Callable[[], None]) -> None:
        """Read what the client sends; when it goes away, say so to `gone`."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                self._tell()
                gone()
                return
            if chunk := message.get("body", b""):
                self._chunks.append(chunk)
                self._waiting += len(chunk)
            self._complete = not message.get("more_body", False)
            self._tell()
            while self._waiting > READ_AHEAD:
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                self._tell()
                yield chunk
            if self._complete:
                return
            if self._gone:
                raise OSError("the client went away while it sent the body")
            await self._changed.wait()


def _request(scope: Scope, client: _Client) -> Request:
    url, headers = _url_and_headers(scope)
    given = dict(headers)
    method = scope["method"].upper()
    announced = "transfer-encoding" in given or given.get("content-length", "0") != "0"
    body = client.body() if announced and method not in ("GET", "HEAD") else None
    return Request.new(url, {"method": method, "headers": headers, "body": body})


def _socket_request(scope: Scope) -> Request:
    url, headers = _url_and_headers(scope)
    return Request.new(url, {"headers": headers})


def _url_and_headers(scope: Scope) -> tuple[str, list[tuple[str, str]]]:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    given = dict(headers)
    host = given.get("host") or "{}:{}".format(*(scope.get("server") or ("localhost", 80)))
    query = scope.get("query_string", b"").decode("latin-1")
    # A WebSocket is asked for by a request of HTTP, and that is how the script sees it.
    scheme = scope.get("scheme", "http").replace("ws", "http")
    return f"{scheme}://{host}{_path_of(scope)}{f'?{query}' if query else ''}", headers


def _path_of(scope: Scope) -> str:
    # Percent-encoded, as it came: /caf%C3%A9 stays that in request.url.
    raw: bytes | None = scope.get("raw_path")
    if raw:
        return raw.decode("latin-1").partition("?")[0]
    return quote(scope["path"], safe="/%:@!$&'()*+,;=~")


def _as_bytes(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    raise TypeError(f"a response body is made of bytes or str, not {type(chunk).__name__}")


def _is_the_scripts(error: BaseException) -> bool:
    """Whether the script raised `error`, as opposed to this request being cancelled from outside."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return False
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() == 0
    return not isinstance(error, anyio.get_cancelled_exc_class())


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
