"""The README's examples, run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

AI = 'compatibility_flags = ["python_workers"]\n[ai]\nbinding = "AI"\n'
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


def test_the_lines_of_a_test_pass_on_the_lines_of_a_worker(tmp_path: Path) -> None:
    test, script = (next(block for block in blocks("python") if what in block) for what in ("def test_", "workers"))
    (tmp_path / "wrangler.toml").write_text(f'main = "entry.py"\ncompatibility_date = "{date.today()}"\n{AI}')
    (tmp_path / "entry.py").write_text(script)
    (tmp_path / "test_entry.py").write_text(test)
    plugins = ["-pno:cacheprovider", "-pno:langsmith_plugin", "-pno:asyncio", "-pno:cfai", "-pcfai.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-oanyio_mode=auto", *plugins]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


def test_there_are_two_commands_to_set_up() -> None:
    setup = README.partition("## Set up")[2].partition("## From Python")[0]
    assert len(re.findall(r"```sh\n", setup)) == 2
    ci = (Path(__file__).parents[1] / ".ci" / "run").read_text("utf-8")
    install, _, test = re.findall(r"```sh\n(.*?)\n```", setup, re.DOTALL)[1].partition(" && ")
    assert install.replace("pip install", "pip install -q") in ci
    assert f"\n{test}\n" in ci
