"""`pyodide.ffi.run_sync`: synchronous code that waits, while other requests are answered."""

import asyncio
import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cfai import FakeBinding
from cfai.testing import virtual_time_backend
from cfai.worker.stack_switching import run_sync, switching
from tests.worker.conftest import Workers

HELPERS = """
import asyncio, contextvars
from pyodide.ffi import can_run_sync, run_sync
from workers import Response, WorkerEntrypoint

"""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes where nothing is left to do: however slow the machine, what was begun is done after a sleep."""
    return virtual_time_backend()


def script(body: str) -> str:
    return HELPERS + body


async def test_synchronous_code_waits_for_a_model_and_its_stream(worker: Workers) -> None:
    worker.fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": "in America"})
    client = worker(
        script("""
def ask(ai, **inputs):
    return run_sync(ai.run("@cf/meta/llama-2-7b-chat-int8", inputs))

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        whole = ask(self.env.AI, prompt="where?")["response"]
        chunks = ask(self.env.AI, prompt="where?", stream=True)
        first = run_sync(anext(chunks)).to_bytes().decode()
        run_sync(chunks.cancel())
        return Response(f"{can_run_sync()} {whole} {first}")
""")
    )
    answer = await client.get("/")
    assert answer.text.startswith('True in America data: {"response":')


async def test_other_requests_are_answered_meanwhile(worker: Workers) -> None:
    client = worker(
        script("""
gate = asyncio.Event()

def on_fetch(request):
    if request.url.endswith("open"):
        gate.set()
    else:
        run_sync(gate.wait())
    return Response(request.url)

class Default(WorkerEntrypoint):
    def fetch(self, request):
        return on_fetch(request)
""")
    )
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(client.get(f"/{number}")) for number in range(20)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        assert (await client.get("/open")).status == 200
    assert [task.result().text.rpartition("/")[2] for task in waiting] == [str(number) for number in range(20)]


async def test_it_nests_and_raises_what_the_awaitable_raises(worker: Workers) -> None:
    client = worker(
        script("""
async def inner(depth):
    await asyncio.sleep(0)
    if not depth:
        raise KeyError("deep")
    return run_sync(inner(depth - 1))

class Default(WorkerEntrypoint):
    def fetch(self, request):
        try:
            run_sync(inner(5))
        except KeyError as error:
            return Response(repr(error))
""")
    )
    assert (await client.get("/")).text == "KeyError('deep')"


async def test_tasks_timeouts_and_context_variables_are_those_of_the_code_that_waits(worker: Workers) -> None:
    client = worker(
        script("""
name = contextvars.ContextVar("name")

def late():
    run_sync(asyncio.sleep(30))

async def limited():
    async with asyncio.timeout(0.01):
        late()

async def named(value):
    name.set(value)
    run_sync(asyncio.sleep(0.01))
    return name.get()

async def sets():
    name.set("set below")

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        said = []
        try:
            await limited()
        except TimeoutError:
            said.append("timeout")
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(named(value)) for value in "abc"]
        said += [task.result() for task in made]
        run_sync(sets())
        said.append(name.get())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.to_thread(int, "x"))
                late()
        except* ValueError:
            said.append("group")
        return Response(" ".join(said))
""")
    )
    assert (await client.get("/")).text == "timeout a b c set below group"


async def test_a_client_that_leaves_cancels_what_synchronous_code_waits_for(worker: Workers) -> None:
    client = worker(
        script("""
seen = []

def wait():
    try:
        run_sync(asyncio.sleep(30))
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise

class Default(WorkerEntrypoint):
    def fetch(self, request):
        if request.url.endswith("seen"):
            return Response(" ".join(seen))
        wait()
""")
    )
    async with asyncio.timeout(5):
        async with client.request("GET", "/") as exchange:
            await asyncio.sleep(0.05)
            exchange.leave()
        assert (await client.get("/seen")).text == "cancelled"


async def test_a_thread_of_a_handler_waits_and_is_let_go_with_the_client(worker: Workers) -> None:
    client = worker(
        script("""
import concurrent.futures, threading

begun, let_go = threading.Event(), threading.Event()

def in_thread(seconds):
    if seconds:
        begun.set()
    try:
        run_sync(asyncio.sleep(seconds, "slept"))
        return f"{can_run_sync()} {run_sync(name())}"
    except concurrent.futures.CancelledError:
        let_go.set()

async def name():
    return asyncio.current_task().get_name() != ""

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("begun"):
            return Response(str(await asyncio.to_thread(begun.wait, 5)))
        if request.url.endswith("let-go"):
            return Response(str(await asyncio.to_thread(let_go.wait, 5)))
        return Response(await asyncio.to_thread(in_thread, 30 if request.url.endswith("long") else 0))
""")
    )
    async with asyncio.timeout(10):
        assert (await client.get("/")).text == "True True"
        async with client.request("GET", "/long") as exchange:
            assert (await client.get("/begun")).text == "True"
            exchange.leave()
        assert (await client.get("/let-go")).text == "True"


@pytest.mark.filterwarnings("error")
def test_outside_of_a_handler_it_is_pyodides_error() -> None:
    async def work() -> None: ...

    with pytest.raises(RuntimeError, match=r"^Cannot stack switch because the Python entrypoint was a synchronous"):
        run_sync(work())


def test_a_thread_of_nobodys_cannot_wait_either() -> None:
    async def work() -> None: ...

    with ThreadPoolExecutor(1) as threads:
        error = threads.submit(run_sync, work()).exception()
    assert error is not None
    assert error.__notes__ == ["a thread that a handler starts with asyncio.to_thread may wait"]


async def test_a_callback_of_the_loop_cannot_wait(worker: Workers) -> None:
    client = worker(
        script("""
import js

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        said = asyncio.get_running_loop().create_future()

        def late():
            try:
                run_sync(asyncio.sleep(0))
            except RuntimeError as error:
                said.set_result(str(error))

        js.setTimeout(late, 1)
        return Response(await said)
""")
    )
    assert (await client.get("/")).text.startswith("Cannot stack switch")


async def test_asyncio_run_and_run_until_complete_wait_below_a_handler(worker: Workers) -> None:
    client = worker(
        script("""
import time

async def double(n):
    await asyncio.sleep(0)
    return 2 * n

class Default(WorkerEntrypoint):
    def fetch(self, request):
        time.sleep(0)
        loop = asyncio.get_event_loop()
        return Response(f"{loop.run_until_complete(double(4))} {asyncio.run(double(8))}")
""")
    )
    assert (await client.get("/")).text == "8 16"


async def test_before_pyodide_028_it_works_with_a_note(worker: Workers) -> None:
    body = """
async def double(n):
    return 2 * n

class Default(WorkerEntrypoint):
    def fetch(self, request):
        task = asyncio.get_event_loop().run_until_complete(double(1))
        return Response(f"{can_run_sync()} {run_sync(double(4))} {asyncio.run(double(8))} {run_sync(task)}")
"""
    client = worker(script(body), compatibility_date=datetime.date(2025, 9, 1))
    assert (await client.get("/")).text == "False 8 16 2"
    notes = [line for line in worker.logged if line.startswith("note: ")]
    assert "run_sync works here and raises RuntimeError: WebAssembly stack switching not supported" in notes[0]
    assert "asyncio.run() cannot be called from a running event loop" in notes[1]


async def test_what_a_task_shows_of_its_coroutine_is_the_scripts() -> None:
    async def work(end: asyncio.Event) -> str:
        await end.wait()
        return "done"

    end = asyncio.Event()
    task = asyncio.get_running_loop().create_task(switching(work(end)))
    await asyncio.sleep(0)
    coroutine: Any = task.get_coro()
    assert coroutine.cr_frame.f_code is work.__code__
    assert "work" in repr(task)
    end.set()
    assert await task == "done"


async def test_a_coroutine_that_is_closed_while_it_waits_cleans_up() -> None:
    seen: list[str] = []

    def wait(future: "asyncio.Future[None]") -> None:
        try:
            run_sync(future)
        finally:
            seen.append("closed")

    async def work(future: "asyncio.Future[None]") -> None:
        wait(future)

    steps = switching(work(asyncio.get_running_loop().create_future()))
    steps.send(None)
    steps.close()
    assert seen == ["closed"]


async def test_greenlets_of_the_scripts_own_may_wait_too() -> None:
    greenlet = pytest.importorskip("greenlet").greenlet

    async def work() -> Any:
        return greenlet(lambda: run_sync(asyncio.sleep(0.01, "slept"))).switch()

    assert await switching(work()) == "slept"
