"""`asgi.fetch`: a FastAPI, Starlette or other ASGI application as a Worker's handler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio

from cfai.worker import ctx as contexts
from cfai.worker import sdk
from cfai.worker.ctx import Context
from cfai.worker.web import messages

__all__ = ["env", "fetch"]

Message = MutableMapping[str, Any]
App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


async def fetch(app: App, req: Any, env: Any, ctx: Any = None, *, options: Any = None) -> sdk.Response:
    """Let `app` answer `req`. The body streams; `scope["env"]` is `env`.

    The application starts up and shuts down with every request, as it does on Cloudflare.
    """
    request: messages.Request = req.js_object if isinstance(req, sdk.Request) else req
    answer = _Answer(_scope(request, env), bytes(await request.bytes()))
    context = contexts.current.get()
    context.start(answer.run, app, context)
    return sdk.Response(await answer.response())


def env(request: Any) -> Any:
    """The `env` of a request, for FastAPI's `Depends`."""
    return request.scope["env"]


def _scope(request: messages.Request, env: Any) -> dict[str, Any]:
    url = urlsplit(request.url)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": unquote(url.path),
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.raw],
        "root_path": "",
        "env": env,
    }


class _Answer:
    """One call of the application, in a task of its own; also the body that the response reads."""

    def __init__(self, scope: dict[str, Any], body: bytes) -> None:
        self._scope = scope
        self._request_body: bytes | None = body
        self._call = anyio.CancelScope()
        self._head = anyio.Event()
        self._start: Message | None = None
        self._failure: BaseException | None = None
        self._complete = False
        self._put, self._chunks = anyio.create_memory_object_stream[bytes](0)

    async def run(self, app: App, context: Context) -> None:
        with self._call, self._put:
            try:
                async with _Lifespan(app, self._scope).running():
                    await app(self._scope, self._receive, self._send)
                    if not self._complete:
                        raise RuntimeError("the ASGI application returned without a complete response")
            except Exception as error:
                self._failure = _only(error)
                if self._complete:  # Starlette answers 500 by itself and raises then
                    context.report(self._failure)
            finally:
                self._head.set()

    async def _receive(self) -> Message:
        if self._request_body is not None:
            body, self._request_body = self._request_body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # The client is there for as long as this task is: when it goes away, the task is cancelled.
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._head.set()
            if chunk := message.get("body"):
                await self._put.send(bytes(chunk))
            if not message.get("more_body", False):
                self._complete = True
                self._put.close()

    async def response(self) -> messages.Response:
        try:
            await self._head.wait()
        except BaseException:
            await self.aclose()
            raise
        if self._start is None:
            await self.aclose()
            raise self._failure or RuntimeError("the ASGI application sent no response")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._start.get("headers", ())]
        status = self._start["status"]
        empty = status in (101, 204, 205, 304)
        return messages.Response.new(None if empty else self, {"status": status, "headers": headers})

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
        if not self._complete:  # what comes after a complete response, background tasks for one, may go on
            self._call.cancel()


def _only(error: Exception) -> BaseException:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class _Lifespan:
    """An application's startup before, its shutdown after. One that knows no lifespan is left alone."""

    def __init__(self, app: App, scope: dict[str, Any]) -> None:
        self._app = app
        state: dict[str, Any] = {}
        scope["state"] = state
        self._scope = {"type": "lifespan", "asgi": scope["asgi"], "env": scope["env"], "state": state}
        self._asked = False
        self._started, self._stop, self._stopped = anyio.Event(), anyio.Event(), anyio.Event()
        self._failed: str | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run)
            await self._started.wait()
            if self._failed is not None:
                raise RuntimeError(f"the ASGI application did not start: {self._failed}")
            yield
            self._stop.set()
            await self._stopped.wait()
            tasks.cancel_scope.cancel()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception:
            if self._started.is_set():
                raise
            # An error before startup is the standard's way of saying that an application has no lifespan.
        finally:
            self._started.set()
            self._stopped.set()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            self._failed = str(message.get("message") or "lifespan.startup.failed")
        (self._started if message["type"].startswith("lifespan.startup") else self._stopped).set()
