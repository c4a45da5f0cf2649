"""`cfai fuzz --run` with parsers in JavaScript: those of the field read everything, what people paste does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.clients.node import HERE, installed, needs_node

pytestmark = [needs_node, pytest.mark.timeout(400)]


def fuzz(reader: str, *options: str) -> tuple[int, str]:
    installed(HERE)
    command = f"node {HERE / 'javascript' / 'fuzzed.mjs'} {reader}"
    done = subprocess.run(
        [sys.executable, "-m", "cfai", "fuzz", "--run", command, *options], capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("reader", ["eventsource", "openai"])
def test_parsers_of_the_field_read_what_is_cut_and_written_in_any_way(reader: str) -> None:
    names = ["emoji", "production", "keep-alive", "CRLF", "byte order mark", "many lines"]
    streams = [option for name in names for option in ("--stream", name)]
    code, told = fuzz(reader, "--level", "standard", "--limit", "36", *streams)
    assert (code, told.splitlines()[-1]) == (0, "6 tried in 36 runs, none read wrongly")


def test_the_lines_that_people_paste_break_at_a_cut() -> None:
    code, told = fuzz("pasted", "--stream", "plain")
    assert code == 1
    assert "1 read wrongly" in told
    assert "perhaps   a cut may go through a line" in told
