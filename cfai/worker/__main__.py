"""The worker process: one script, served on a socket that may be its parent's.

    python -m cfai.worker --path examples/streaming --ai-socket /run/ai.sock --fd 3

SIGTERM or SIGINT lets the answers under way finish for a while, a second signal ends them at once. The exit status is
0, or 2 for a project that cannot be read. With `--fd` the process ends with its parent, and answers for such a project
with what is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from cfai.ai import Ai
from cfai.config import Config, ConfigError, load_config
from cfai.serving import Guard, PortTaken, end_with_parent, is_loopback, listen, serve
from cfai.worker.app import WorkerApp, broken_app, worker_app
from cfai.worker.engine import EngineProcess
from cfai.worker.loader import import_path
from cfai.worker.sockets import socket_protocol

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    given = _arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a script's print appears when it prints
    if given.fd is not None:
        end_with_parent(given.parent or os.getppid())
    try:
        project = _read(given.path, or_why=given.fd is not None)
        listener = listen(given.host, given.port) if given.fd is None else socket.socket(fileno=given.fd)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except PortTaken as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 2
    anyio.run(_run, project, listener, given)
    return 0


def _read(path: Path, *, or_why: bool) -> Config | ConfigError:
    """The project. On a socket of the parent's, one that cannot be read is answered with, until the next save."""
    try:
        return load_config(path)
    except ConfigError as error:
        if or_why:
            return error
        raise


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cfai.worker", description="Run one Python Worker.")
    parser.add_argument("--path", default=".", type=Path, help="a project folder, its wrangler config, or a script")
    parser.add_argument("--ai-socket", required=True, type=Path, help="the Unix socket that answers env.AI")
    parser.add_argument("--fd", type=int, help="an inherited file descriptor that listens already")
    parser.add_argument("--parent", type=int, metavar="PID", help="the process to end with, when --fd is given")
    parser.add_argument(
        "--report-fd", type=int, metavar="FD", help='where to write "imported" or "failed", once the script was tried'
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=8787, type=int, help="0 takes a free one")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a Host header to accept besides localhost"
    )
    return parser.parse_args(argv)


async def _run(project: Config | ConfigError, listener: socket.socket, given: argparse.Namespace) -> None:
    # The script is imported where an event loop runs, as on Cloudflare.
    async with Ai(EngineProcess(given.ai_socket)) as ai:
        if isinstance(project, ConfigError):
            await _serve(broken_app(str(project)), listener, given)
            return
        with import_path(project.root):
            await _serve(worker_app(project, ai, log=_say), listener, given)


async def _serve(app: WorkerApp, listener: socket.socket, given: argparse.Namespace) -> None:
    host, port = listener.getsockname()[:2]
    if given.fd is None:
        _say(f"[wrangler:info] Ready on http://{f'[{host}]' if ':' in host else host}:{port}")
    if given.report_fd is not None:
        with contextlib.suppress(OSError):  # a parent that is gone is noticed below
            os.write(given.report_fd, b"failed" if app.is_broken else b"imported")
        os.close(given.report_fd)
    guarded = Guard(app, given.allow_host, any_address=not is_loopback(host))
    try:
        await serve(guarded, listener=listener, end_streams=app.end_streams, websockets=socket_protocol)
    finally:
        app.close()


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not spoil an answer
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
