"""Scripts and clients that misbehave: each gets an answer or a line, and nobody else notices."""

import asyncio
import json
import signal
import textwrap
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cfai.config import D1Database, KvNamespace, VectorizeIndex
from cfai.serving import Guard
from tests.worker.conftest import Workers
from tests.worker.served import served
from tests.worker.test_process import worker as process_of
from tests.worker.test_websockets import ECHO

FLOOD = """
    from js import Response, WebSocketPair

    async def on_fetch(request, env, ctx):
        client, server = WebSocketPair.new().object_values()
        server.accept()
        for _ in range({count}):
            server.send(bytes(1 << 20))
        server.addEventListener("close", lambda event: print(event.code, event.reason))
        return Response.new(None, status=101, webSocket=client)
    """
TOO_SLOW = "more than 128 MiB wait for a client that does not read"


async def test_a_client_that_does_not_read_is_closed_before_memory_runs_out(worker: Workers) -> None:
    async with served(worker.app(FLOOD.format(count=140))) as at, connect(f"ws://{at}/", max_size=None) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 60)
        assert (socket.close_code, socket.close_reason) == (1011, TOO_SLOW)
    assert f"▲ [WARNING] GET /: the WebSocket is closed with 1011: {TOO_SLOW}" in worker.logged


async def test_an_echo_stops_where_the_client_never_reads(worker: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    script = ECHO.replace("server.send(event.data)", "[server.send(event.data) for _ in range(20)]")
    async with served(worker.app(script)) as at:
        reader, writer = await asyncio.open_connection(*at.split(":"))
        key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        writer.write(f"GET / HTTP/1.1\r\nHost: {at}\r\n{key}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        frame = b"\x82\xff" + (8 << 20).to_bytes(8, "big") + bytes(4) + bytes(8 << 20)
        writer.write(frame)
        writer.write(frame)
        async with asyncio.timeout(60):
            while not (heard := capsys.readouterr().out):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        writer.transport.abort()
    assert heard == f"1011 {TOO_SLOW} True\n"


async def test_what_fits_a_workers_memory_waits_for_a_slow_client(worker: Workers) -> None:
    async with served(worker.app(FLOOD.format(count=100))) as at, connect(f"ws://{at}/", max_size=None) as socket:
        await asyncio.sleep(0.1)
        for _ in range(100):
            assert len(await socket.recv()) == 1 << 20


async def test_a_message_may_have_32_mib(worker: Workers) -> None:
    async with served(worker.app(ECHO)) as at, connect(f"ws://{at}/", max_size=None) as socket:
        await socket.send(bytes(31 << 20))
        assert len(await socket.recv()) == 31 << 20
        await socket.send(bytes(33 << 20))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1009


EXITS = """
    import asyncio
    import sys
    from js import setTimeout
    from pyodide.ffi import create_proxy
    from workers import Response, WorkerEntrypoint

    def leave():
        sys.exit(7)

    async def leave_later(kind=SystemExit):
        await asyncio.sleep(0)
        raise kind(7)

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            path = request.url.rpartition("/")[2]
            if path == "slow":
                await asyncio.sleep(1)
            elif path == "task":
                self.task = asyncio.create_task(leave_later())
                await asyncio.sleep(0.1)
            elif path == "awaited":
                await asyncio.create_task(leave_later())
            elif path == "interrupt":
                await asyncio.create_task(leave_later(KeyboardInterrupt))
            elif path == "timer":
                setTimeout(create_proxy(leave), 1)
                await asyncio.sleep(0.1)
            elif path == "soon":
                asyncio.get_running_loop().call_soon(leave)
                await asyncio.sleep(0.1)
            return Response(path)
    """


async def test_a_task_that_exits_ends_neither_the_process_nor_another_request(tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text(textwrap.dedent(EXITS))
    async with (
        process_of(script, tmp_path / "no.sock") as process,
        httpx2.AsyncClient(base_url=process.url, timeout=60) as client,
    ):
        slow = asyncio.create_task(client.get("/slow"))
        statuses = {}
        for path in ("task", "awaited", "interrupt", "timer", "soon"):
            statuses[path] = (await client.get(f"/{path}")).status_code
        assert statuses == {"task": 200, "awaited": 500, "interrupt": 500, "timer": 200, "soon": 200}
        assert (await slow).text == "slow"
        process.process.send_signal(signal.SIGINT)
        assert await process.ends() == 0
        assert process.process.stderr is not None
        told = process.process.stderr.read()
    assert told.count("\nSystemExit: 7\n") == 4
    assert told.count("\nKeyboardInterrupt: 7\n") == 1


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "GeneratorExit"])
async def test_what_python_keeps_for_itself_is_an_error_of_the_scripts_too(worker: Workers, raised: str) -> None:
    client = worker(f"""
        async def on_fetch(request):
            raise {raised}("mine")
        """)
    response = await client.get("/")
    assert (response.status, response.text.splitlines()[-1]) == (500, f"{raised}: mine")
    assert len(worker.reported) == 1
    assert worker.logged[-1].startswith("[wrangler:info] GET / 500 Internal Server Error (")


async def test_a_real_ctrl_c_is_not_the_scripts(worker: Workers) -> None:
    app = worker.app("""
        import signal

        async def on_fetch(request):
            signal.raise_signal(signal.SIGINT)
            while True:
                pass
        """)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(BaseExceptionGroup) as caught:
            await worker.client(app).get("/")
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.group_contains(KeyboardInterrupt)
    assert worker.reported == []


async def raw(at: str, request: str) -> str:
    reader, writer = await asyncio.open_connection(*at.split(":"))
    writer.write(request.replace("\n", "\r\n").encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer.decode()


URL = """
    from workers import Response

    def on_fetch(request):
        return Response(request.method + " " + request.url)
    """


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("GET http://localhost:9/url?a=b HTTP/1.1", "GET http://localhost:9/url?a=b"),
        ("GET http://localhost:9 HTTP/1.1", "GET http://localhost:9/"),
        ("OPTIONS * HTTP/1.1", "OPTIONS http://localhost:9/"),
    ],
)
async def test_a_target_that_is_no_path(worker: Workers, line: str, seen: str) -> None:
    async with served(worker.app(URL)) as at:
        answer = await raw(at, f"{line}\nHost: localhost:9\nConnection: close\n\n")
    assert answer.startswith("HTTP/1.1 200 ") and answer.endswith(f"\r\n\r\n{seen}")


async def test_a_body_of_two_lengths_is_refused_with_what_follows_it(worker: Workers) -> None:
    smuggled = "GET /smuggled HTTP/1.1\nHost: localhost\n\n"
    head = "POST / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\nContent-Length: 6\n\n"
    async with served(Guard(worker.app(URL))) as at:
        answer = await raw(at, f"{head}0\n\n{smuggled}")
    assert answer.startswith("HTTP/1.1 400 ")
    assert answer.count("HTTP/1.1") == 1
    assert not any("[wrangler:info]" in line for line in worker.logged)


@pytest.mark.parametrize("read", ["request.text()", "request.bytes()", "anext(rest(request.body))"])
async def test_a_client_that_leaves_in_its_body_has_canceled(worker: Workers, read: str) -> None:
    app = worker.app(f"""
        from workers import Response

        async def rest(body):
            yield b"".join([bytes(chunk) async for chunk in body])

        async def on_fetch(request):
            return Response(await {read})
        """)
    async with served(app) as at:
        _, writer = await asyncio.open_connection(*at.split(":"))
        writer.write(b"POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
        await asyncio.sleep(0.1)
        writer.close()
        async with asyncio.timeout(60):
            while not any("[wrangler:info]" in line for line in worker.logged):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert worker.logged[-1].startswith("[wrangler:info] POST /up canceled (")
    assert worker.reported == []


async def test_a_model_that_is_no_name_is_no_model(worker: Workers) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                try:
                    await self.env.AI.run(None, {})
                except Exception as error:
                    return Response.json([str(error), error.code])
        """)
    assert json.loads((await client.get("/")).text) == ["AiError: 5007: No such model None or task", 5007]


@pytest.mark.parametrize("call", ["KV.get('a')", "DB.prepare('SELECT 1').all()", "INDEX.describe()"])
async def test_a_file_that_cannot_be_opened_is_named_after_the_scripts_frames(worker: Workers, call: str) -> None:
    (worker.folder / ".wrangler").touch()  # no folder can be made in it
    client = worker(
        f"""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(str(await self.env.{call}))
        """,
        kv_namespaces=(KvNamespace("KV", "kv"),),
        d1_databases=(D1Database("DB", "db", "id"),),
        vectorize=(VectorizeIndex("INDEX", "docs"),),
    )
    lines = (await client.get("/")).text.splitlines()
    assert [line.split('"')[1] for line in lines if line.startswith("  File")] == [str(worker.folder / "entry.py")]
    assert len([line for line in lines if "Not a directory: " in line]) == 1
    assert lines[-1].count(f"'{worker.folder / '.wrangler'}") == 1
