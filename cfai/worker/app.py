"""A Worker as an ASGI app: assets first, then the script."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
from anyio.abc import TaskGroup

from cfai.ai import HasRun
from cfai.binding import Binding
from cfai.config import Config
from cfai.dev.colours import RED, on
from cfai.worker.ai import WorkerAi
from cfai.worker.bindings import Bindings, open_bindings
from cfai.worker.bindings.assets import Assets
from cfai.worker.compat import Compat, Runtime, running
from cfai.worker.ctx import Context
from cfai.worker.dispatch import Handler, find_handler
from cfai.worker.env import Env
from cfai.worker.exchange import HttpExchange
from cfai.worker.failures import failure, is_the_scripts, python_error, said
from cfai.worker.incoming import path_of, request_of
from cfai.worker.loader import ScriptError, load, trace_of
from cfai.worker.places import running_line
from cfai.worker.scheduled import (
    NO_HANDLER,
    Outcome,
    Scheduled,
    ScheduledController,
    answer_by_hand,
    find_scheduled,
    run_scheduled,
)
from cfai.worker.sockets import SocketExchange
from cfai.worker.stack_switching import switching
from cfai.worker.web import network
from cfai.worker.web.errors import JsException
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.streams import CLOSE_LIMIT

__all__ = ["OpenedEnv", "WorkerApp", "broken_app", "open_env", "runtime_of", "worker_app"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Log = Callable[[str], None]
Respond = Callable[[Request, str], Coroutine[Any, Any, Response]]

# As long as Cloudflare lets waitUntil run on.
WAIT_UNTIL_LIMIT = 30.0
# How long a listener that heard of the end of a WebSocket may go on.
LAST_EVENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class OpenedEnv:
    """The `env` of a Worker, and what is behind it: files to close, and assets that answer requests themselves."""

    env: Env
    bindings: Bindings
    assets: Assets | None


def open_env(config: Config, ai: Binding | HasRun, *, state: Path | None = None, log: Log | None = None) -> OpenedEnv:
    """The vars and bindings that `config` declares, before a script is imported; `worker_app` takes them as `opened`.

    ```python
    opened = open_env(config, FakeBinding())
    opened.env.GREETING
    opened.bindings.close()
    ```
    """
    assets = None if config.assets is None else Assets(config.assets, log or _nowhere)
    bindings = open_bindings(config, state or config.state)
    if config.ai_binding is not None:
        bindings.add(config.ai_binding, ai if isinstance(ai, WorkerAi) else WorkerAi(ai))
    if config.assets is not None and config.assets.binding is not None:
        bindings.add(config.assets.binding, assets)
    return OpenedEnv(Env(bindings.by_name, config.vars, config.not_simulated), bindings, assets)


def runtime_of(config: Config, *, strict: bool = False, note: Log | None = None) -> Runtime:
    """The runtime of the day and the flags that `config` names."""
    compat = Compat(config.compatibility_date, frozenset(config.compatibility_flags))
    where = partial(running_line, config.root, config.folder)
    return Runtime(compat, strict=strict, note=note or _nowhere, where=where)


def worker_app(
    config: Config,
    ai: Binding | HasRun,
    *,
    state: Path | None = None,
    strict: bool = False,
    test_scheduled: bool = False,
    log: Log | None = None,
    report: Log | None = None,
    opened: OpenedEnv | None = None,
) -> WorkerApp:
    """The Worker of `config`, its script imported, `env.AI` answered by `ai`.

    ```python
    with import_path(config.root):
        app = worker_app(config, Ai(FakeBinding()), log=print)
    ```

    state           where KV, D1 and the like keep their data; default: `config.state`
    strict          refuse what the Worker's compatibility date refuses
    test_scheduled  let `/__scheduled` run the scheduled handler
    log             takes one line per request, and notes
    report          takes tracebacks; default: stderr
    opened          its `env`, where that was opened before

    A script that cannot be imported is reported, and every request is answered with its traceback. The caller
    closes the app, and `ai`.
    """
    report = report or _to_stderr
    log = log or _nowhere
    runtime = runtime_of(config, strict=strict, note=log)
    opened = opened or open_env(config, ai, state=state, log=log)
    env, assets = opened.env, opened.assets
    problem = handler = scheduled = None
    connections = network.Network()
    try:
        with running(runtime), network.using(connections):
            if config.main is not None:
                module = load(config, env)
                scheduled = find_scheduled(module)
                handler = _fetch_or_only_scheduled(module, config, scheduled)
    except (ScriptError, TypeError, JsException) as error:
        trace = error.trace if isinstance(error, ScriptError) else said(error)
        report(trace)
        problem = python_error(trace)
    if config.crons and scheduled is None and problem is None:
        log(f"▲ [WARNING] triggers.crons is set, and the script has no scheduled handler: {NO_HANDLER}")
    return WorkerApp(
        handler,
        env,
        assets,
        runtime,
        connections,
        scheduled=scheduled,
        test_scheduled=test_scheduled,
        bindings=opened.bindings,
        problem=problem,
        log=log,
        report=report,
    )


def _fetch_or_only_scheduled(module: ModuleType, config: Config, scheduled: Scheduled | None) -> Handler:
    try:
        return find_handler(module, config)
    except (TypeError, JsException) as error:
        if scheduled is None:
            raise
        problem = error

    async def handle(request: Request, env: Env, ctx: Context) -> Response:
        raise type(problem)(*problem.args)

    return handle


def broken_app(problem: str, *, log: Log | None = None, report: Log | None = None) -> WorkerApp:
    """A Worker that could not be read at all: `problem` is reported, and is the answer to every request."""
    report = report or _to_stderr
    report(problem)
    return WorkerApp(None, Env({}), None, Runtime(), problem=f"{problem}\n", log=log or _nowhere, report=report)


def _nowhere(line: str) -> None:
    pass


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not spoil an answer
        sys.stderr.write(on(sys.stderr, RED, text if text.endswith("\n") else f"{text}\n"))
        sys.stderr.flush()


class WorkerApp:
    """What `worker_app` returns: an ASGI app that can end its streams."""

    def __init__(
        self,
        handler: Handler | None,
        env: Env,
        assets: Assets | None,
        runtime: Runtime,
        connections: network.Network | None = None,
        *,
        scheduled: Scheduled | None = None,
        test_scheduled: bool = False,
        bindings: Bindings | None = None,
        problem: str | None = None,
        log: Log,
        report: Log,
    ) -> None:
        self._handler = handler
        self._scheduled = scheduled
        self._test_scheduled = test_scheduled
        self._problem = problem
        self._env = env
        self._assets = assets
        self._runtime = runtime
        self._bindings = bindings or Bindings()
        self._log = log
        self._report = report
        self._network = connections or network.Network()
        self._live: set[HttpExchange | SocketExchange] = set()
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

    async def close_connections(self) -> None:
        """Close those of `fetch`, which the end of the ASGI lifespan does where there is one."""
        await self._network.aclose()

    async def aclose(self) -> None:
        """Close the connections of `fetch`, and the files of the bindings."""
        await self.close_connections()
        self.close()

    async def run_scheduled(self, cron: str, scheduled_time: int) -> Outcome:
        """Run the scheduled handler as at `scheduled_time`, in milliseconds since 1970. It never raises.

        ```python
        await app.run_scheduled("*/5 * * * *", 1_790_000_100_000)  # Outcome("ok", no_retry=False)
        ```
        """
        return await self._run_scheduled(ScheduledController(cron, scheduled_time))

    async def _run_scheduled(self, controller: ScheduledController) -> Outcome:
        if self._problem is not None:  # which was reported when the script was imported
            return Outcome("exception", no_retry=False, problem=self._problem)
        with running(self._runtime), network.using(self._network):
            return await run_scheduled(self._scheduled, controller, self._env, self._report)

    async def end_streams(self) -> None:
        """End every answer that is under way: an event stream with an error event and `[DONE]`, others cut."""
        for exchange in list(self._live):
            exchange.stop()
        for scope in self._background:
            scope.deadline = min(scope.deadline, anyio.current_time() + CLOSE_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] in ("http", "websocket"):
            with running(self._runtime), network.using(self._network):
                await self._answer(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._network.aclose()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        background = anyio.create_task_group()
        self._background.add(background.cancel_scope)
        try:
            await self._answer_within(background, scope, receive, send)
        finally:
            self._background.discard(background.cancel_scope)

    async def _answer_within(self, background: TaskGroup, scope: Scope, receive: Receive, send: Send) -> None:
        scope_of_waiting = background.cancel_scope
        async with background:
            ctx = Context(background, lambda error: self._report(trace_of(error)))
            exchange: HttpExchange | SocketExchange
            if is_socket := scope["type"] == "websocket":
                exchange = SocketExchange(request_of(scope), path_of(scope), receive, send, ctx, self._log)
            else:
                exchange = HttpExchange(scope, receive, send, ctx, self._log, self._report)
            self._live.add(exchange)
            try:
                await exchange.run(partial(self._respond_or_fail, ctx))
            finally:
                self._live.discard(exchange)
                await ctx.close_streams(unread_only=True)
                # From here on only what was given to waitUntil is left.
                limit = anyio.current_time() + WAIT_UNTIL_LIMIT
                scope_of_waiting.deadline = min(scope_of_waiting.deadline, limit)
        if scope_of_waiting.cancel_called:
            self._report(f"waitUntil: work was still going on {WAIT_UNTIL_LIMIT:.0f} s after the response; cancelled")
        await ctx.close_streams()
        await ctx.end(grace=LAST_EVENT_SECONDS if is_socket else 0)

    async def _respond_or_fail(self, ctx: Context, request: Request, path: str) -> Response:
        try:
            return await switching(self._respond(request, path, ctx))
        except BaseException as error:
            if not is_the_scripts(error):
                raise
            trace = trace_of(error)
            self._report(trace)
            await ctx.close_streams()
            return failure(python_error(trace))

    async def _respond(self, request: Request, path: str, ctx: Context) -> Response:
        by_hand = await answer_by_hand(request, self._run_scheduled, test_scheduled=self._test_scheduled)
        if by_hand is not None:
            return by_hand
        if self._assets is not None:
            has_script = self._handler is not None or self._problem is not None
            if (found := await self._assets.answer(request, has_script=has_script)) is not None:
                return found
        if self._problem is not None:
            return failure(self._problem)
        if self._handler is None:
            return Response.new("Not Found", {"status": 404, "headers": {"content-type": "text/plain"}})
        return await self._handler(request, self._env, ctx)
