"""The worker process: one script, served on a socket that may be its parent's.

    python -m cfai.worker --path examples/streaming --ai-socket /run/ai.sock --fd 3

SIGTERM or SIGINT lets the answers under way finish for a while, a second signal ends them at once. The exit status is
0, or 2 for a project that cannot be read. With `--fd` the process ends with its parent, and answers for such a project
with what is wrong. With `--channel` it first imports what it can and waits until it is wanted (`cfai.dev.channel`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from cfai.ai import Ai
from cfai.binding import Binding
from cfai.bindings.http import HttpBinding
from cfai.config import Config, ConfigError
from cfai.dev.channel import Supervisor
from cfai.dev.console import LEVELS, Console
from cfai.dev.project import Project
from cfai.serving import DRAIN_SECONDS, Guard, PortTaken, end_with_parent, is_loopback, listen, serve
from cfai.worker.app import WorkerApp, broken_app, worker_app
from cfai.worker.compat import Compat, Runtime, running
from cfai.worker.crons import CronTimer, cron_timer
from cfai.worker.engine import EngineProcess
from cfai.worker.footprint import Modules, preload, tell_files
from cfai.worker.heartbeat import watch_the_loop
from cfai.worker.loader import import_path
from cfai.worker.loop import WorkerLoop
from cfai.worker.prompts import Prompts
from cfai.worker.sockets import socket_protocol

if TYPE_CHECKING:
    from cfai.worker.faults import WorkerFaults

__all__ = ["main"]

TOKEN = "CFAI_AI_TOKEN"
"""The environment variable with the token for `--ai-url`: a command line can be read by everybody."""


def main(argv: Sequence[str] | None = None) -> int:
    given = _arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a script's print appears when it prints
    if given.fd is not None:
        end_with_parent(given.parent or os.getppid())
    _offer_to_be_killed()
    project = Project(
        given.path,
        given.config,
        environment=given.env,
        variables=tuple(given.var),
        state=given.persist_to,
        date=given.compatibility_date,
        flags=tuple(given.compatibility_flag),
        is_strict=given.strict_compat,
    )
    supervisor = Supervisor(given.channel) if given.channel is not None else None
    # From here on: what was imported in reserve, for the script, is what the next one in reserve imports too.
    modules = Modules()
    if supervisor is not None and not _is_wanted(supervisor, project):
        return 0
    try:
        config = _read(project, or_why=given.fd is not None)
        listener = listen(given.host, given.port) if given.fd is None else socket.socket(fileno=given.fd)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except PortTaken as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 2
    process = _Process(given, project, supervisor, modules, os.environ.get(TOKEN))
    anyio.run(process.run, config, listener, backend_options={"loop_factory": WorkerLoop})
    if given.parent is not None and os.getppid() != given.parent and os.getsid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)  # nobody else is there to end what the script has started
    return 0


def _offer_to_be_killed() -> None:
    """Where memory runs out, Linux shall take this process, not the one with the models."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _is_wanted(supervisor: Supervisor, project: Project) -> bool:
    """Wait in reserve. False if the supervisor ended."""
    while True:
        order, names = supervisor.next_order()
        if order == "preload":
            _preload(names, project)
            supervisor.tell("warm")
        else:
            return order == "go"


def _preload(names: Sequence[str], project: Project) -> None:
    if not names:
        return
    with contextlib.suppress(ConfigError):
        config = project.read()
        compat = Compat(config.compatibility_date, frozenset(config.compatibility_flags))
        # A package may look whether there is a `js`, as it does when the script imports it.
        with running(Runtime(compat)), import_path(config.root):
            preload(names)


def _read(project: Project, *, or_why: bool) -> Config | ConfigError:
    """The project. On a socket of the parent's, one that cannot be read is answered with, until the next save."""
    try:
        return project.read()
    except ConfigError as error:
        if or_why:
            return error
        raise


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cfai.worker", description="Run one Python Worker.")
    parser.add_argument("--path", default=".", type=Path, help="a project folder, its wrangler config, or a script")
    parser.add_argument("--config", type=Path, metavar="FILE", help="another config than that of the folder")
    parser.add_argument("--env", help="which environment of the config")
    parser.add_argument("--var", action="append", default=[], metavar="NAME:VALUE", help="a variable of env")
    parser.add_argument("--persist-to", type=Path, metavar="FOLDER", help="where KV, D1 and the like keep their data")
    parser.add_argument("--compatibility-date", metavar="DATE")
    parser.add_argument("--compatibility-flag", action="append", default=[], metavar="FLAG")
    parser.add_argument("--strict-compat", action="store_true", help="refuse what Cloudflare refuses at that date")
    ai = parser.add_mutually_exclusive_group(required=True)
    ai.add_argument("--ai-socket", type=Path, help="the Unix socket that answers env.AI")
    ai.add_argument("--ai-url", help=f"the server that answers env.AI instead, with the token of {TOKEN}")
    parser.add_argument("--ai-account", default="local", help="the account in that server's paths")
    parser.add_argument("--fd", type=int, help="an inherited file descriptor that listens already")
    parser.add_argument("--parent", type=int, metavar="PID", help="the process to end with, when --fd is given")
    parser.add_argument("--channel", type=int, metavar="FD", help="the socket to the supervisor")
    parser.add_argument("--inspect", action="store_true", help="let debuggers in")
    parser.add_argument("--test-scheduled", action="store_true", help="have GET /__scheduled run the handler")
    parser.add_argument("--faults", metavar="TEXT", help="what goes wrong on purpose, and lets requests ask for more")
    parser.add_argument("--log-level", choices=LEVELS, default="log")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default=8787, type=int, help="0 takes a free one")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a Host header to accept besides localhost"
    )
    return parser.parse_args(argv)


class _Process:
    """What goes on beside the answers: the supervisor is told of the script, and the script of itself."""

    def __init__(
        self,
        given: argparse.Namespace,
        project: Project,
        supervisor: Supervisor | None,
        modules: Modules,
        token: str | None,
    ) -> None:
        self._given = given
        self._project = project
        self._supervisor = supervisor
        self._modules = modules
        self._token = token
        self._console = Console(given.log_level)
        self._faults: WorkerFaults | None = None
        if given.faults is not None:
            from cfai.worker.faults import WorkerFaults  # which few Workers want, and all would import

            self._faults = WorkerFaults(given.faults, tell=self._console.note)

    async def run(self, config: Config | ConfigError, listener: socket.socket) -> None:
        # The script is imported where an event loop runs, as on Cloudflare.
        binding = self._binding()
        async with Ai(binding) as ai:
            if isinstance(config, ConfigError):
                await self._serve(broken_app(str(config)), listener)
                return
            self._accompany(config)
            with import_path(config.root):
                app = worker_app(
                    config,
                    ai if self._faults is None else self._faults.ai(binding),
                    state=self._project.state_of(config),
                    strict=self._project.is_strict,
                    test_scheduled=self._given.test_scheduled,
                    log=self._console.note,
                )
                if self._supervisor is not None:
                    self._supervisor.tell_names("modules", self._modules.installed())
                    self._supervisor.tell_names("outside", self._modules.outside((config.folder, config.root)))
                await self._serve(app, listener, self._timer(app, config))

    def _timer(self, app: WorkerApp, config: Config) -> CronTimer | None:
        if not config.crons:
            return None

        async def run(cron: str, scheduled_time: int) -> None:
            done = await app.run_scheduled(cron, scheduled_time)
            self._console.note(f"[wrangler:info] CRON {cron} {done.outcome}")

        session = str(self._given.parent or os.getpid())
        return cron_timer(config.crons, run, self._project.state_of(config), session)

    def _binding(self) -> Binding:
        if self._given.ai_url is None:
            return EngineProcess(self._given.ai_socket)
        return HttpBinding(self._given.ai_url, account=self._given.ai_account, token=self._token)

    def _accompany(self, config: Config) -> None:
        prompts: Prompts | None = None
        if self._supervisor is not None:
            prompts = Prompts(self._supervisor, asyncio.get_running_loop())
            tell_files(config.folder, lambda what, path: self._tell(f"{what} {path}"))
        person: list[Callable[[], bool]] = [] if prompts is None else [prompts.has_the_terminal]
        if self._given.inspect:
            from cfai.dev.debugger import is_attached, listen_for_debuggers

            with self._modules.uncounted():
                self._tell(f"debugger {listen_for_debuggers()}")
            person.append(is_attached)
        watch_the_loop(config.folder, self._console.note, lambda: any(waits() for waits in person))

    def _tell(self, line: str) -> None:
        if self._supervisor is not None:
            self._supervisor.tell(line)

    async def _serve(self, app: WorkerApp, listener: socket.socket, timer: CronTimer | None = None) -> None:
        host, port = listener.getsockname()[:2]
        if self._given.fd is None:
            self._console.say(f"[wrangler:info] Ready on http://{f'[{host}]' if ':' in host else host}:{port}")
        self._tell("failed" if app.is_broken else "imported")
        guarded = Guard(
            app if self._faults is None else self._faults.asked_of(app),
            self._given.allow_host,
            any_address=not is_loopback(host),
        )

        def on_end() -> None:
            self._tell("ending")
            if timer is not None:
                timer.stop()

        try:
            async with anyio.create_task_group() as tasks:
                if timer is not None:
                    tasks.start_soon(timer.run)
                await serve(
                    guarded, listener=listener, end_streams=app.end_streams, websockets=socket_protocol, on_end=on_end
                )
                tasks.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS
        finally:
            app.close()


if __name__ == "__main__":
    sys.exit(main())
