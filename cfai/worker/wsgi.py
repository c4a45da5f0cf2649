"""`workers.wsgi`: a Django, Flask or other WSGI application as a Worker.

The application runs where the handler does, so `run_sync` works in it, and what it reads and sends moves as it asks for
it: the request's body through `wsgi.input`, the response chunk by chunk. The names and the environ are those of
`workers/wsgi.py` in Cloudflare's workers-runtime-sdk 1.9; where that is silent, PEP 3333 decides.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from cfai.worker import ctx as contexts
from cfai.worker import sdk
from cfai.worker.gateway import NULL_BODY_STATUSES, BaseOptions, as_js_request
from cfai.worker.stack_switching import wait
from cfai.worker.web import messages
from cfai.worker.web.streams import ReadableStream

__all__ = ["DEFAULT_OPTIONS", "Options", "build_environ", "entrypoint", "fetch"]

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

logger = logging.getLogger("wsgi")


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """How responses are made."""


DEFAULT_OPTIONS = Options()


async def fetch(app: App, req: Any, env: Any, ctx: Any = None, *, options: Options | None = None) -> messages.Response:
    """Let `app` answer `req`; `environ["workers.env"]` is `env`.

    ```python
    return await wsgi.fetch(application, request, self.env)
    ```
    """
    request = as_js_request(req)
    logger.debug("WSGI request: %s %s", request.method, request.url)
    stream = request.stream()
    body: Any = io.BytesIO() if stream is None else io.BufferedReader(_Input(stream))
    try:
        return _Call(build_environ(request, env, body)).response(app, (options or DEFAULT_OPTIONS).response_init())
    except Exception:
        logger.exception("WSGI request failed")
        raise


def entrypoint(app: App, *, options: Options | None = None) -> type[sdk.WorkerEntrypoint]:
    """A Worker that is nothing but `app`.

    ```python
    Default = wsgi.entrypoint(app)
    ```
    """

    class Default(sdk.WorkerEntrypoint):
        async def fetch(self, request: sdk.Request) -> Any:
            return await fetch(app, request, self.env, options=options)

    return Default


def build_environ(req: Any, env: Any, body: Any) -> dict[str, Any]:
    """The environ of `req`; `body` is bytes or a file."""
    request = as_js_request(req)
    url = urlsplit(request.url)
    is_whole = isinstance(body, bytes | bytearray)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": str(request.method),
        "SCRIPT_NAME": "",
        # A str whose characters are the bytes of the path.
        "PATH_INFO": unquote_to_bytes(url.path or "/").decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname,
        "SERVER_PORT": str(url.port or (443 if url.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body) if is_whole else body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "workers.env": env,
    }
    for header, value in request.headers:
        name = header.upper().replace("-", "_")
        name = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        environ[name] = f"{environ[name]},{value}" if name in environ else value
    if is_whole and body:
        environ.setdefault("CONTENT_LENGTH", str(len(body)))
    return environ


class _Input(io.RawIOBase):
    """The body of a request as a file; a read waits for the client."""

    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = wait(_next(self._stream))
            if chunk is None:
                return 0
            self._rest = memoryview(chunk.encode() if isinstance(chunk, str) else bytes(chunk))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


async def _next(stream: ReadableStream) -> Any:
    return await anext(stream, None)


class _Call:
    """One call of the application; also the body that the response reads."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self._status: str | None = None
        self._headers: list[tuple[str, str]] = []
        self._has_begun = False
        self._written: deque[bytes] = deque()
        self._result: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._is_closed = False

    def response(self, app: App, init: dict[str, Any]) -> messages.Response:
        try:
            self._result = app(self._environ, self._start_response)
            self._chunks = iter(self._result)
            # An application may call start_response as late as with its first chunk.
            first = self._next()
            if self._status is None:
                raise RuntimeError("The WSGI application did not call start_response()")
            self._has_begun = True
            code, _, reason = self._status.partition(" ")
            init = {**init, "status": int(code), "statusText": reason, "headers": self._headers}
            if int(code) in NULL_BODY_STATUSES:
                self._close()
                return messages.Response.new(None, init)
        except BaseException:
            self._close()
            raise
        if first is not None:
            self._written.appendleft(first)
        body = ReadableStream.of(self)
        if (ctx := contexts.current.get(None)) is not None:
            ctx.owns(body)
        return messages.Response.new(body, init)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._has_begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a frame that holds its own traceback lives until the collector comes
        elif self._status is not None:
            raise AssertionError("start_response() called more than once")
        self._status, self._headers = status, [(name, value) for name, value in headers]
        return self._write

    def _write(self, chunk: bytes, /) -> None:
        if chunk:
            self._written.append(bytes(chunk))

    def _next(self) -> bytes | None:
        """The next chunk that has bytes; None at the end."""
        while True:
            if self._written:
                return self._written.popleft()
            try:
                chunk = next(self._chunks)
            except StopIteration:
                return self._written.popleft() if self._written else None
            self._write(chunk)

    def __aiter__(self) -> _Call:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)  # an application that never waits must not keep the others waiting
        chunk = self._next()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if (close := getattr(self._result, "close", None)) is not None:
                close()
        finally:
            self._environ["wsgi.input"].close()
