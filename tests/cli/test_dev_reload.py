"""What reloads a Worker under `cfai dev`, and what does not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from tests.cli.dev import HELLO, address_of, children_of, configure, dev, engine_of, is_alive, save, wait_for
from tests.processes import Process

READING = """\
import json
from pathlib import Path
import shared
from workers import Response

HERE = Path(__file__).parent

def on_fetch(request, env):
    (HERE / "log.txt").write_text(request.url)
    (HERE / "out.json").write_text("{}")
    return Response(f"{shared.NAME} {(HERE / 'prompt.tmpl').read_text()}")
"""


def answers(address: str, text: str) -> Callable[[], bool]:
    return lambda: httpx2.get(address, timeout=60).text == text


def reloads(process: Process) -> None:
    process.read_until("⎔ Reloading local server...")
    process.read_until("updated and ready")


def next_pair(process: Process, last: set[int]) -> set[int]:
    """The process that answers, which was in reserve in the `last` pair, and the next one in reserve."""
    found: set[int] = set()

    def is_there() -> bool:
        nonlocal found
        found = set(children_of(process))
        return len(found) == 2 and len(found - last) == (1 if last else 2)

    wait_for(is_there)
    return found


def test_the_one_in_reserve_has_imported_what_the_script_will(project: Path, temporary: Path) -> None:
    script = "import sys\n\nWAS_THERE = 'wave' in sys.modules\nimport wave\n" + HELLO.replace(
        "'hello'", "f'{WAS_THERE} 0'"
    )
    (project / "entry.py").write_text(script)
    configure(project, ai=None)
    with dev(project, temporary) as process:
        address = address_of(process)
        assert httpx2.get(address, timeout=60).text == "False 0"
        pair: set[int] = set()
        for number in range(1, 5):
            pair = next_pair(process, pair)
            save(project / "entry.py", script.replace(" 0'", f" {number}'"))
            reloads(process)
            assert httpx2.get(address, timeout=60).text == f"True {number}"


def test_what_a_script_reads_reloads_it_and_what_it_writes_does_not(project: Path, temporary: Path) -> None:
    shared = project.parent / "packages"
    shared.mkdir()
    (shared / "shared.py").write_text("NAME = 'one'\n")
    (project / "entry.py").write_text(f"import sys\nsys.path.append({str(shared)!r})\n{READING}")
    (project / "prompt.tmpl").write_text("first")
    noise = (".wrangler/a.json", "node_modules/b.js", "__pycache__/c.py", "venv/lib/d.py", "entry.py~", ".#entry.py")
    for name in noise:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / "venv" / "pyvenv.cfg").touch()
    with dev(project, temporary) as process:
        address = address_of(process)
        assert httpx2.get(address, timeout=60).text == "one first"
        # Tools' folders, an editor's file beside the one that it edits, and what the script writes itself.
        for name in noise:
            (project / name).write_text("{}")
        assert httpx2.get(address, timeout=60).text == "one first"
        time.sleep(0.5)
        httpx2.get(f"{address}/sentinel", timeout=60)
        assert "Reloading" not in process.lines_until("/sentinel")

        save(project / "prompt.tmpl", "second")
        reloads(process)
        assert httpx2.get(address, timeout=60).text == "one second"
        save(shared / "shared.py", "NAME = 'two'\n")
        reloads(process)
        assert httpx2.get(address, timeout=60).text == "two second"

        # A folder that comes later counts as well.
        (project / "lib").mkdir()
        save(project / "lib" / "more.py", "NAME = 'more'\n")
        source = (project / "entry.py").read_text()
        save(project / "entry.py", source.replace("import shared", "import lib.more as shared"))
        wait_for(answers(address, "more second"))
        time.sleep(0.5)
        save(project / "lib" / "more.py", "NAME = 'most'\n")
        wait_for(answers(address, "most second"))


def test_assets_change_without_a_reload(project: Path, temporary: Path) -> None:
    public = project / "public"
    public.mkdir()
    (public / "page.html").write_text("one")
    configure(project, assets={"directory": "public"})
    with dev(project, temporary) as process:
        address = address_of(process)
        assert httpx2.get(f"{address}/page", timeout=60).text == "one"
        (public / "page.html").write_text("two")
        (public / "other.html").write_text("three")
        assert httpx2.get(f"{address}/page", timeout=60).text == "two"
        assert httpx2.get(f"{address}/other", timeout=60).text == "three"
        time.sleep(0.5)
        assert process.end(signal.SIGINT) == 0
        assert "Reloading" not in process.rest


def test_a_project_without_ai_has_no_engine_until_it_wants_one(project: Path, temporary: Path) -> None:
    config = project / "wrangler.json"
    configure(project)
    config.write_text(config.read_text().replace('"ai": {"binding": "AI"}', '"vars": {}'))
    with dev(project, temporary) as process:
        address = address_of(process)
        # The worker, then one in reserve.
        wait_for(lambda: len(children_of(process)) == 2)
        time.sleep(0.5)
        assert len(children_of(process)) == 2
        configure(project)
        reloads(process)
        assert engine_of(process)
        assert httpx2.get(address, timeout=60).text == "hello"


def test_the_one_in_reserve_ends_with_a_supervisor_that_is_killed(project: Path, temporary: Path) -> None:
    with dev(project, temporary) as process:
        address_of(process)
        wait_for(lambda: len(children_of(process)) == 3)
        children = children_of(process)
        process.tell(signal.SIGKILL)
        wait_for(lambda: not any(map(is_alive, children)))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL


def test_two_projects_at_once(project: Path, temporary: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "entry.py").write_text(HELLO.replace("hello", "other"))
    configure(other)
    with dev(project, temporary) as one, dev(other, temporary) as two:
        addresses = address_of(one), address_of(two)
        assert [httpx2.get(address, timeout=60).text for address in addresses] == ["hello", "other"]
        assert engine_of(one) != engine_of(two)
