"""A Worker in the test's own process and on its event loop."""

from __future__ import annotations

import contextlib
import json as jsons
import time as times
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio

from cfai.ai import HasRun
from cfai.clock import Clock
from cfai.config import Config
from cfai.testing.exchange import Exchange, WorkerResponse, scope_of
from cfai.testing.socket import WorkerSocket
from cfai.worker import ctx as contexts
from cfai.worker.app import WAIT_UNTIL_LIMIT, WorkerApp, open_env, runtime_of, worker_app
from cfai.worker.compat import running
from cfai.worker.ctx import Context
from cfai.worker.env import Env
from cfai.worker.loader import trace_of
from cfai.worker.scheduled import Outcome
from cfai.worker.stack_switching import switching
from cfai.worker.web import network

__all__ = ["TestWorker"]

T = TypeVar("T")

Body = str | bytes | AsyncIterable[bytes]


class TestWorker:
    """What the fixture `worker` is: the Worker of the test's project, asked without a socket.

    ```python
    response = await worker.fetch("/", method="POST", json={"prompt": "hi"})
    assert response.ok and await response.text() == "hello"
    ```

    Its script is imported at the first request, for this test alone.
    """

    __test__ = False  # no class of tests, whatever its name

    def __init__(self, config: Config, ai: HasRun, *, state: Path, clock: Clock | None = None) -> None:
        self.config = config
        """The project, as its wrangler config has it."""
        self.logs: list[str] = []
        """What `cfai dev` would print: a line for each request, and notes."""
        self.errors: list[str] = []
        """The tracebacks of what the script raised."""
        self._ai = ai
        self._clock = clock
        self._opened = open_env(config, ai, state=state, log=self.logs.append)
        self.runtime = runtime_of(config, note=self.logs.append)
        """The runtime of the day and the flags that the project's config names."""
        self._connections = network.Network()
        self._app: WorkerApp | None = None
        self._exchanges: list[Exchange] = []
        self._sockets: list[WorkerSocket] = []

    @property
    def env(self) -> Env:
        """What a handler gets as `env`; an entrypoint wraps it itself."""
        return self._opened.env

    @property
    def app(self) -> WorkerApp:
        """The Worker as an ASGI app."""
        if self._app is None:
            self._app = worker_app(
                self.config, self._ai, log=self.logs.append, report=self.errors.append, opened=self._opened
            )
        return self._app

    async def fetch(
        self,
        url: str = "/",
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: Body | None = None,
    ) -> WorkerResponse:
        """Ask the Worker, and return when it begins to answer.

        ```python
        response = await worker.fetch("/chat", method="POST", json={"prompt": "hi"})
        ```

        url     a path, or a whole URL
        method  default: GET, with a body POST
        json    a value that is sent as JSON
        body    text, bytes, or the chunks of a request that is sent as a stream
        """
        if json is not None and body is not None:
            raise TypeError("fetch takes a value as json or a body, not both")
        lines = list((headers or {}).items())
        named = {name.lower() for name, _ in lines}
        if json is not None:
            body = jsons.dumps(json)
            if "content-type" not in named:
                lines.append(("content-type", "application/json"))
        if isinstance(body, str):
            body = body.encode()
            if json is None and "content-type" not in named:
                lines.append(("content-type", "text/plain;charset=UTF-8"))
        if isinstance(body, bytes):
            lines.append(("content-length", str(len(body))))
        elif body is not None:
            lines.append(("transfer-encoding", "chunked"))
        scope = scope_of("http", (method or ("GET" if body is None else "POST")).upper(), url, lines)
        exchange = Exchange(self.app, scope, _chunks(body))
        self._exchanges.append(exchange)
        try:
            await exchange.head()
        except BaseException:  # a test that waits no longer leaves, as any client does
            exchange.leave()
            raise
        return WorkerResponse(exchange, self._clock)

    def websocket(
        self, url: str = "/", *, headers: Mapping[str, str] | None = None, protocols: Sequence[str] = ()
    ) -> WorkerSocket:
        """Open a WebSocket, with `async with`.

        ```python
        async with worker.websocket("/chat") as socket:
            await socket.send("hi")
        ```
        """
        lines = [("upgrade", "websocket"), ("connection", "Upgrade"), *(headers or {}).items()]
        if protocols:
            lines.append(("sec-websocket-protocol", ", ".join(protocols)))
        scope = scope_of("websocket", "GET", url, lines)
        scope["subprotocols"] = list(protocols)
        socket = WorkerSocket(self.app, scope)
        self._sockets.append(socket)
        return socket

    async def scheduled(self, *, cron: str | None = None, time: int | None = None) -> Outcome:
        """Run the scheduled handler: `outcome` is "ok" or "exception", `problem` its traceback.

        ```python
        assert (await worker.scheduled(cron="*/5 * * * *")).outcome == "ok"
        ```

        cron  default: the first expression of the config
        time  milliseconds since 1970; default: now
        """
        cron = next(iter(self.config.crons), "") if cron is None else cron
        return await self.app.run_scheduled(cron, times.time_ns() // 1_000_000 if time is None else time)

    async def finish(self) -> None:
        """Return when all requests are over, and so is what they gave to `waitUntil`."""
        for exchange in self._exchanges:
            exchange.read_ahead()
        await self._wait()

    async def _wait(self) -> None:
        while self._exchanges:
            exchange = self._exchanges.pop()
            with contextlib.suppress(Exception):  # which whoever reads the response gets
                await exchange.task

    async def as_a_handler(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` as a handler of this Worker does its own, so that it may use `env`."""
        failure: BaseException | None = None
        async with anyio.create_task_group() as background:
            ctx = Context(background, lambda error: self.errors.append(trace_of(error)))
            with running(self.runtime), network.using(self._connections):
                try:
                    with contexts.of(ctx):
                        result = await switching(work)
                except BaseException as error:  # raised below, as it is: a task group would wrap it
                    failure = error
                    background.cancel_scope.cancel()
                background.cancel_scope.deadline = anyio.current_time() + WAIT_UNTIL_LIMIT
        await ctx.close_streams()
        await ctx.end()
        if failure is not None:
            raise failure
        return result

    async def aclose(self) -> None:
        """Leave the requests that are still open, and wait until the Worker has noticed."""
        for exchange in self._exchanges:
            exchange.leave()
        for socket in self._sockets:
            await socket.close()
        await self._wait()
        await self._connections.aclose()
        if self._app is not None:
            await self._app.close_connections()

    def close(self) -> None:
        """Close the files of the bindings."""
        self._opened.bindings.close()


async def _chunks(body: bytes | AsyncIterable[bytes] | None) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
    elif body is not None:
        async for chunk in body:
            yield chunk
