"""The processes that `cfai dev` starts, ends and starts again.

A child is an engine or a worker: one process after the other. Each process is in a session of its own. The terminal's
Ctrl-C so reaches the supervisor only, which then ends its children in order, and what a script started in turn can be
ended with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import anyio
from anyio.abc import TaskGroup

from cfai.dev.channel import Channel

__all__ = ["BLOCKED_SECONDS", "Child", "Run", "Worker"]

STOP_SECONDS = 16.0
"""How long a process may take to end: its drain and its last events."""

BLOCKED_SECONDS = 3.0
"""How long a worker may take to hear that it should end. A script that holds on to its thread hears nothing."""

MOST_DRAINING = 4
"""How many processes finish their answers beside the present one; of more, the oldest ends its answers at once."""


WANTED_LATER = ("httpx2", "anyio._backends._asyncio", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.off")
"""What a worker imports when it serves and when it first asks the AI."""


class Run:
    """One process."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        inherits: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.end_by = float("inf")
        self.is_replaced = anyio.Event()
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=stdin,
            pass_fds=inherits,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        if self._process.returncode is None and _has_ended(self.pid):
            # Before it is waited for, while the number is still its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        return self.status is None

    @property
    def age(self) -> float:
        return time.monotonic() - self._started_at

    def tell(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def retire(self) -> None:
        """Tell it to end, and let it finish its answers."""
        self.end_by = time.monotonic() + STOP_SECONDS
        self.tell(signal.SIGTERM)
        self.is_replaced.set()


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class Child:
    """An engine or a worker, in one process after the other."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = list(command)
        self._runs: list[Run] = []
        """The present one last, before it those that finish their answers."""

    @property
    def has_started(self) -> bool:
        return bool(self._runs)

    @property
    def run(self) -> Run:
        return self._runs[-1]

    @property
    def is_anything_left(self) -> bool:
        return any(run.is_running for run in self._runs)

    def start(self) -> None:
        """Start the next one and tell the last to end."""
        self._succeed(Run(self._command))

    def _succeed(self, run: Run) -> None:
        for last in self._runs[-1:]:
            last.retire()
        self._runs = [*(one for one in self._runs if one.is_running), run]

    def tell(self, number: signal.Signals) -> None:
        for run in self._runs:
            run.tell(number)

    def retire(self) -> None:
        """Tell all of them to end."""
        for run in self._runs:
            run.retire()

    def kill_overdue(self) -> None:
        """End who takes too long, and what was started by who has ended."""
        for run in self._runs:
            if run.is_running and time.monotonic() > run.end_by:
                run.tell(signal.SIGKILL)


class WorkerRun(Run):
    """A process with a script, or one in reserve that waits for it."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], inherits: Sequence[int]) -> None:
        self.channel = Channel()
        self.outcome: str | None = None
        """"imported" or "failed"; empty if it ended before."""
        self.has_outcome = anyio.Event()
        self.has_gone = False
        self.is_warm = False
        self.is_wanted = False
        self.is_ending = False
        """Whether it has said that it heard that it should end."""
        self.has_terminal = False
        self.debugger: int | None = None
        """The port of its debugger."""
        self.modules: list[str] = []
        """What it imported of installed packages."""
        self.outside: list[str] = []
        """What it imported from elsewhere, outside of the project."""
        with self.channel.childs as theirs:
            super().__init__(
                [*command, f"--channel={theirs.fileno()}"],
                environment=environment,
                inherits=[*inherits, theirs.fileno()],
                stdin=0,
            )

    def go(self) -> None:
        """Let it have the script, as soon as it can."""
        self.is_wanted = True
        if self.is_warm and not self.has_gone:
            self.has_gone = True
            self.channel.tell("go")

    def retire(self) -> None:
        super().retire()
        if not self.is_ending:
            self.end_by = time.monotonic() + BLOCKED_SECONDS

    def hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "warm":
                self.is_warm = True
                if self.is_wanted:
                    self.go()
            case "imported" | "failed":
                self.outcome = word
                self.has_outcome.set()
            case "ending":
                self.is_ending = True
                self.end_by = time.monotonic() + STOP_SECONDS
            case "debugger":
                self.debugger = int(rest)
            case "modules":
                self.modules = json.loads(rest)
            case "outside":
                self.outside = json.loads(rest)


class Worker(Child):
    """The worker: besides the process that answers, one in reserve that has imported everything but the script.

    hears  is told of each line that a process says
    """

    def __init__(
        self,
        tasks: TaskGroup,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        inherits: Sequence[int],
        hears: Callable[[WorkerRun, str], None],
    ) -> None:
        super().__init__("worker", command)
        self._tasks = tasks
        self._environment = environment
        self._inherits = inherits
        self._hears = hears
        self._reserve: WorkerRun | None = None

    @property
    def run(self) -> WorkerRun:
        run = self._runs[-1]
        assert isinstance(run, WorkerRun)
        return run

    @property
    def is_anything_left(self) -> bool:
        return super().is_anything_left or (self._reserve is not None and self._reserve.is_running)

    def start(self) -> None:
        """Give the script to the process in reserve, and tell the last one to end.

        The two share a socket: connections that nobody accepted yet wait for the new one. If that one has not begun to
        read the project, it will read what there is then, and nothing has to be done.
        """
        if self._runs and self.run.is_running and not self.run.has_gone:
            return
        if self._reserve is not None and self._reserve.is_running:
            run = self._reserve
            self._succeed(run)
        else:
            run = self._launch([])
            self._succeed(run)
        self._reserve = None
        run.go()
        for oldest in [one for one in self._runs[:-1] if one.is_running][:-MOST_DRAINING]:
            oldest.tell(signal.SIGTERM)

    def keep_reserve(self) -> None:
        """Have a process in reserve, with what the present one has imported of installed packages."""
        if self._reserve is None or not self._reserve.is_running:
            self._reserve = self._launch([*WANTED_LATER, *self.run.modules])

    def _launch(self, modules: Sequence[str]) -> WorkerRun:
        run = WorkerRun(self._command, environment=self._environment, inherits=self._inherits)
        run.channel.tell(f"preload {json.dumps(list(modules))}")
        self._tasks.start_soon(self._listen, run)
        return run

    async def _listen(self, run: WorkerRun) -> None:
        try:
            async for line in run.channel.lines():
                run.hear(line)
                self._hears(run, line)
        finally:
            run.channel.close()
            run.has_outcome.set()
            self._hears(run, "ended")

    def retire(self) -> None:
        super().retire()
        if self._reserve is not None:
            self._reserve.tell(signal.SIGKILL)  # it has nothing to finish
