"""docs/testing.md, run as it is written: its modules of tests in one pytest run, its scripts, its terminal sessions.

Each ```python block is a whole module: one of tests if it defines any, otherwise a script. A block whose line before
names a file, as in "`src/entry.py`:", is that file of the project that the tests are run in. In ```console blocks a
line that begins with `$` is run; what stands below it is what it prints, `...` for any text.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "testing.md"


@dataclass(frozen=True)
class Block:
    language: str
    section: str
    file: str | None
    text: str
    line: int

    @property
    def name(self) -> str:
        return f"{re.sub(r'[^a-z]+', '_', self.section.lower()).strip('_')}_{self.line}"

    @property
    def has_tests(self) -> bool:
        return re.search(r"^\s*(async )?def test_|^@given|^class Test", self.text, re.MULTILINE) is not None


HEADING_OR_BLOCK = re.compile(r"^#+ ([^\n]*)$|^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMES_A_FILE = re.compile(r"`([\w./-]+\.\w+)`[^`\n]*:\n\n\Z")


@cache
def blocks() -> list[Block]:
    text = PAGE.read_text("utf-8")
    found: list[Block] = []
    section = ""
    for match in HEADING_OR_BLOCK.finditer(text):
        heading, language, code = match.groups()
        if heading is not None:
            section = heading
            continue
        before = text[: match.start()]
        named = NAMES_A_FILE.search(before)
        found.append(Block(language, section, named[1] if named else None, code, before.count("\n") + 1))
    return found


def python_blocks(*, tests: bool) -> list[Block]:
    return [block for block in blocks() if block.language == "python" and not block.file and block.has_tests is tests]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the files that the page names, and its modules of tests."""
    root = tmp_path_factory.mktemp("project")
    for block in blocks():
        if block.file is not None:
            file = root / block.file
            assert not file.exists(), f"docs/testing.md:{block.line} names {block.file} a second time"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, "utf-8")
    tests = root / "tests"
    tests.mkdir(exist_ok=True)
    for block in python_blocks(tests=True):
        (tests / f"test_{block.name}.py").write_text(block.text, "utf-8")
    return root


def test_its_tests_pass(project: Path) -> None:
    plugins = ["no:cacheprovider", "no:langsmith_plugin", "no:asyncio", "no:cfai"]
    if importlib.util.find_spec("cfai.pytest_plugin"):
        plugins.append("cfai.pytest_plugin")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *(f"-p{name}" for name in plugins)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\d+ passed", run.stdout)
    assert not re.search(r"skipped|xfailed", run.stdout), run.stdout


@pytest.mark.parametrize("script", python_blocks(tests=False), ids=lambda block: block.name)
def test_its_script_runs(script: Block, project: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script.text], cwd=project, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
