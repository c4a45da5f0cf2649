"""`cfai dev`'s three processes.

The supervisor, this one, owns the port and the terminal, watches the files and starts the other two. The engine process
owns the models and answers the binding protocol on a private Unix socket; it stays. The worker process holds the user's
script; it is replaced on every save and may crash, block or loop without hurting a model. Beside it, one in reserve has
imported everything but the script.

However this process ends, the others end with it: when it is told to, it tells them and waits; when it is killed, they
notice (`end_with_parent` in `cfai.serving`, the end of the channel in `cfai.dev.channel`).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import getpid
from pathlib import Path
from socket import socket

import anyio

from cfai.config import Config, ConfigError
from cfai.dev import start
from cfai.dev.console import Console, hotkeys, table
from cfai.dev.debugger import pass_debuggers_on
from cfai.dev.files import Files
from cfai.dev.processes import Child, Worker, WorkerRun
from cfai.dev.project import Project
from cfai.dev.terminal import Terminal
from cfai.serving import ending_signals, is_loopback

__all__ = ["EngineStopped", "Settings", "supervise"]

HURRY_SECONDS = 2.0
"""How long a child may take after a second Ctrl-C: its last events."""

PATIENCE_SECONDS = 1.0
"""After how long the terminal says what it is waiting for."""

IMPORT_SECONDS = 5.0
"""After how long it says that the script is still being imported."""

STEADY_SECONDS = 5.0
"""A process that lived for so long is started again at once; one that ends earlier, later and later."""

LONGEST_PAUSE = 30.0

HEAD_START_SECONDS = 1.0
"""How long at most the engine, whose imports keep two cores busy, waits for the script to answer."""

RESERVE_SECONDS = 0.3
"""How long after a reload the next process is put in reserve: the first requests come first."""


class EngineStopped(Exception):
    """The engine process ended while it started."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `cfai dev` was told besides the project."""

    engine_options: Sequence[str] = ()
    """What `cfai serve` is given for the engine process."""
    ai_url: str | None = None
    """A server that answers instead of an engine process."""
    ai: str = "local"
    """What answers: "local", "remote" for Cloudflare's server, "tape", or "fake"."""
    worker_options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the worker process: there may be a token in it."""
    python: str = sys.executable
    """The interpreter of the worker process."""
    inspect: socket | None = None
    """Where debuggers come to, if they may."""
    allow_hosts: Collection[str] = ()
    """Names besides localhost under which the Worker is reached."""
    console: Console = field(default_factory=Console)


async def supervise(project: Project, config: Config, listener: socket, settings: Settings) -> None:
    """Run `project` on `listener` until SIGTERM, SIGHUP, Ctrl-C or the key x."""
    with tempfile.TemporaryDirectory(prefix="cfai-") as private, Terminal().kept() as terminal:
        async with anyio.create_task_group() as listening:
            supervisor = _Supervisor(project, config, listener, settings, Path(private), terminal, listening)
            await supervisor.run()
            listening.cancel_scope.cancel()
    if supervisor.has_no_engine:
        raise EngineStopped


class _Supervisor:
    def __init__(
        self,
        project: Project,
        config: Config,
        listener: socket,
        settings: Settings,
        private: Path,
        terminal: Terminal,
        listening: anyio.abc.TaskGroup,
    ) -> None:
        host, port = listener.getsockname()[:2]
        shown = "localhost" if is_loopback(host) else f"[{host}]" if ":" in host else host
        self._address = f"http://{shown}:{port}"
        self._project = project
        self._config = config
        self._settings = settings
        self._terminal = terminal
        self._is_back = anyio.Event()
        """Set when no script has the terminal any more."""
        self._say = settings.console.say
        self._files = Files(config, state=project.state_of(config))
        self._ai_socket = private / "ai.sock"
        self._engine = Child(
            "engine",
            [
                *(sys.executable, "-P", start.__file__, "cfai", "serve", f"--socket={self._ai_socket}"),
                *(f"--with-parent={getpid()}", *settings.engine_options),
            ],
        )
        self._wants_engine = anyio.Event()
        self.has_no_engine = False
        ai = f"--ai-url={settings.ai_url}" if settings.ai_url else f"--ai-socket={self._ai_socket}"
        self._worker = Worker(
            listening,
            [
                *(settings.python, "-P", start.__file__, "cfai.worker", *project.options(), ai),
                *(f"--fd={listener.fileno()}", f"--parent={getpid()}", f"--log-level={settings.console.level}"),
                *(["--inspect"] if settings.inspect is not None else []),
                *(f"--allow-host={name}" for name in settings.allow_hosts),
                *settings.worker_options,
            ],
            environment=settings.environment,
            inherits=[listener.fileno()],
            hears=self._hear,
        )

    async def run(self) -> None:
        with anyio.open_signal_receiver(*ending_signals()) as told:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_cancel_when_told, told, tasks.cancel_scope)
                    self._worker.start()
                    self._announce()
                    if self._settings.inspect is not None:
                        tasks.start_soon(pass_debuggers_on, self._worker, self._settings.inspect)
                        host, port = self._settings.inspect.getsockname()[:2]
                        self._say(f"Debugger listening on {host}:{port}")
                    self._say("⎔ Starting local server...")
                    self._want_engine()
                    tasks.start_soon(self._run_engine, tasks.cancel_scope)
                    tasks.start_soon(self._reload_on_save)
                    tasks.start_soon(self._tell_of_imports)
                    tasks.start_soon(self._keep_running, self._worker)
                    tasks.start_soon(self._obey_keys, tasks.cancel_scope)
                    tasks.start_soon(self._mind_the_terminal)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end(told)

    def _announce(self) -> None:
        for remark in self._config.warnings:
            self._say(f"▲ [WARNING] {remark}", level="warn")
        for file in self._config.secrets:
            self._say(f"Using secrets defined in {file.name}")
        for line in table(self._config, ai=self._settings.ai):
            self._say(line)
        if self._settings.ai == "fake":
            self._say("▲ [WARNING] --fake: no model runs, answers are scripted or made up", level="warn")
        if self._config.crons:
            by_hand = "GET /cdn-cgi/handler/scheduled runs the handler at once"
            self._say(f"⎔ Cron triggers run in time, in UTC: {', '.join(self._config.crons)} ({by_hand})")
        if self._terminal.has_keys:
            for line in hotkeys():
                self._say(line)

    # The engine

    def _want_engine(self) -> None:
        if self._config.ai_binding is not None and self._settings.ai_url is None:
            self._wants_engine.set()

    async def _run_engine(self, everything: anyio.CancelScope) -> None:
        await self._wants_engine.wait()
        with anyio.move_on_after(HEAD_START_SECONDS):
            await self._worker.run.has_outcome.wait()
        self._engine.start()
        if await self._engine_answers():
            await self._keep_running(self._engine)
        else:
            self.has_no_engine = True
            everything.cancel()

    async def _engine_answers(self) -> bool:
        """Wait until the engine answers; False if it ended instead."""
        while self._engine.run.is_running:
            with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream):
                async with await anyio.connect_unix(self._ai_socket) as stream:
                    await stream.send(b"GET /health HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
                    await stream.receive()
                    return True
            await anyio.sleep(0.05)
        return False

    # The worker

    async def _reload_on_save(self) -> None:
        async for _ in self._files.saves():
            if self._worker.run.has_terminal:
                self._say("⎔ Reloading when the script has let go of the terminal")
                while self._worker.run.has_terminal:
                    await self._is_back.wait()
            with contextlib.suppress(ConfigError):  # which the worker reports
                self._config = self._files.config = self._project.read()
            self._want_engine()
            self._say("⎔ Reloading local server...")
            self._worker.start()

    async def _tell_of_imports(self) -> None:
        """Say of each worker process whether it imported the script."""
        ready = f"[wrangler:info] Ready on {self._address}"
        failed = f"⎔ The Worker did not start, see above; {self._address} says it too, and a save tries again"
        while True:
            run = self._worker.run
            with anyio.move_on_after(IMPORT_SECONDS) as waiting:
                await run.has_outcome.wait()
            if waiting.cancel_called and not run.has_gone:
                run.tell(signal.SIGKILL)  # what it was to import in reserve does not come to an end
            elif waiting.cancel_called:
                self._say("⎔ Still importing the script...")
                await run.has_outcome.wait()
            if run.outcome and run is self._worker.run:
                if run.outcome == "imported":
                    self._say(ready)
                else:
                    self._say(failed, level="error")
                ready, failed = "⎔ Local server updated and ready", "⎔ Reload failed"
                with anyio.move_on_after(RESERVE_SECONDS):
                    await run.is_replaced.wait()
                if run is self._worker.run:
                    self._worker.keep_reserve()
            await run.is_replaced.wait()

    def _hear(self, run: WorkerRun, line: str) -> None:
        """What concerns others than the process that says it."""
        word, _, rest = line.partition(" ")
        if word == "terminal":
            run.has_terminal = True
            self._terminal.lend()
            run.channel.tell("terminal")
        elif word in ("done", "ended") and run.has_terminal:
            run.has_terminal = False
            self._terminal.take_back()
            self._is_back.set()
            self._is_back = anyio.Event()
        elif word == "outside":
            self._files.comes_from(run.outside)
        elif word == "reads":
            self._files.reads(rest)
        elif word == "writes":
            self._files.writes(rest)

    async def _keep_running(self, child: Child) -> None:
        in_a_row = 0
        while True:
            run = child.run
            while run.is_running and run is child.run:
                await anyio.sleep(0.1)
                child.kill_overdue()
            if run is not child.run:
                in_a_row = 0
                continue
            in_a_row = 1 if run.age > STEADY_SECONDS else in_a_row + 1
            pause = min(0.5 * 2 ** (in_a_row - 1), LONGEST_PAUSE)
            if in_a_row == 1:
                self._say(f"⎔ The {child.name} process ended with status {run.status}; starting it again...")
            elif in_a_row == 2:
                self._say(f"⎔ The {child.name} process keeps ending; it is tried again now and then")
            with anyio.move_on_after(pause):
                await run.is_replaced.wait()
            if run is child.run:
                child.start()
            else:
                in_a_row = 0

    # The terminal

    async def _obey_keys(self, everything: anyio.CancelScope) -> None:
        async for key in self._terminal.keys():
            if key in ("x", "q"):
                everything.cancel()
            elif key == "c":
                self._settings.console.clear()
                for line in hotkeys():
                    self._say(line)
            elif key == "b" and not await anyio.to_thread.run_sync(webbrowser.open, self._address):
                self._say(f"no browser was found for {self._address}")

    async def _mind_the_terminal(self) -> None:
        with anyio.open_signal_receiver(signal.SIGCONT) as continued:
            async for _ in continued:
                self._terminal.continued()

    # The end

    async def _end(self, told: AsyncIterator[signal.Signals]) -> None:
        self._say("⎔ Shutting down local server...")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_hurry_when_told, told, self._worker, self._engine)
            tasks.start_soon(self._say_what_is_awaited)
            if self._worker.has_started and self._worker.run.has_terminal:
                self._worker.run.tell(signal.SIGKILL)  # nobody answers its question any more
            # The worker first, so that its streams may come to their end.
            for child in (self._worker, self._engine):
                child.retire()
                while child.is_anything_left:
                    child.kill_overdue()
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()

    async def _say_what_is_awaited(self) -> None:
        await anyio.sleep(PATIENCE_SECONDS)
        if self._worker.is_anything_left:
            self._say("⎔ Waiting for running answers; Ctrl-C again ends them")


async def _cancel_when_told(told: AsyncIterator[signal.Signals], work: anyio.CancelScope) -> None:
    await anext(told)
    work.cancel()


async def _hurry_when_told(told: AsyncIterator[signal.Signals], *children: Child) -> None:
    await anext(told)
    for child in children:
        child.tell(signal.SIGTERM)
    with anyio.move_on_after(HURRY_SECONDS):
        await anext(told)
    for child in children:
        child.tell(signal.SIGKILL)
