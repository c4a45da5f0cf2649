"""`fetch`, asking a server on this machine."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.worker.asgi_client import Whole
from tests.worker.conftest import Workers
from tests.worker.served import served


class Origin:
    """A server that says what it was asked, and does a few other things."""

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.sent = 0
        self.left = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.connections.add(tuple(scope["client"]))
        path = scope["path"]
        await getattr(self, path.split("/")[1])(scope, receive, send)

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        chunks = []
        while (message := await receive())["type"] == "http.request":
            chunks.append(message.get("body", b"").decode())
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        said = {"method": scope["method"], "headers": headers, "body": "".join(chunks), "path": scope["path"]}
        lines = [(b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await _answer(send, 200, lines, json.dumps(said).encode())

    async def to(self, scope: Any, receive: Any, send: Any) -> None:
        """/to/301/echo"""
        _, _, status, *rest = scope["path"].split("/")
        await _answer(send, int(status), [(b"location", f"/{'/'.join(rest)}".encode())])

    async def loop(self, scope: Any, receive: Any, send: Any) -> None:
        await _answer(send, 302, [(b"location", b"/loop")])

    async def packed(self, scope: Any, receive: Any, send: Any) -> None:
        await _answer(send, 200, [(b"content-encoding", b"gzip")], gzip.compress(b"hello"))

    async def empty(self, scope: Any, receive: Any, send: Any) -> None:
        await _answer(send, 204, [])

    async def endless(self, scope: Any, receive: Any, send: Any) -> None:
        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()

        leaving = asyncio.create_task(leave())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.left.is_set():
            self.sent += 1
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        await leaving

    async def cut(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("cut")


async def _answer(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
    lines = [*headers, (b"content-length", str(len(body)).encode())] if status != 204 else headers
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def asking(worker: Workers, *codes: str) -> AsyncIterator[tuple[list[Whole], Origin]]:
    """What a Worker answers whose handler runs each of `codes`, with the address of an Origin as `at`."""
    origin = Origin()
    async with served(origin) as at:
        answers = []
        for code in codes:
            lines = "\n                ".join(code.strip().splitlines())
            app = worker.app(f"""
        import asyncio, json
        from js import AbortController, AbortSignal, FixedLengthStream, ReadableStream, TransformStream, fetch
        from pyodide.ffi import create_proxy, to_js
        from workers import Response, WorkerEntrypoint

        at = "http://{at}"

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                {lines}
        """)
            answers.append(await worker.client(app).get("/"))
            await app.aclose()
        yield answers, origin


async def said(worker: Workers, code: str) -> str:
    async with asking(worker, code) as (answers, _):
        return answers[0].text


async def test_what_is_sent(worker: Workers) -> None:
    answer = json.loads(
        await said(
            worker,
            """
response = await fetch(at + "/echo", method="PUT", body="hello", headers=to_js([["x-a", "b"]]))
assert response.headers.getSetCookie().to_py() == ["a=1", "b=2"]
return Response(await response.text())
""",
        )
    )
    assert (answer["method"], answer["body"]) == ("PUT", "hello")
    assert answer["headers"]["x-a"] == "b"
    assert answer["headers"]["content-type"] == "text/plain;charset=UTF-8"
    assert answer["headers"]["content-length"] == "5"
    assert "user-agent" not in answer["headers"]


async def test_a_stream_is_sent_as_it_is_made(worker: Workers) -> None:
    code = """
pipe = {pipe}
async def pump(writer):
    for word in ("one ", "two"):
        await writer.write(to_js(word.encode()))
        await asyncio.sleep(0.01)
    await writer.close()
pumping = asyncio.ensure_future(pump(pipe.writable.getWriter()))
response = await fetch(at + "/echo", method="POST", body=pipe.readable)
await pumping
return Response(await response.text())
"""
    answer = json.loads(await said(worker, code.format(pipe="TransformStream.new()")))
    assert (answer["body"], answer["headers"]["transfer-encoding"]) == ("one two", "chunked")
    answer = json.loads(await said(worker, code.format(pipe="FixedLengthStream.new(7)")))
    assert (answer["body"], answer["headers"]["content-length"]) == ("one two", "7")


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (307, "POST", "POST"), (301, "PUT", "PUT")],
)
async def test_redirects_are_followed(worker: Workers, status: int, method: str, then: str) -> None:
    code = f"""
response = await fetch(at + "/to/{status}/to/{status}/echo", method="{method}", body="x")
return Response.json([response.url.removeprefix(at), response.redirected, json.loads(await response.text())])
"""
    url, redirected, answer = json.loads(await said(worker, code))
    assert (url, redirected, answer["method"]) == ("/echo", True, then)
    assert answer["body"] == ("" if then == "GET" else "x")


async def test_redirects_may_be_left_alone(worker: Workers) -> None:
    code = """
response = await fetch(at + "/to/302/echo", redirect="manual")
return Response.json([response.status, response.headers.get("location"), response.redirected])
"""
    assert await said(worker, code) == '[302, "/echo", false]'


async def test_redirects_that_go_nowhere(worker: Workers) -> None:
    assert "TypeError: Too many redirects." in await said(worker, 'await fetch(at + "/loop")')
    code = 'await fetch(at + "/to/307/echo", method="POST", body=ReadableStream.from_([b"a"]))'
    assert "A request with a one-time-use body" in await said(worker, code)


async def test_compressed_bodies_are_unpacked(worker: Workers) -> None:
    assert await said(worker, 'return Response((await fetch(at + "/packed")).body)') == "hello"


async def test_no_body_is_null(worker: Workers) -> None:
    assert await said(worker, 'return Response(str((await fetch(at + "/empty")).body))') == "jsnull"


async def test_connections_are_kept(worker: Workers) -> None:
    code = """
for _ in range(5):
    await (await fetch(at + "/echo")).text()
await asyncio.gather(fetch(at + "/empty"), fetch(at + "/empty"))
return Response("done")
"""
    async with asking(worker, code) as (answers, origin):
        assert answers[0].text == "done"
        assert len(origin.connections) == 2


async def test_an_answer_that_nobody_reads_is_closed_with_the_request(worker: Workers) -> None:
    async with asking(worker, 'await fetch(at + "/endless")\nreturn Response("enough")') as (answers, origin):
        assert answers[0].text == "enough"
        await asyncio.wait_for(origin.left.wait(), 5)
        assert origin.sent < 200


async def test_a_signal_stops_it(worker: Workers) -> None:
    code = """
try:
    await fetch(at + "/echo", signal=AbortSignal.abort())
except Exception as error:
    first = str(error)
controller = AbortController.new()
response = await fetch(at + "/endless", signal=controller.signal)
reader = response.body.getReader()
await reader.read()
controller.abort("enough")
try:
    while True:
        await reader.read()
except Exception as error:
    return Response(first + "; " + str(error))
"""
    async with asking(worker, code) as (answers, origin):
        assert answers[0].text == "AbortError: The operation was aborted; Error: enough"
        await asyncio.wait_for(origin.left.wait(), 5)


async def test_a_server_that_is_not_there(worker: Workers) -> None:
    code = """
try:
    await fetch("http://127.0.0.1:1/")
except Exception as error:
    return Response(f"{error} {error.__notes__[0]}")
"""
    answer = await said(worker, code)
    assert answer.startswith("Error: Network connection lost. ConnectError: ")


async def test_the_traceback_of_a_lost_connection_is_the_scripts(worker: Workers) -> None:
    client = worker("""
        from js import fetch

        async def on_fetch(request):
            return await fetch("http://127.0.0.1:1/")
        """)
    said = (await client.get("/")).text
    assert "entry.py" in said
    assert "JsException: Error: Network connection lost." in said
    assert "site-packages" not in said


async def test_an_answer_that_breaks_off(worker: Workers) -> None:
    assert "Error: Network connection lost." in await said(worker, 'await (await fetch(at + "/cut")).text()')


@pytest.mark.parametrize("url", ["ftp://a/", "gopher://a/", "ws://a/"])
async def test_addresses_that_fetch_does_not_take(worker: Workers, url: str) -> None:
    assert f"TypeError: Fetch API cannot load: {url}" in await said(worker, f'await fetch("{url}")')


async def test_a_worker_may_ask_itself(worker: Workers) -> None:
    app = worker.app("""
        from js import fetch
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                if request.url.endswith("/inner"):
                    return Response("inner")
                return Response((await fetch(request.url + "inner")).body)
        """)
    origin = Origin()
    async with served(app) as at, served(origin):
        asker = worker.app(f"""
        from js import fetch
        from workers import Response

        async def on_fetch(request):
            return Response((await fetch("http://{at}/")).body)
        """)
        assert (await worker.client(asker).get("/")).text == "inner"
        await asker.aclose()
        await app.aclose()


async def test_a_request_is_passed_on_whole(worker: Workers) -> None:
    code = """
from js import Request
inner = Request.new(at + "/echo", method="POST", body="hi", headers=to_js([["x-a", "b"]]))
return Response((await fetch(inner)).body)
"""
    answer = json.loads(await said(worker, code))
    assert (answer["method"], answer["body"], answer["headers"]["x-a"]) == ("POST", "hi", "b")


async def test_while_the_script_is_imported(worker: Workers) -> None:
    app = worker.app("""
        import asyncio
        from js import fetch
        from workers import Response

        asking = asyncio.ensure_future(fetch("http://127.0.0.1:1/"))

        async def on_fetch(request):
            try:
                await asking
            except Exception as error:
                return Response(str(error))
        """)
    assert (await worker.client(app).get("/")).text == "Error: Network connection lost."
    notes = "\n".join(worker.logged)
    assert "fetch() while the script is imported works here and raises JsException" in notes
    assert "Disallowed operation called within global scope" in notes
    await app.aclose()


async def test_a_websocket_by_fetch(worker: Workers) -> None:
    from websockets.asyncio.server import serve

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(f"you said {message}")

    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = worker(f"""
            import asyncio
            from js import fetch
            from pyodide.ffi import create_proxy, to_js
            from workers import Response

            async def on_fetch(request):
                response = await fetch("http://127.0.0.1:{port}/", headers=to_js([["Upgrade", "websocket"]]))
                socket, heard = response.webSocket, asyncio.Queue()
                socket.accept()
                socket.addEventListener("message", create_proxy(lambda event: heard.put_nowait(event.data)))
                socket.send("hi")
                text = await heard.get()
                socket.close(1000, "done")
                return Response(f"{{response.status}} {{text}}")
            """)
        assert (await client.get("/")).text == "101 you said hi"


async def test_a_websocket_by_fetch_that_is_refused(worker: Workers) -> None:
    code = """
response = await fetch(at + "/echo", headers=to_js([["Upgrade", "websocket"]]))
return Response.json([response.status, response.webSocket])
"""
    assert await said(worker, code) in ("[200, null]", "[500, null]")
