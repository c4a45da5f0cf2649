"""Scripts that misbehave: the engine and the supervisor do not notice, and the next save mends it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx2
import pytest

from tests.cli.dev import HELLO, address_of, children_of, dev, engine_of, is_alive, save, wait_for

MISBEHAVING = """\
import ctypes, os, subprocess, sys, time
from workers import Response

def on_fetch(request, env):
    what = request.url.rpartition("/")[2]
    if what == "exit":
        os._exit(3)
    if what == "crash":
        ctypes.string_at(0)
    if what == "sys-exit":
        sys.exit("enough")
    if what == "spin":
        while True:
            pass
    if what == "fork":
        forked = os.fork()
        if not forked:
            time.sleep(1000)
        return Response(f"{forked} {subprocess.Popen(['sleep', '1000']).pid}")
    return Response("well")
"""


@pytest.fixture
def misbehaving(project: Path) -> Path:
    (project / "entry.py").write_text(MISBEHAVING)
    return project


def reason_of(address: str) -> str:
    try:
        return str(httpx2.get(address, timeout=60).status_code)
    except httpx2.HTTPError as error:
        return type(error).__name__


def test_a_script_that_ends_or_crashes_its_process(misbehaving: Path, temporary: Path) -> None:
    with dev(misbehaving, temporary) as process:
        address = address_of(process)
        process_of_models = engine_of(process)
        assert reason_of(f"{address}/exit") == "RemoteProtocolError"
        process.read_until("The worker process ended with status 3; starting it again")
        assert httpx2.get(address, timeout=60).text == "well"
        assert reason_of(f"{address}/crash") == "RemoteProtocolError"
        assert httpx2.get(address, timeout=60).text == "well"

        exited = httpx2.get(f"{address}/sys-exit", timeout=60)
        assert exited.status_code == 500
        assert exited.text.endswith("SystemExit: enough\n")
        assert httpx2.get(address, timeout=60).text == "well"

        save(misbehaving / "entry.py", "import sys\nsys.exit('not today')\n")
        process.read_until("⎔ Reload failed")
        assert httpx2.get(address, timeout=60).text.endswith("SystemExit: not today\n")
        save(misbehaving / "entry.py", "def on_fetch(:\n")
        process.read_until("SyntaxError")
        assert "SyntaxError" in httpx2.get(address, timeout=60).text
        save(misbehaving / "entry.py", HELLO)
        wait_for(lambda: httpx2.get(address, timeout=60).text == "hello")
        assert engine_of(process) == process_of_models
        assert process.end(signal.SIGINT) == 0


def test_a_script_that_holds_on_to_its_thread_is_told_where_and_replaced_on_a_save(
    misbehaving: Path, temporary: Path
) -> None:
    with dev(misbehaving, temporary) as process:
        address = address_of(process)
        process_of_models = engine_of(process)
        blocked = threading.Thread(target=reason_of, args=(f"{address}/spin",))
        blocked.start()
        line = MISBEHAVING.splitlines().index("        while True:") + 1
        assert f"held on to the event loop for 5 s, at entry.py:{line}" in (
            process.read_until("note: the script").replace(f"entry.py:{line + 1};", f"entry.py:{line};")
        )
        save(misbehaving / "entry.py", HELLO)
        assert httpx2.get(address, timeout=60).text == "hello"
        assert blocked.is_alive()  # it was not waited for
        blocked.join(60)
        assert not blocked.is_alive()
        assert engine_of(process) == process_of_models
        # The engine, the one that answers and the one in reserve.
        wait_for(lambda: len(children_of(process)) == 3)
        assert process.end(signal.SIGINT) == 0


def test_what_a_script_starts_ends_with_it(misbehaving: Path, temporary: Path) -> None:
    with dev(misbehaving, temporary) as process:
        address = address_of(process)
        started = [int(pid) for pid in httpx2.get(f"{address}/fork", timeout=60).text.split()]
        assert all(map(is_alive, started))
        save(misbehaving / "entry.py", HELLO)
        wait_for(lambda: httpx2.get(address, timeout=60).text == "hello")
        wait_for(lambda: not any(map(is_alive, started)))
        assert process.end(signal.SIGINT) == 0


def test_where_memory_runs_out_it_is_the_scripts(misbehaving: Path, temporary: Path) -> None:
    with dev(misbehaving, temporary) as process:
        address_of(process)
        engine = engine_of(process)
        (worker, *_) = [pid for pid in children_of(process) if pid != engine]
        scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (worker, engine, process.pid)]
        assert scores[0] == 1000
        assert max(scores[1:]) < 1000
