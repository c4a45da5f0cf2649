"""docs/testing.md, run as it is written: its modules of tests in one pytest run, its scripts, its terminal sessions.

Each ```python block is a whole module: one of tests if it defines any, otherwise a script. A block whose line before
names a file, as in "`src/entry.py`:", is that file of the project that the tests are run in. In ```console blocks a
line that begins with `$` is run, one that ends in `&` beside the others; what stands below a line is what it prints,
`...` for any text.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.pages import Block, blocks_of, write_project
from tests.ports import kept_port
from tests.processes import Process

PAGE = Path(__file__).parents[1] / "docs" / "testing.md"
BLOCKS = blocks_of(PAGE)
PLUGINS = [f"-p{name}" for name in ("no:cacheprovider", "no:langsmith_plugin", "no:cfai", "cfai.pytest_plugin")]
LISTENS = re.compile(r"127\.0\.0\.1:(\d+)|localhost:(\d+)")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_project(BLOCKS, root)
    return root


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_its_tests_pass(project: Path) -> None:
    ended = run(sys.executable, "-m", "pytest", "-q", "-rsx", *PLUGINS, "-pno:asyncio", "-Werror", cwd=project)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"\d+ passed", ended.stdout)
    # A Worker runs on asyncio; on trio, its tests are skipped.
    for line in re.findall(r"^(?:SKIPPED|XFAIL).*", ended.stdout, re.MULTILINE):
        assert "trio" in line, ended.stdout


SCRIPTS = [block for block in BLOCKS if block.language == "python" and not block.file and not block.has_tests]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda block: block.name)
def test_its_script_runs(script: Block, project: Path) -> None:
    ended = run(sys.executable, "-Werror", "-c", script.text, cwd=project)
    assert ended.returncode == 0, ended.stderr


SESSIONS = [block for block in BLOCKS if block.language == "console"]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda block: block.name)
def test_its_terminal_session_goes_as_shown(session: Block, project: Path) -> None:
    with ExitStack() as running:
        ports: dict[str, str] = {}
        for line, shown in steps(session.text):
            command = shlex.split(with_ports(line, ports), comments=True)
            if command[-1] == "&":
                running.enter_context(beside(command[:-1], project, ports))
            else:
                ended = run(*program(command), cwd=project)
                output = ended.stdout + ended.stderr
                assert fits(with_ports(shown, ports), output), f"{line}\n{output}"


def steps(session: str) -> Iterator[tuple[str, str]]:
    for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        line, _, shown = step.replace("\\\n", "").partition("\n")
        yield line, shown


def program(command: list[str]) -> list[str]:
    match command:
        case ["cfai", *arguments]:
            return [sys.executable, "-m", "cfai", *arguments]
        case ["pytest", *arguments]:
            return [sys.executable, "-m", "pytest", *PLUGINS, *arguments]
    return command


@contextmanager
def beside(command: list[str], project: Path, ports: dict[str, str]) -> Iterator[None]:
    """A server of the session. It listens on a port that is free, which the session's other lines then mean."""
    name, *arguments = command
    assert name == "cfai", f"only cfai's own servers are run beside a session, not {name}"
    usual = "8788" if arguments[0] == "serve" else "8787"
    with kept_port() as port, Process(*arguments, f"--port={port}", cwd=project) as server:
        ports[usual] = str(port)
        server.read_until(f":{ports[usual]}")
        yield


def with_ports(text: str, ports: dict[str, str]) -> str:
    return LISTENS.sub(lambda found: found[0].replace(port := found[0].rpartition(":")[2], ports.get(port, port)), text)


def fits(shown: str, output: str) -> bool:
    """Whether the output is what is shown, apart from white space at the ends."""
    pattern = re.escape(shown.strip()).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None
