"""`asgi.fetch`: one request, answered by an application.

How it ends. A response that came whole is given back when the application is done with the request, its background
tasks and its shutdown included, as on Cloudflare. One that streams is given back with its first chunk; chunks are made
as they are read, and a client that leaves cancels the application where it is. An error after that ends an event stream
with an error event (see `cfai.worker.app`) and any other body where it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import anyio

from cfai.worker import compat
from cfai.worker import ctx as contexts
from cfai.worker.asgi.lifespan import Lifespan
from cfai.worker.asgi.scope import App, Message, request_to_scope
from cfai.worker.asgi.tasks import begin, logger
from cfai.worker.gateway import NULL_BODY_STATUSES, BaseOptions, as_js_request
from cfai.worker.web import messages
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.values import JsTypeError

__all__ = ["DEFAULT_OPTIONS", "Options", "fetch"]

NEEDS_CTX = "Server-Side-Events require ctx to be passed to asgi.fetch"
NO_BODY = "Response with null body status (101, 204, 205, or 304) cannot have a body."


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """How responses are made."""


DEFAULT_OPTIONS = Options()


async def fetch(app: App, req: Any, env: Any, ctx: Any = None, *, options: Options | None = None) -> messages.Response:
    """Let `app` answer `req`; `scope["env"]` is `env`.

    ```python
    return await asgi.fetch(app, request, self.env, self.ctx)
    ```
    """
    request = as_js_request(req)
    logger.debug("ASGI request: %s %s", request.method, request.url)
    lifespan = Lifespan(app)
    try:
        await lifespan.start()
        stream = request.stream()
        body = [] if stream is None else [_as_bytes(chunk) async for chunk in stream]
    except BaseException:
        lifespan.abandon()
        raise
    if lifespan.state and not compat.current().compat.has_external_sdk:
        refusal = f"'State' object has no attribute {next(iter(lifespan.state))!r}"
        compat.current().lenient("the state of a lifespan in a request", lambda: AttributeError(refusal))
    scope = request_to_scope(request, env, state=lifespan.state)
    answer = _Answer(app, scope, body, lifespan, options or DEFAULT_OPTIONS, has_ctx=ctx is not None)
    try:
        return await answer.response()
    except Exception:
        logger.exception("ASGI request failed")
        raise


def _as_bytes(chunk: Any) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else bytes(chunk)


class _Answer:
    """One call of the application, in a task of its own; also the body that the response reads."""

    def __init__(
        self, app: App, scope: dict[str, Any], body: list[bytes], lifespan: Lifespan, options: Options, *, has_ctx: bool
    ) -> None:
        self._app = app
        self._scope = scope
        self._to_receive: deque[Message] = deque(
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in body
        )
        self._to_receive.append({"type": "http.request", "body": b"", "more_body": False})
        self._lifespan = lifespan
        self._init = options.response_init()
        self._has_ctx = has_ctx
        self._start: Message | None = None
        self._response: asyncio.Future[messages.Response] = asyncio.get_running_loop().create_future()
        self._complete = asyncio.Event()
        self._streams = False
        self._put, self._chunks = anyio.create_memory_object_stream[bytes](0)
        self._failure: BaseException | None = None
        self._task = begin(self._run())

    async def response(self) -> messages.Response:
        try:
            response = await asyncio.shield(self._response)
            if not self._streams:
                await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except Exception:
            await asyncio.wait([self._task])
            raise
        return response

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            if not self._response.done():
                raise RuntimeError("The application did not generate a response")
            if not self._complete.is_set():
                raise RuntimeError("The application ended in the middle of its response")
        except Exception as error:
            self._ends_with(_only(error))
        except BaseException:
            self._lifespan.abandon()
            raise
        finally:
            self._body_ends()
        await self._shut_down()

    def _ends_with(self, error: BaseException) -> None:
        if not self._response.done():
            self._response.set_exception(error)
        elif self._is_event_stream and not self._complete.is_set():
            self._failure = error  # which the reader of the body raises
        else:
            logger.error("Exception in ASGI application after response started", exc_info=error)

    async def _shut_down(self) -> None:
        try:
            await self._lifespan.stop()
        except Exception as error:
            if self._response.exception() is not None:
                return  # which is the error to tell
            if not self._streams:
                raise
            logger.error("ASGI lifespan shutdown failed", exc_info=error)

    async def _receive(self) -> Message:
        if self._to_receive:
            return self._to_receive.popleft()
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            await self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))

    async def _send_body(self, body: Any, *, is_last: bool) -> None:
        if self._start is None:
            raise RuntimeError("http.response.body came before http.response.start")
        if not self._response.done():
            self._response.set_result(self._make_response(bytes(body) if is_last else None))
        elif not self._is_event_stream and not compat.current().compat.has_external_sdk:
            idiom = "a streamed body that is not text/event-stream in asgi.fetch"
            compat.current().lenient(idiom, lambda: asyncio.InvalidStateError("invalid state"))
        if self._streams and body:
            await self._put.send(bytes(body))
        if is_last:
            self._body_ends()

    def _body_ends(self) -> None:
        self._complete.set()
        self._put.close()
        if not self._streams:
            self._chunks.close()

    def _make_response(self, whole: bytes | None) -> messages.Response:
        assert self._start is not None
        status = self._start["status"]
        headers = [(_text(name), _text(value)) for name, value in self._start.get("headers", ())]
        init = {**self._init, "status": status, "headers": headers}
        if status in NULL_BODY_STATUSES:
            if not compat.current().compat.has_external_sdk:
                compat.current().lenient(f"status {status} from an ASGI application", lambda: JsTypeError(NO_BODY))
            return messages.Response.new(None, init)
        if self._is_event_stream and not self._has_ctx and not compat.current().compat.has_external_sdk:
            compat.current().lenient("asgi.fetch without ctx", lambda: RuntimeError(NEEDS_CTX))
        if whole is not None:
            return messages.Response.new(whole, init)
        self._streams = True
        body = ReadableStream.of(self)
        if (ctx := contexts.current.get(None)) is not None:
            ctx.owns(body)
        return messages.Response.new(body, init)

    @property
    def _is_event_stream(self) -> bool:
        headers = self._start.get("headers", ()) if self._start is not None else ()
        return any(
            name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in headers
        )

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunks.receive()
        except anyio.EndOfStream:
            if self._failure is not None:
                raise self._failure from None
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._chunks.close()
        if not self._complete.is_set():  # what comes after a complete response, background tasks for one, may go on
            self._task.cancel()
            await asyncio.wait([self._task])


def _only(error: Exception) -> BaseException:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:  # Starlette writes Latin-1; the SDK reads UTF-8, and fails at it
        return value.decode("latin-1")
