"""`cfai dev` on a terminal: keys, prompts of a script, colours, and what is left of it all."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.cli.dev import HELLO, save

ASKING = """\
from workers import Response

def on_fetch(request, env):
    answer = 41
    if request.url.endswith("/stop"):
        breakpoint()
    if request.url.endswith("/ask"):
        return Response("hello " + input("who are you? "))
    return Response(str(answer))
"""


class Terminal:
    """A terminal with `cfai dev` in it."""

    def __init__(self, project: Path, temporary: Path, *, columns: int, **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.before = termios.tcgetattr(self._theirs)
        given = {**os.environ, "TMPDIR": str(temporary), "TERM": "xterm", **environment}
        given.pop("COLUMNS", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cfai", "dev", str(project), "--port", "0"],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=given,
        )
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character

    def until(self, text: str) -> str:
        """What is on the screen until `text`, which is the last of it."""
        ends_at = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < ends_at, self.seen
            self.seen += self._decoder.decode(os.read(self._ours, 65536))
        end = self.seen.index(text) + len(text)
        found, self.seen = self.seen[:end], self.seen[end:]
        return found

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    @property
    def modes(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def ends(self) -> int:
        return self._process.wait(30)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(project: Path, temporary: Path) -> Iterator[Terminal]:
    (project / "entry.py").write_text(ASKING)
    opened = Terminal(project, temporary, columns=100)
    yield opened
    opened.close()


def address_in(screen: str) -> str:
    return f"http://localhost:{re.findall(r'localhost:([0-9]+)', screen)[-1]}"


class Asking(threading.Thread):
    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.answer = ""
        self.start()

    def run(self) -> None:
        with contextlib.suppress(httpx2.HTTPError):  # it may not be answered
            self.answer = httpx2.get(self._url, timeout=60).text


def test_a_script_stops_in_the_debugger_and_asks(terminal: Terminal, project: Path) -> None:
    screen = terminal.until("Ready on") + terminal.until("\r\n")
    assert "│  [b] open a browser [c] clear console [x] to exit  │" in screen
    assert "\x1b[32m[wrangler:info]\x1b[0m Ready on" in screen
    address = address_in(screen)

    stopped = Asking(f"{address}/stop")
    terminal.until("(Pdb) ")
    # A key is not a command to cfai now: x is the debugger's.
    terminal.type("x = answer\n")
    terminal.until("(Pdb) ")
    terminal.type("answer = x + 1\n")
    terminal.until("(Pdb) ")
    # A save waits, so that the debugger is not taken away from under one's hands.
    save(project / "entry.py", ASKING.replace("41", "1"))
    terminal.until("⎔ Reloading when the script has let go of the terminal")
    terminal.type("c\n")
    stopped.join(30)
    assert stopped.answer == "42"
    terminal.until("updated and ready")
    assert httpx2.get(address, timeout=30).text == "1"

    asked = Asking(f"{address}/ask")
    terminal.until("who are you? ")
    terminal.type("Ada\n")
    asked.join(30)
    assert asked.answer == "hello Ada"
    terminal.until("/ask")

    save(project / "entry.py", f"from js import console\nconsole.warn('careful')\n{ASKING}")
    terminal.until("\x1b[33mcareful\x1b[0m\r\n")
    terminal.until("updated and ready")
    save(project / "entry.py", "from js import console\nconsole.error('ouch')\n1 / 0\n")
    terminal.until("\x1b[31mouch\x1b[0m\r\n")
    terminal.until("\x1b[31mZeroDivisionError: division by zero\x1b[0m\r\n")
    terminal.until("\x1b[31m⎔ Reload failed\x1b[0m\r\n")

    terminal.type("c")
    terminal.until("\x1b[2J")
    terminal.type("x")
    terminal.until("Shutting down")
    assert terminal.ends() == 0
    assert terminal.modes == terminal.before


def test_ctrl_c_at_the_debugger_ends_it_and_gives_the_terminal_back(terminal: Terminal) -> None:
    Asking(f"{address_in(terminal.until('Ready on') + terminal.until(chr(10)))}/stop")
    terminal.until("(Pdb) ")
    terminal.type("\x03")
    assert terminal.ends() == 0
    assert terminal.modes == terminal.before


def test_a_narrow_terminal_and_no_colours(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text(f"from js import console\nconsole.error('ouch')\n{HELLO}")
    (project / ".dev.vars").write_text("A_SECRET_OF_A_LONG_NAME=x\n")
    terminal = Terminal(project, temporary, columns=60, NO_COLOR="1")
    try:
        screen = terminal.until("Ready on")
        assert '\r\n  "(hidden)"\r\n' in screen
        assert max(map(len, screen.split("Your Worker")[1].splitlines()[1:-3])) <= 60
        assert "\r\nouch\r\n" in screen
        assert "\x1b[" not in screen
        terminal.type("q")
        assert terminal.ends() == 0
    finally:
        terminal.close()
