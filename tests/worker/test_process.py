"""`python -m cfai.worker`: a process with a script, a socket of its parent's, and an orderly end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
import uvicorn

from cfai import Call, FakeBinding, Reply, sse
from cfai.binding import EVENT_STREAM, Binding
from cfai.results import ByteStream
from cfai.server.app import binding_app
from tests.waiting import until

MODEL = "@cf/meta/llama-2-7b-chat-int8"
EXAMPLE = Path(__file__).parents[2] / "examples" / "streaming"
ENDED = b'data: {"response":"","errors":[{"code":8500,"message":"the Worker is being stopped"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def engine(binding: Binding, folder: Path) -> AsyncIterator[Path]:
    """The other side of `env.AI`."""
    path = folder / "ai.sock"
    config = uvicorn.Config(binding_app(binding), uds=str(path), log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve)
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await anyio.sleep(0.01)
        yield path
        server.should_exit = True


class Worker:
    """The process and the way to it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def ends(self) -> int:
        with anyio.fail_after(60):
            return await anyio.to_thread.run_sync(self.process.wait)


def start(options: list[str], fd: int) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *options], pass_fds=[fd], stdout=pipe, stderr=pipe, text=True)


@asynccontextmanager
async def worker(path: Path, ai_socket: Path) -> AsyncIterator[Worker]:
    listener = socket.create_server(("127.0.0.1", 0))
    fd = listener.fileno()
    process = start(["-m", "cfai.worker", "--path", str(path), "--ai-socket", str(ai_socket), "--fd", str(fd)], fd)
    try:
        with listener:
            yield Worker(process, listener.getsockname()[1])
    finally:
        process.kill()
        process.communicate()


class Endless:
    """A binding whose stream ends when it is closed."""

    def __init__(self) -> None:
        self.closed = anyio.Event()

    async def send(self, call: Call) -> Reply:
        return Reply(ByteStream(self._events()), headers={"content-type": EVENT_STREAM})

    async def _events(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield sse.encode({"response": " on"})
                await anyio.sleep(0.02)
        finally:
            self.closed.set()

    async def aclose(self) -> None:
        pass


async def test_the_example_streams_over_real_sockets(tmp_path: Path) -> None:
    fake = FakeBinding({MODEL: ["New", " York"]}, as_of="2023-11-14")
    async with (
        engine(fake, tmp_path) as ai_socket,
        worker(EXAMPLE, ai_socket) as process,
        httpx2.AsyncClient(base_url=process.url, timeout=60) as client,
    ):
        response = await client.get("/worker-endpoint")
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.text == 'data: {"response":"New"}\n\ndata: {"response":" York"}\n\ndata: [DONE]\n\n'
        page = await client.get("/")
        assert "EventSource" in page.text
        assert (await client.get("/", headers={"host": "elsewhere.example"})).status_code == 403
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == 0
        assert process.process.stdout is not None
        assert "[wrangler:info] GET /worker-endpoint 200 OK (" in process.process.stdout.read()
    assert fake.calls[0].inputs == {"prompt": "where is new york?", "stream": True}


async def test_a_client_that_leaves_stops_the_model(tmp_path: Path) -> None:
    model = Endless()
    async with (
        engine(model, tmp_path) as ai_socket,
        worker(EXAMPLE, ai_socket) as process,
        httpx2.AsyncClient(base_url=process.url, timeout=60) as client,
    ):
        async with client.stream("GET", "/worker-endpoint") as response:
            assert await anext(response.aiter_bytes()) == b'data: {"response":" on"}\n\n'
        with anyio.fail_after(60):
            await model.closed.wait()


async def test_a_process_that_is_told_to_end_ends_its_streams(tmp_path: Path) -> None:
    model = Endless()
    async with (
        engine(model, tmp_path) as ai_socket,
        worker(EXAMPLE, ai_socket) as process,
        httpx2.AsyncClient(base_url=process.url, timeout=60) as client,
    ):
        async with client.stream("GET", "/worker-endpoint") as response:
            body = response.aiter_bytes()
            await anext(body)
            process.process.send_signal(signal.SIGTERM)
            # It is still being answered after the first signal, and ended by the second.
            for _ in range(10):
                await anext(body)
            process.process.send_signal(signal.SIGTERM)
            rest = b"".join([chunk async for chunk in body])
        assert rest.endswith(ENDED)
        assert await process.ends() == 0
        with anyio.fail_after(60):
            await model.closed.wait()


async def test_a_broken_script_answers_with_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("def on_fetch(:\n")
    async with (
        worker(script, tmp_path / "no.sock") as process,
        httpx2.AsyncClient(base_url=process.url, timeout=60) as client,
    ):
        for _ in range(2):
            response = await client.get("/")
            assert response.status_code == 500
            assert "SyntaxError" in response.text
        process.process.send_signal(signal.SIGINT)
        assert await process.ends() == 0
        assert process.process.stderr is not None
        assert "SyntaxError" in process.process.stderr.read()


async def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text("import os\nfrom workers import Response\ndef on_fetch(): return Response(str(os.getpid()))\n")
    parent = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-m', 'cfai.worker', *sys.argv[1:]], "
        "close_fds=False); time.sleep(60)"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = ["--path", str(script), "--ai-socket", str(tmp_path / "no.sock"), "--fd", str(listener.fileno())]
        with start(["-c", parent, *options], listener.fileno()) as process:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                child = int((await client.get("/", timeout=60)).text)
            process.kill()
        await until(lambda: not _is_alive(child))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody waits for stays in the table.
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has gone meanwhile, or this machine has no such table
        return not Path("/proc/self/stat").exists()
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_project_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text("main = 7\n")
    command = [sys.executable, "-m", "cfai.worker", "--path", str(tmp_path), "--ai-socket", "no.sock"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f'{tmp_path / "wrangler.toml"}:1: "main" should be a string')
