"""`cfai top`: frames for a script, frames in a pipe, and the live view on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from typer.testing import CliRunner, Result

from cfai.cli import app
from cfai.metrics import ModelMetrics
from cfai.server.app import binding_app, rest_app
from tests.measured import MODEL, Measured, busy_model
from tests.serving import serving


async def cfai(*arguments: str, columns: int = 80) -> Result:
    """Run a command in a thread, so that the test's loop can answer it."""
    invoke = partial(CliRunner(env={"COLUMNS": str(columns)}).invoke, app, arguments)
    return await to_thread.run_sync(invoke)


class Working(Measured):
    """A model that makes ten tokens, 1.25 milliseconds apart, between any two looks at it."""

    def __init__(self, **changed: Any) -> None:
        super().__init__({MODEL: busy_model(**changed)})
        self.metrics = ModelMetrics()

    def stats(self) -> dict[str, Any]:
        request = self.metrics.request(prompt_tokens=10, now=0.0)
        request.admitted(0.01, cached_tokens=5)
        for token in range(10):
            request.tokens(0.03 + token * 0.00125)
        request.finished(0.05)
        self.models = {MODEL: {**self.models[MODEL], "metrics": self.metrics.snapshot()}}
        return super().stats()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with serving(rest_app(Working())) as address:
        yield address


async def test_one_frame(address: str) -> None:
    result = await cfai("top", "--once", "--interval", "0.1", "--url", address)
    assert result.exit_code == 0
    title, now, requests, empty, groups, names, model, figures = result.stdout.splitlines()
    assert title.startswith("cfai ")
    assert f"at {address}, up " in title
    assert now.startswith("1 running, 2 waiting, tokens/s ")
    assert requests == "requests so far: 2 finished, 0 stopped, 0 failed, 0 refused"
    assert empty.strip() == ""
    assert groups.split() == ["tokens/s", "first", "token", "between", "tokens", "cache"]
    assert names.split() == ["running", "waiting", "in", "out", "p50", "p99", "p50", "p99", "use", "hits"]
    assert model == f"{MODEL}  cpu float32  1.0 MB  continuous"
    running, waiting, _in, _out, *rest = figures.split()
    assert (running, waiting) == ("1/4", "2/32")
    assert " ".join(rest) == "30 ms 40 ms 1.2 ms 1.5 ms 25% 50%"


async def test_tokens_per_second_are_those_between_two_looks(address: str) -> None:
    began = time.monotonic()
    result = await cfai("top", "--once", "--interval", "0.5", "--url", address)
    took = time.monotonic() - began  # no less than what is between the two looks
    _, _, tokens_in, tokens_out, *_ = result.stdout.splitlines()[-1].split()
    assert round(10 / took, 1) <= float(tokens_in) <= 20
    assert tokens_in == tokens_out


async def test_a_wide_terminal_shows_more_and_a_narrow_one_less(address: str) -> None:
    wide = await cfai("top", "--once", "--interval", "0.1", "--url", address, columns=120)
    narrow = await cfai("top", "--once", "--interval", "0.1", "--url", address, columns=40)
    assert wide.stdout.splitlines()[5].split()[10:] == ["p99", "p50", "finished"]
    assert " running waiting     in    out      p50" in narrow.stdout.splitlines()
    for result, width in ((wide, 120), (narrow, 40)):
        assert max(map(len, result.stdout.splitlines())) <= width


async def test_a_model_that_says_little() -> None:
    async with serving(rest_app(Measured({MODEL: {"running": 0}}))) as address:
        result = await cfai("top", "--once", "--interval", "0.1", "--url", address)
    assert result.stdout.splitlines()[-2:] == [
        f"{MODEL}  loading",
        "       0              -      -        -       -        -       -      -     -",
    ]


async def test_the_reason_for_one_at_a_time_is_told() -> None:
    async with serving(rest_app(Working(batching="one at a time: its layers keep a state"))) as address:
        result = await cfai("top", "--once", "--interval", "0.1", "--url", address)
    assert "one at a time: its layers keep a state" in " ".join(result.stdout.split())


async def test_no_model_yet() -> None:
    async with serving(rest_app(Measured({}))) as address:
        result = await cfai("top", "--once", "--interval", "0.1", "--url", address)
    assert "no model is loaded" in result.stdout
    assert "0 running, 0 waiting, tokens/s - in, - out" in result.stdout


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cfai", "top", "--interval", "0.1", *arguments]


async def test_a_pipe_gets_frame_after_frame(address: str) -> None:
    def read() -> list[str]:
        with subprocess.Popen(command("--url", address), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(30)]
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            assert process.wait(60) == 0
        return lines

    lines = await to_thread.run_sync(read)
    assert sum(line.startswith("cfai ") for line in lines) >= 3
    assert not any("\x1b" in line for line in lines)


async def test_a_reader_who_has_seen_enough_ends_it_quietly(address: str) -> None:
    line = f"{' '.join(command('--url', address))} | head -n 1"
    out = await to_thread.run_sync(
        partial(subprocess.run, line, shell=True, capture_output=True, text=True, check=False, timeout=60)
    )
    assert out.stdout.startswith("cfai ")
    assert out.stderr == ""


class Terminal:
    """`cfai top` on a terminal of 80 columns."""

    def __init__(self, *arguments: str, has_keys: bool = True) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            command(*arguments),
            stdin=theirs if has_keys else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            close_fds=True,
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, holds: Callable[[str], bool]) -> None:
        """Read until `holds` is true of what came since the last call."""
        self.seen = ""
        while not holds(self.seen):
            chunk = self._read()
            assert chunk, f"it ended: {self.seen}"
            self.seen += chunk

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def end(self) -> int:
        """Its exit status."""
        while self._read():
            pass
        return self.process.wait(60)

    def _read(self) -> str:
        """What comes next; empty at the end."""
        is_there, _, _ = select.select([self._ours], [], [], 60)
        assert is_there, f"nothing came any more: {self.seen}"
        try:
            return os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # Linux's way to say that nobody has the other end any more
            return ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminals() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*arguments: str, has_keys: bool = True) -> Terminal:
        opened.append(Terminal(*arguments, has_keys=has_keys))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("leave", ["q", "\x1b", signal.SIGINT])
async def test_q_and_ctrl_c_leave_the_live_view(
    address: str, terminals: Callable[..., Terminal], leave: str | signal.Signals
) -> None:
    def look() -> int:
        terminal = terminals("--url", address)
        terminal.read_until(lambda seen: seen.count("q leaves") >= 2)
        assert "\x1b[?1049h" in terminal.seen, "a screen of its own"
        assert MODEL in terminal.seen
        if isinstance(leave, str):
            terminal.press(leave)
        else:
            terminal.process.send_signal(leave)
        return terminal.end()

    assert await to_thread.run_sync(look) == 0


async def test_a_terminal_without_keys_is_left_by_ctrl_c(address: str, terminals: Callable[..., Terminal]) -> None:
    def look() -> int:
        terminal = terminals("--url", address, has_keys=False)
        terminal.read_until(lambda seen: seen.count("q leaves") >= 2)
        terminal.process.send_signal(signal.SIGINT)
        return terminal.end()

    assert await to_thread.run_sync(look) == 0


async def test_a_server_that_goes_and_comes_back(tmp_path: Path, terminals: Callable[..., Terminal]) -> None:
    socket = tmp_path / "ai.sock"
    async with serving(binding_app(Working()), unix_socket=socket):
        terminal = terminals("--socket", str(socket))
        await to_thread.run_sync(terminal.read_until, lambda seen: MODEL in seen)
    await to_thread.run_sync(terminal.read_until, lambda seen: "trying again" in seen)
    assert "no server answers at" in terminal.seen
    async with serving(binding_app(Working()), unix_socket=socket):
        await to_thread.run_sync(terminal.read_until, lambda seen: "q leaves" in seen)
        terminal.press("q")
        assert await to_thread.run_sync(terminal.end) == 0
