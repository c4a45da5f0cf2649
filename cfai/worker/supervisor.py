"""`cfai dev`'s three processes.

The supervisor, this one, owns the port, watches the files and starts the other two. The engine process owns the models
and answers the binding protocol on a private Unix socket; it stays. The worker process holds the user's script; it is
replaced on every save and may crash, block or loop without hurting a model.

However this process ends, the two end with it: when it is told to, it tells them and waits; when it is killed, they
notice (`end_with_parent` in `cfai.serving`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from socket import socket

import anyio
import watchfiles

from cfai.config import Config
from cfai.serving import ending_signals, is_loopback

__all__ = ["EngineStopped", "supervise"]

STOP_SECONDS = 16.0
"""How long a child may take to end: its drain and its last events."""

HURRY_SECONDS = 2.0
"""How long it may take after a second Ctrl-C: its last events."""

PATIENCE_SECONDS = 1.0
"""After how long the terminal says what it is waiting for."""

IMPORT_SECONDS = 5.0
"""After how long it says that the script is still being imported."""

STEADY_SECONDS = 5.0
"""A process that lived for so long is started again at once; one that ends earlier, later and later."""

LONGEST_PAUSE = 30.0


class EngineStopped(Exception):
    """The engine process ended while it started."""


async def supervise(
    path: Path, config: Config, listener: socket, engine_options: Sequence[str], allow_hosts: Collection[str] = ()
) -> None:
    """Run the project at `path` on `listener` until SIGTERM, SIGHUP or Ctrl-C.

    engine_options  what `cfai serve` is given for the engine process
    allow_hosts     names besides localhost under which the Worker is reached
    """
    host, port = listener.getsockname()[:2]
    shown = "localhost" if is_loopback(host) else f"[{host}]" if ":" in host else host
    with tempfile.TemporaryDirectory(prefix="cfai-") as private, anyio.open_signal_receiver(*ending_signals()) as told:
        ai_socket = Path(private) / "ai.sock"
        parent = os.getpid()
        engine = Child("engine", ["cfai", "serve", f"--socket={ai_socket}", f"--with-parent={parent}", *engine_options])
        names = [f"--allow-host={name}" for name in allow_hosts]
        worker = Child(
            "worker",
            [
                *("cfai.worker", f"--path={path}", f"--ai-socket={ai_socket}"),
                *(f"--fd={listener.fileno()}", f"--parent={parent}", *names),
            ],
            reports=True,
            inherits=[listener.fileno()],
        )
        _announce(config)
        answers = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_when_told, told, tasks.cancel_scope)
                engine.start()
                worker.start()
                answers = await _answers(ai_socket, engine)
                if answers:
                    await _run(config, f"http://{shown}:{port}", engine, worker)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _end(told, worker, engine)
    if not answers:
        raise EngineStopped


async def _cancel_when_told(told: AsyncIterator[signal.Signals], work: anyio.CancelScope) -> None:
    await anext(told)
    work.cancel()


async def _answers(ai_socket: Path, engine: Child) -> bool:
    """Wait until the engine answers; False if it ended instead."""
    while engine.run.is_running:
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream):
            async with await anyio.connect_unix(ai_socket) as stream:
                await stream.send(b"GET /health HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
                await stream.receive()
                return True
        await anyio.sleep(0.02)
    return False


async def _run(config: Config, address: str, engine: Child, worker: Child) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_reload_on_save, config, worker)
        tasks.start_soon(_tell_of_imports, worker, address)
        tasks.start_soon(_keep_running, engine)
        tasks.start_soon(_keep_running, worker)


async def _tell_of_imports(worker: Child, address: str) -> None:
    """Say of each worker process whether it imported the script."""
    ready = f"[wrangler:info] Ready on {address}"
    failed = f"⎔ The Worker did not start, see above; {address} says it too, and a save tries again"
    while True:
        run = worker.run
        outcome = None
        with anyio.move_on_after(IMPORT_SECONDS):
            outcome = await run.outcome()
        if outcome is None:
            _say("⎔ Still importing the script...")
            outcome = await run.outcome()
        if outcome and run is worker.run:
            _say(ready if outcome == "imported" else failed)
            ready, failed = "⎔ Local server updated and ready", "⎔ Reload failed"
        await run.is_replaced.wait()


class _ProjectFiles(watchfiles.DefaultFilter):
    """What a Worker is made of. Its own output, a log or a database in the same folder, must not reload it."""

    ignore_dirs = (*watchfiles.DefaultFilter.ignore_dirs, ".wrangler", "python_modules", ".venv-workers", "dist")
    _suffixes = frozenset({".py", ".json", ".jsonc", ".toml", ".html", ".css", ".js", ".txt", ".md", ".jinja", ".vars"})

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        return Path(path).suffix in self._suffixes and super().__call__(change, path)


async def _reload_on_save(config: Config, worker: Child) -> None:
    # A script on its own may lie in a folder with anything beside and below it: then only its neighbours count.
    is_project = config.source is not None
    async for _ in watchfiles.awatch(config.folder, watch_filter=_ProjectFiles(), recursive=is_project):
        _say("⎔ Reloading local server...")
        worker.start()


async def _keep_running(child: Child) -> None:
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
            _say(f"⎔ The {child.name} process ended with status {run.status}; starting it again...")
        elif in_a_row == 2:
            _say(f"⎔ The {child.name} process keeps ending; it is tried again now and then")
        with anyio.move_on_after(pause):
            await run.is_replaced.wait()
        if run is child.run:
            child.start()
        else:
            in_a_row = 0


async def _end(told: AsyncIterator[signal.Signals], worker: Child, engine: Child) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hurry_when_told, told, worker, engine)
        tasks.start_soon(_say_what_is_awaited, worker)
        # The worker first, so that its streams may come to their end.
        for child in (worker, engine):
            child.tell(signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while child.is_anything_left:
                if time.monotonic() > deadline:  # a script that holds on to its thread does not hear signals
                    child.tell(signal.SIGKILL)
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()


async def _hurry_when_told(told: AsyncIterator[signal.Signals], *children: Child) -> None:
    await anext(told)
    for child in children:
        child.tell(signal.SIGTERM)
    with anyio.move_on_after(HURRY_SECONDS):
        await anext(told)
    for child in children:
        child.tell(signal.SIGKILL)


async def _say_what_is_awaited(worker: Child) -> None:
    await anyio.sleep(PATIENCE_SECONDS)
    if worker.is_anything_left:
        _say("⎔ Waiting for running answers; Ctrl-C again ends them")


class Child:
    """A Python module that runs in a process of its own, one after the other.

    Each is in a process group of its own: the terminal's Ctrl-C reaches the supervisor only, which then ends its
    children in order.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, reports: bool = False, inherits: Sequence[int] = ()
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", *command]
        self._reports = reports
        self._inherits = inherits
        self._runs: list[_Run] = []
        """The present one last, before it those that finish their answers."""

    @property
    def run(self) -> _Run:
        return self._runs[-1]

    @property
    def is_anything_left(self) -> bool:
        return any(run.is_running for run in self._runs)

    def start(self) -> None:
        """Start the next one and tell the last to end. The two share a socket; the last one finishes its answers."""
        run = _Run(self._command, reports=self._reports, inherits=self._inherits)
        for last in self._runs[-1:]:
            last.end_by = time.monotonic() + STOP_SECONDS
            last.tell(signal.SIGTERM)
            last.is_replaced.set()
        self._runs = [*(one for one in self._runs if one.is_running), run]

    def tell(self, number: signal.Signals) -> None:
        for run in self._runs:
            run.tell(number)

    def kill_overdue(self) -> None:
        for run in self._runs:
            if time.monotonic() > run.end_by:
                run.tell(signal.SIGKILL)


class _Run:
    """One process of a child."""

    def __init__(self, command: Sequence[str], *, reports: bool, inherits: Sequence[int]) -> None:
        self._outcome: int | None = None
        self._started_at = time.monotonic()
        self.end_by = float("inf")
        self.is_replaced = anyio.Event()
        with contextlib.ExitStack() as stack:
            if reports:
                self._outcome, writing = os.pipe()
                stack.callback(os.close, writing)
                command = [*command, f"--report-fd={writing}"]
                inherits = [*inherits, writing]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=inherits, start_new_session=True
            )

    @property
    def status(self) -> int | None:
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        return self.status is None

    @property
    def age(self) -> float:
        return time.monotonic() - self._started_at

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)  # which looks first whether there still is a process

    async def outcome(self) -> str:
        """What the process reports, "imported" or "failed"; empty if it ends before."""
        if self._outcome is None:
            return ""
        await anyio.wait_readable(self._outcome)
        outcome = os.read(self._outcome, 64).decode()
        os.close(self._outcome)
        self._outcome = None
        return outcome


def _announce(config: Config) -> None:
    for remark in config.warnings:
        _say(f"▲ [WARNING] {remark}")
    rows = [(f"env.{one.binding} ({one.id})", "KV Namespace", "local") for one in config.kv_namespaces]
    if config.ai_binding:
        rows.append((f"env.{config.ai_binding}", "AI", "local"))
    if config.assets is not None and config.assets.binding:
        rows.append((f"env.{config.assets.binding}", "Assets", "local"))
    for name, value in config.vars.items():
        shown = _shortened("(hidden)" if name in config.secret_names else value)
        rows.append((f"env.{name} ({shown})", "Environment Variable", "local"))
    rows += [(f"env.{name}" if name else "", kind, "not simulated") for name, kind in config.not_simulated]
    if rows:
        _say("Your Worker has access to the following bindings:")
    width = max((len(name) for name, *_ in rows), default=0)
    for name, kind, where in rows:
        _say(f"  {name:<{width}}  {kind:<22}{where}")
    for file in config.secrets:
        _say(f"Using secrets defined in {file.name}")
    _say("⎔ Starting local server...")


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone, and the children must be ended all the same
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
