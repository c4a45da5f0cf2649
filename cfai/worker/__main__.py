"""The worker process: one script, served on a socket that may be its parent's.

    python -m cfai.worker --path examples/streaming --ai-socket /run/ai.sock --fd 3

SIGTERM lets the answers under way finish for ten seconds, then ends them; SIGINT, and a second signal, ends them at
once. The exit status is 0 either way.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import uvicorn

from cfai.ai import Ai
from cfai.bindings.http import HttpBinding
from cfai.config import Config, ConfigError, load_config
from cfai.worker.app import WorkerApp, worker_app
from cfai.worker.loader import import_path

__all__ = ["main", "serve"]

DRAIN_LIMIT = 10.0
# Time for the last events of what was ended, and for waitUntil, before the process leaves them behind.
LEAVE_LIMIT = 5


def main(argv: Sequence[str] | None = None) -> int:
    given = _arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a script's print appears when it prints
    try:
        config = load_config(given.path)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    listener = socket.socket(fileno=given.fd) if given.fd is not None else _listen(given.host, given.port)
    anyio.run(_run, config, HttpBinding(socket=given.ai_socket), listener, given.fd is None)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cfai.worker", description="Run one Python Worker.")
    parser.add_argument("--path", default=".", type=Path, help="a project folder, its wrangler config, or a script")
    parser.add_argument("--ai-socket", required=True, type=Path, help="the Unix socket that answers env.AI")
    parser.add_argument("--fd", type=int, help="an inherited file descriptor that listens already")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=8787, type=int, help="0 takes a free one")
    return parser.parse_args(argv)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


async def _run(config: Config, binding: HttpBinding, listener: socket.socket, announce: bool) -> None:
    async with Ai(binding) as ai:
        with import_path(config.root):
            app = worker_app(config, ai, log=_say)
            if announce:
                host, port = listener.getsockname()[:2]
                _say(f"[wrangler:info] Ready on http://{f'[{host}]' if ':' in host else host}:{port}")
            await serve(app, listener)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `serve` listens for them: uvicorn would wait for endless streams, or cut them


async def serve(app: WorkerApp, listener: socket.socket, *, drain_limit: float = DRAIN_LIMIT) -> None:
    """Answer on `listener` until a signal comes."""
    # Tracebacks and access lines are the app's; uvicorn has nothing to add to them.
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=round(drain_limit) + LEAVE_LIMIT,
        ws="none",
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, server, app, drain_limit)
        await server.serve(sockets=[listener])
        tasks.cancel_scope.cancel()


async def _stop_on_signal(server: uvicorn.Server, app: WorkerApp, drain_limit: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        first = await anext(signals)
        server.should_exit = True
        if first == signal.SIGTERM:
            with anyio.move_on_after(drain_limit):
                await anext(signals)
        while True:  # also what comes in on connections that are still open
            app.end_streams()
            await anyio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
