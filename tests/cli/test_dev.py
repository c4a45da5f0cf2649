"""`cfai dev`: the three processes, as they start, reload, fail and end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx2
import pytest
import watchfiles

from cfai.config import load_config
from cfai.dev.files import Files
from cfai.serving import listen
from tests.cli.dev import HELLO, address_of, children_of, configure, dev, engine_of, is_alive, save, wait_for
from tests.ports import kept_port
from tests.processes import Process

MODEL = "@cf/meta/llama-2-7b-chat-int8"
STREAM = (
    "from workers import Response\n\nasync def on_fetch(request, env):\n"
    f"    stream = await env.AI.run({MODEL!r}, {{'prompt': 'New', 'max_tokens': 4000, 'stream': True}})\n"
    "    return Response(stream, headers={'content-type': 'text/event-stream'})\n"
)
HOSTS = {"192.168.1.5": 200, "my-box:8787": 200, "evil.example": 403}


def test_dev_runs_a_project_and_reloads_it(llama: Path, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    source = (
        "from workers import Response, WorkerEntrypoint\n\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        f"        r = await self.env.AI.run({MODEL!r}, {{'prompt': 'New York', 'max_tokens': 3, 'temperature': 0}})\n"
        "        return Response('one ' + r.response)\n"
    )
    script.write_text(source)
    with Process("dev", str(script), "--port", "0", "--model", f"{MODEL}={llama}") as process:
        address = address_of(process)
        first = httpx2.get(address, timeout=60)
        assert first.text.startswith("one ")
        save(script, source.replace("'one '", "'two '"))
        process.read_until("updated and ready")
        assert httpx2.get(address, timeout=60).text == first.text.replace("one ", "two ")

        save(script, "import nothing_of_that_name\n")
        process.read_until("⎔ Reload failed")
        broken = httpx2.get(address, timeout=60)
        assert broken.status_code == 500
        assert "nothing_of_that_name" in broken.text

        # The engine dies: the next request waits until there is another.
        save(script, source)
        process.read_until("updated and ready")
        os.kill(engine_of(process), signal.SIGKILL)
        assert httpx2.get(address, timeout=60).text == first.text
        process.read_until("The engine process ended with status -9; starting it again")
        assert process.end(signal.SIGINT) == 0


def test_a_config_that_is_wrong_for_a_moment(project: Path, temporary: Path) -> None:
    queues = {"producers": [{"binding": "QUEUE", "queue": "later"}]}
    configure(project, kv_namespaces=[{"binding": "KV"}], queues=queues, vars={"GREETING": "hey"})
    (project / ".dev.vars").write_text("TOKEN=s3cret\n")
    with dev(project, temporary) as process:
        process.read_until("Using secrets defined in .dev.vars")
        process.read_until("Your Worker has access to the following bindings:")
        rows = [process.next_line().split() for _ in range(6)]
        assert rows == [
            ["Binding", "Resource", "Mode"],
            ["env.KV", "(KV)", "KV", "Namespace", "local"],
            ["env.AI", "AI", "local"],
            ["env.GREETING", '("hey")', "Environment", "Variable", "local"],
            ["env.TOKEN", '("(hidden)")', "Environment", "Variable", "local"],
            ["env.QUEUE", "Queue", "not", "simulated"],
        ]
        address = address_of(process)

        save(project / "wrangler.json", '{"main": ')
        process.read_until("wrangler.json:1: not JSON")
        process.read_until("⎔ Reload failed")
        broken = httpx2.get(address, timeout=60)
        assert broken.status_code == 500
        assert broken.text.startswith(f"{project / 'wrangler.json'}:1: not JSON")

        configure(project)
        process.read_until("updated and ready")
        assert httpx2.get(address, timeout=60).text == "hello"

        save(project / "entry.py", "import os\nos._exit(3)\n")
        process.read_until("The worker process ended with status 3; starting it again")
        process.read_until("The worker process keeps ending")
        save(project / "entry.py", HELLO)
        process.read_until("updated and ready")
        assert process.end(signal.SIGINT) == 0
        assert "keeps ending" not in process.rest
    assert list(temporary.iterdir()) == []


@pytest.fixture
def without_nohup() -> Iterator[None]:
    """Where the tests run under nohup, programs inherit that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("without_nohup")
def test_nothing_is_left_when_the_terminal_is_closed(project: Path, temporary: Path) -> None:
    with dev(project, temporary, "--ip", "0.0.0.0", "--allow-host", "my-box") as process:
        # On the way: who may ask a Worker that other machines reach.
        address = address_of(process).replace("0.0.0.0", "127.0.0.1")
        hosts = {host: httpx2.get(address, headers={"host": host}, timeout=60).status_code for host in HOSTS}
        assert hosts == HOSTS
        children = children_of(process)
        assert process.end(signal.SIGHUP) == 0
        assert "Traceback" not in process.rest
        assert not any(is_alive(pid) for pid in children)
    assert list(temporary.iterdir()) == []


@contextlib.contextmanager
def neighbours() -> Iterator[int]:
    """A port that is taken, before one that nobody else takes."""
    while True:
        with listen("127.0.0.1", 0) as taken, contextlib.suppress(OSError), kept_port(taken.getsockname()[1] + 1):
            yield taken.getsockname()[1]
            return


def test_nothing_is_left_when_it_is_told_to_end_before_it_is_ready(project: Path, temporary: Path) -> None:
    with neighbours() as port:
        process = dev(project, temporary, "--port", str(port))
        assert process.read_until("is taken") == f"port {port} is taken, so this is {port + 1}\n"
    with process:
        process.read_until("⎔ Starting local server...")
        wait_for(lambda: bool(children_of(process)))
        children = children_of(process)
        assert process.end(signal.SIGTERM) == 0
        assert "Traceback" not in process.rest
        assert not any(is_alive(pid) for pid in children)
    assert list(temporary.iterdir()) == []


async def test_the_watch_over_the_files_ends_at_once(project: Path) -> None:
    config = load_config(project)
    ended: list[str] = []
    is_one_over = anyio.Event()

    async def watch(name: str, saves: AsyncIterator[object]) -> None:
        try:
            async for _ in saves:
                pass
        finally:
            ended.append(name)
            is_one_over.set()

    async with anyio.create_task_group() as tasks:
        # One that looks up every other second, as the usual one does every fifth, and when ours is over.
        tasks.start_soon(watch, "usual", watchfiles.awatch(project, rust_timeout=2000, stop_event=is_one_over))
        tasks.start_soon(watch, "ours", Files(config, state=config.state).saves())
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == ["ours", "usual"]


async def test_what_is_saved_while_a_new_folder_is_taken_in_is_not_lost(project: Path) -> None:
    config = load_config(project)
    saves = 0
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                nonlocal saves
                async for _ in Files(config, state=config.state).saves():
                    saves += 1
                    if saves == 1:
                        (project / "lib" / "more.py").touch()  # there is no watch over this folder yet
                    else:
                        tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            (project / "lib").mkdir()
    assert saves == 2


def test_what_it_prints_into_the_project_is_no_save(project: Path) -> None:
    output = project / "out.txt"
    with output.open("w") as out:
        command = [sys.executable, "-m", "cfai", "dev", str(project), "--port", "0"]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: "Ready on" in output.read_text())
            address = output.read_text().partition("Ready on ")[2].split()[0]
            assert httpx2.get(address, timeout=60).text == "hello"
            save(project / "entry.py", HELLO.replace("hello", "again"))
            wait_for(lambda: "updated and ready" in output.read_text())
            assert httpx2.get(address, timeout=60).text == "again"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert output.read_text().count("Reloading") == 1


def test_the_children_end_when_it_is_killed(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text("while True:\n    pass\n")
    with dev(project, temporary) as process:
        process.read_until("⎔ Still importing the script...")
        children = children_of(process)
        assert len(children) == 2  # an engine and a worker
        process.tell(signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in children))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL


def test_a_second_ctrl_c_ends_running_streams(project: Path, temporary: Path, endless_llama: Path) -> None:
    (project / "entry.py").write_text(STREAM)
    with dev(project, temporary, "--model", f"{MODEL}={endless_llama}") as process:
        address = address_of(process)
        children = children_of(process)
        with httpx2.stream("GET", address, timeout=60) as response:
            chunks = response.iter_raw()
            received = next(chunks)
            process.tell(signal.SIGINT)
            process.read_until("⎔ Waiting for running answers; Ctrl-C again ends them")
            process.tell(signal.SIGINT)
            received += b"".join(chunks)
        assert received.endswith(b'"message":"the Worker is being stopped"}]}\n\ndata: [DONE]\n\n')
        assert process.end(signal.SIGINT) == 0
        assert "Traceback" not in process.rest
        assert not any(is_alive(pid) for pid in children)
    assert list(temporary.iterdir()) == []
