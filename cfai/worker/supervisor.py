"""`cfai dev`'s three processes.

The supervisor, this one, owns the port, watches the files and starts the other two. The engine process owns the models
and answers the binding protocol on a private Unix socket; it stays. The worker process holds the user's script; it is
replaced on every save and may crash, block or loop without hurting a model.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from socket import socket

import anyio
import watchfiles
from anyio import to_thread

from cfai.config import Config
from cfai.serving import is_loopback

__all__ = ["EngineStopped", "supervise"]

STOP_SECONDS = 16.0
"""How long a child may take to end: its drain and its last events."""


class EngineStopped(Exception):
    """The engine process ended while it started."""


async def supervise(path: Path, config: Config, listener: socket, engine_options: Sequence[str]) -> None:
    """Run the project at `path` on `listener` until SIGTERM or Ctrl-C.

    engine_options  what `cfai serve` is given for the engine process
    """
    host, port = listener.getsockname()[:2]
    with tempfile.TemporaryDirectory(prefix="cfai-") as private:
        ai_socket = Path(private) / "ai.sock"
        engine = Child(["cfai", "serve", "--socket", str(ai_socket), f"--with-parent={os.getpid()}", *engine_options])
        worker = Child(
            [
                "cfai.worker",
                *("--path", str(path), "--ai-socket", str(ai_socket)),
                *("--fd", str(listener.fileno()), "--parent", str(os.getpid())),
            ],
            inherits=(listener.fileno(),),
        )
        _announce(config)
        try:
            engine.start()
            await _wait_for(ai_socket, engine)
            worker.start()
            _say(f"[wrangler:info] Ready on http://{'localhost' if is_loopback(host) else host}:{port}")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_reload_on_save, config, worker)
                tasks.start_soon(_restart_if_it_ends, engine, ai_socket)
                tasks.start_soon(_restart_if_it_ends, worker)
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    await anext(signals)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                # The worker first, so that its streams may come to their end.
                await to_thread.run_sync(worker.stop)
                await to_thread.run_sync(engine.stop)


async def _wait_for(ai_socket: Path, engine: Child) -> None:
    while not await anyio.Path(ai_socket).exists():
        if not engine.is_running:
            raise EngineStopped
        await anyio.sleep(0.02)


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
        await to_thread.run_sync(worker.replace)
        _say("⎔ Local server updated and ready")


async def _restart_if_it_ends(child: Child, leftover: Path | None = None) -> None:
    while True:
        await anyio.sleep(0.2)
        if not child.is_running:
            _say(f"⎔ The {child.name} process ended with status {child.status}; starting it again...")
            if leftover is not None:
                await anyio.Path(leftover).unlink(missing_ok=True)
            child.start()
            await anyio.sleep(1)  # a process that ends at once must not fill the machine


class Child:
    """A Python module that runs in a process of its own, in a process group of its own.

    The terminal's Ctrl-C reaches this process only, which then ends its children in order.
    """

    def __init__(self, command: Sequence[str], *, inherits: Sequence[int] = ()) -> None:
        self.name = "worker" if command[0] == "cfai.worker" else "engine"
        self._command = [sys.executable, "-m", *command]
        self._inherits = inherits
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, pass_fds=self._inherits, start_new_session=True
        )

    @property
    def status(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def replace(self) -> None:
        """Start the next one and tell the last to end. The two share a socket; the last one finishes its answers."""
        last = self._process
        self.start()
        if last is not None:
            last.terminate()
            threading.Thread(target=_end, args=(last,), daemon=True).start()

    def stop(self) -> None:
        """Tell it to end now, and wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            _end(self._process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:  # a script that holds on to its thread does not hear signals
        process.kill()
        process.wait()


def _announce(config: Config) -> None:
    _say("Your Worker has access to the following bindings:")
    rows = [(f"env.{config.ai_binding}", "AI", "local")] if config.ai_binding else []
    if config.assets_binding:
        rows.append((f"env.{config.assets_binding}", "Assets", "local"))
    rows += [(f"env.{name}", "Environment Variable", "local") for name in config.vars]
    width = max((len(name) for name, *_ in rows), default=0)
    for name, kind, where in rows:
        _say(f"  {name:<{width}}  {kind:<22}{where}")
    if config.secrets is not None:
        _say(f"Using secrets defined in {config.secrets.name}")
    _say("⎔ Starting local server...")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
