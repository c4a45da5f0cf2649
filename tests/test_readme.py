"""The README's examples, run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_lines_of_python_stream_the_answer() -> None:
    code = next(block for block in blocks("python") if "anyio.run" in block)
    assert len(list(filter(None, code.splitlines()))) <= 8
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = out.stdout.splitlines()
    assert lines[0] == r"""b'data: {"response":"New"}\n\n'"""
    assert lines[1] == r"""b'data: {"response":" York"}\n\n'"""
    assert lines[-1] == r"""b'data: [DONE]\n\n'"""


def test_there_are_two_commands_to_set_up() -> None:
    setup = README.partition("## Set up")[2].partition("## From Python")[0]
    assert len(re.findall(r"```sh\n", setup)) == 2
    ci = (Path(__file__).parents[1] / ".ci" / "run").read_text("utf-8")
    install, _, test = re.findall(r"```sh\n(.*?)\n```", setup, re.DOTALL)[1].partition(" && ")
    assert install.replace("pip install", "pip install -q") in ci
    assert f"\n{test}\n" in ci
