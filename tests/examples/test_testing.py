"""examples/testing: the same Worker tested with mocks and with none, and what the mocks hide."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "testing"
PLUGINS = [f"-p{name}" for name in ("no:cacheprovider", "no:langsmith_plugin", "no:asyncio", "no:cfai")]
FOUND = {
    "test_a_busy_model_is_asked_again",
    "test_half_an_answer_is_kept_for_nobody[timeout-in-stream:3]",
    "test_half_an_answer_is_kept_for_nobody[no-done]",
    "test_a_character_may_come_in_two_chunks",
}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project without mocks, in a folder that may be written to."""
    return shutil.copytree(EXAMPLE / "after", tmp_path / "after")


def outcomes(folder: Path, *options: str) -> dict[str, str]:
    """How each test of a project ends, by its name."""
    command = [sys.executable, "-m", "pytest", "-rA", "-q", *PLUGINS, *options]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    ended = re.findall(r"^(PASSED|FAILED|ERROR) \S+?::(\S+)", said, re.MULTILINE)
    found = {re.sub(r"\[asyncio\]|asyncio-", "", name): outcome for outcome, name in ended}
    assert found, said
    return found


def names(of: dict[str, str], outcome: str) -> set[str]:
    return {name for name, ended in of.items() if ended == outcome}


def test_with_mocks_all_is_well(tmp_path: Path) -> None:
    before = shutil.copytree(EXAMPLE / "before", tmp_path / "before")
    assert set(outcomes(before).values()) == {"PASSED"}


def test_without_mocks_the_same_script_is_found_to_have_three_bugs(project: Path) -> None:
    shutil.copy(EXAMPLE / "before" / "src" / "entry.py", project / "src" / "entry.py")
    ended = outcomes(project, "-pcfai.pytest_plugin")
    assert names(ended, "FAILED") == FOUND
    assert names(ended, "ERROR") == set()
    assert len(names(ended, "PASSED")) == 5


def test_without_mocks_the_mended_script_passes(project: Path) -> None:
    ended = outcomes(project, "-pcfai.pytest_plugin")
    assert set(ended.values()) == {"PASSED"}
    assert ended.keys() > FOUND


def test_every_claim_of_the_mocks_is_made_without_them_in_fewer_lines() -> None:
    suites = {name: sorted((EXAMPLE / name / "tests").glob("*.py")) for name in ("before", "after")}
    text = {name: "".join(file.read_text() for file in files) for name, files in suites.items()}
    lines = {name: len(suite.splitlines()) for name, suite in text.items()}
    assert lines["after"] < lines["before"] / 2
    readme = (EXAMPLE / "README.md").read_text("utf-8")
    assert all(f"{count} lines" in readme for count in lines.values())
    assert len(re.findall("def test_", text["after"])) > len(re.findall("def test_", text["before"]))
    assert "Mock" not in text["after"]
    assert "sys.modules" not in text["after"]
