"""`cfai types`: what editors and type checkers then know of a Worker's env."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app

CONFIG = """\
name = "typed"
main = "src/entry.py"
compatibility_date = "2026-06-01"
compatibility_flags = ["python_workers"]
vars = { URL = "x", COUNT = 3, RATIO = 0.5, ON = true, FLAGS = { beta = true }, LIST = [1], "not-a-name" = "x" }
ai = { binding = "THINK" }
kv_namespaces = [{ binding = "KV" }]
d1_databases = [{ binding = "DB" }]
r2_buckets = [{ binding = "FILES", bucket_name = "x" }]
[env.staging]
vars = { COUNT = "three", ONLY = "here" }
"""

SCRIPT = """\
from js import Headers
from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint

MODEL = "@cf/meta/llama-3.2-1b-instruct"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        reveal_type(await self.env.THINK.run("@cf/meta/llama-3.2-1b-instruct", {"prompt": "hi"}))
        reveal_type(await self.env.THINK.run("@cf/meta/llama-3.2-1b-instruct", {"prompt": "hi", "stream": True}))
        reveal_type(await self.env.THINK.run(MODEL, to_js({"prompt": "hi"})))
        reveal_type(await self.env.DB.prepare("select 1").bind(1).all())
        reveal_type(self.env.KV)
        reveal_type(self.env.COUNT)
        reveal_type(self.env.FLAGS.beta)
        reveal_type(Headers.new())
        self.env.THINKK
        return Response("x", headers={"a": "b"})
"""

REVEALED = [
    (10, "AiResult"),
    (11, "ReadableStream"),
    (12, "Any"),
    (13, "D1Result"),
    (14, "KVNamespace"),
    (15, "int | str"),
    (16, "Any"),
    (17, "Headers"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "entry.py").write_text(SCRIPT)
    (tmp_path / "wrangler.toml").write_text(CONFIG)
    return tmp_path


def types(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["types", *map(str, arguments)])


def test_mypy_knows_what_env_has(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.mypy]\nmypy_path = "typings"\ncheck_untyped_defs = true\n')
    types(project)
    command = [sys.executable, "-m", "mypy", "--cache-dir", "/dev/null", "src/entry.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    for line, kind in REVEALED:
        shown = next(one for one in done.stdout.splitlines() if one.startswith(f"src/entry.py:{line}: note"))
        for part in kind.split(" | "):
            assert part in shown.rpartition('"')[0], shown
    assert 'src/entry.py:18: error: "Env" has no attribute "THINKK"; maybe "THINK"?' in done.stdout
    assert "Found 1 error in 1 file" in done.stdout


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_knows_it_and_the_request(project: Path) -> None:
    script = project / "src" / "entry.py"
    script.write_text(script.read_text().replace("        return", "        reveal_type(request)\n        return"))
    (project / "pyproject.toml").write_text("[tool.pyright]\nreportMissingModuleSource = false\n")
    types(project)
    done = subprocess.run(["pyright", "src/entry.py"], cwd=project, capture_output=True, text=True, check=False)
    for line, kind in [*REVEALED, (19, "Request")]:
        shown = next(one for one in done.stdout.splitlines() if f"entry.py:{line}:" in one and "information" in one)
        assert shown.endswith(f'is "{kind}"') or (kind == "Any" and "Unknown" in shown), shown
    assert "1 error, 0 warnings" in done.stdout


def test_env_has_what_any_environment_gives_it(project: Path) -> None:
    told = types(project)
    assert told.exit_code == 0
    env = (project / "typings" / "workers" / "_env.pyi").read_text()
    assert env.split("class Env:\n")[1].split() == [
        "THINK:",
        "Ai",
        "KV:",
        "KVNamespace",
        "DB:",
        "D1Database",
        "URL:",
        "str",
        "COUNT:",
        "int",
        "|",
        "str",
        "RATIO:",
        "float",
        "ON:",
        "bool",
        "FLAGS:",
        "JsObject",
        "LIST:",
        "JsArray",
        "FILES:",
        "Any",
        "ONLY:",
        "str",
        "_env:",
        "Env",
    ]
    assert '[tool.mypy]\n  mypy_path = "typings"\n  check_untyped_defs = true\n' in told.stdout
    types(project, "--env", "staging")
    env = (project / "typings" / "workers" / "_env.pyi").read_text()
    assert env.split("class Env:\n")[1].split() == ["COUNT:", "str", "ONLY:", "str", "_env:", "Env"]


def test_check_says_what_is_out_of_date(project: Path) -> None:
    assert types(project, "--check").exit_code == 1
    assert not (project / "typings").exists()
    types(project)
    assert types(project, "--check").exit_code == 0
    (project / "wrangler.toml").write_text(CONFIG.replace("THINK", "AI"))
    stale = types(project, "--check")
    assert (stale.exit_code, stale.stdout) == (1, "typings is out of date: _env.pyi; run `cfai types`\n")


def test_stubs_of_ones_own_stay(project: Path) -> None:
    (project / "typings").mkdir()
    (project / "typings" / "js.pyi").write_text("mine: int\n")
    refused = types(project)
    assert refused.exit_code == 2
    assert "js.pyi is not from cfai types" in refused.stderr
    assert (project / "typings" / "js.pyi").read_text() == "mine: int\n"
    assert not (project / "typings" / "workers").exists()
    assert types(project, "--into", "stubs").exit_code == 0


def test_what_pyproject_has_already_is_not_told_again(project: Path) -> None:
    mypy = '[tool.mypy]\nmypy_path = "typings"\ncheck_untyped_defs = true\n'
    (project / "pyproject.toml").write_text(f"{mypy}[tool.pyright]\nreportMissingModuleSource = false\n")
    assert types(project).stdout.endswith("Pyright, VS Code and mypy find them in this folder.\n")


def test_a_config_that_cannot_be_read(project: Path) -> None:
    (project / "wrangler.toml").write_text("main = 7")
    refused = types(project)
    assert (refused.exit_code, "wrangler.toml:1:" in refused.stderr) == (2, True)
