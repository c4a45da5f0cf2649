"""What is said where a package is not installed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cfai import packages

ROOT = Path(__file__).parents[1]
HIDE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""
COMMAND = "import runpy; sys.argv[1:] = {}; runpy.run_module('cfai', run_name='__main__')"


def without(*hidden: str, code: str) -> subprocess.CompletedProcess[str]:
    """A program in an interpreter that lacks these packages."""
    program = HIDE.format(hidden=set(hidden)) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_the_lists_are_the_dependencies_of_cfai() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[<>=;\[ ]", needed)[0].replace("-", "_") for needed in project["dependencies"]}
    assert {*packages.COMMAND_LINE, *packages.MODELS} == names - {
        "typing_extensions",  # which anyio and starlette bring
        "h11",  # which uvicorn brings
    }


@pytest.mark.parametrize("package", ["typer", "rich", "anyio"])
def test_a_command_says_in_one_sentence_which_package_it_lacks(package: str) -> None:
    ended = without(package, code=COMMAND.format(["doctor", "--help"]))
    assert (ended.returncode, ended.stderr) == (
        1,
        f"error: this needs {package}, which is not installed\ntry: pip install {package}\n",
    )


def test_a_command_without_a_models_packages_names_them() -> None:
    ended = without("torch", code=COMMAND.format(["run", "@cfai/demo/tiny-chat", "hi"]))
    assert "Traceback" not in ended.stderr
    assert "a model cannot run here: this needs torch, which is not installed\ntry: pip install torch\n" in ended.stderr


def test_other_modules_are_not_explained() -> None:
    assert packages.problem_of(ModuleNotFoundError("No module named 'mine'", name="mine")) is None


def test_a_test_of_a_worker_names_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(worker):\n    pass\n")
    options = [str(tmp_path), "-pno:cacheprovider", "-pno:cfai", "-pcfai.pytest_plugin", f"--rootdir={tmp_path}"]
    ended = without("greenlet", "httpx2", code=f"import pytest; sys.exit(pytest.main({options}))")
    needed = "the fixtures worker and env need greenlet and httpx2, not installed here: pip install greenlet httpx2"
    assert needed in ended.stdout
    assert "Traceback" not in ended.stdout
