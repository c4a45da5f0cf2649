"""Streams that scripts make, through a Worker and over a socket: as fast as they are read, and no further."""

import asyncio
import json
import socket
from typing import Any

import pytest

from cfai.testing import virtual_time_backend
from tests.worker.conftest import Workers
from tests.worker.served import served
from tests.worker.test_streams import MODEL, SlowModel

BEGIN = """
import asyncio, json
from js import FixedLengthStream, ReadableStream, Response as JsResponse, TextDecoderStream, TextEncoder
from js import TransformStream, CompressionStream, Object
from pyodide.ffi import create_proxy, to_js
from workers import Response, WorkerEntrypoint

seen = []
"""


def script(fetch: str, before: str = "") -> str:
    lines = "\n        ".join(fetch.strip().splitlines())
    return (
        f"{BEGIN}\n{before}\nclass Default(WorkerEntrypoint):\n    async def fetch(self, request):\n        {lines}\n"
    )


PUMP = """
async def pump(writer, count):
    try:
        await write(writer, count)
    except TypeError as error:
        seen.append(str(error))

async def write(writer, count):
    encoder = TextEncoder.new()
    for number in range(count):
        await writer.write(encoder.encode(f"{number};"))
        seen.append(number)
    await writer.close()
"""


async def test_a_task_writes_what_the_response_sends(worker: Workers) -> None:
    client = worker(
        script(
            """
pipe = TransformStream.new()
asyncio.ensure_future(pump(pipe.writable.getWriter(), 5))
return Response(pipe.readable, headers={"content-type": "text/plain"})
""",
            PUMP,
        )
    )
    assert (await client.get("/")).chunks == [b"0;", b"1;", b"2;", b"3;", b"4;"]


async def test_sources_of_every_make(worker: Workers) -> None:
    before = """
class Source:
    def __init__(self):
        self.left = ["a", "b"]
    async def pull(self, controller):
        if self.left:
            controller.enqueue(to_js(self.left.pop(0).encode()))
        else:
            controller.close()
"""
    for made in (
        'ReadableStream.new(to_js({"pull": source.pull}, dict_converter=Object.fromEntries))',
        "ReadableStream.new(pull=create_proxy(source.pull))",
        'ReadableStream.new({"pull": create_proxy(source.pull)})',
        "ReadableStream.new(create_proxy(source))",
    ):
        client = worker(script(f"source = Source()\nreturn Response({made})", before))
        assert (await client.get("/")).chunks == [b"a", b"b"], made


async def test_a_stream_is_changed_on_its_way(worker: Workers) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    client = worker(
        script(f"""
stream = await self.env.AI.run("{MODEL}", prompt="hi", stream=True)
def transform(chunk, controller):
    if not chunk.startswith("data: [DONE]"):
        controller.enqueue(json.loads(chunk.removeprefix("data: "))["response"])
words = stream.pipeThrough(TextDecoderStream.new()).pipeThrough(TransformStream.new(transform=create_proxy(transform)))
pipe = TransformStream.new()
async def pump(writer):
    async for word in words:
        await writer.write(TextEncoder.new().encode(word.upper()))
    await writer.close()
asyncio.ensure_future(pump(pipe.writable.getWriter()))
return Response(pipe.readable)
""")
    )
    assert (await client.get("/")).chunks == [b"NEW", b" YORK"]


async def test_a_stream_of_known_length_says_so(worker: Workers) -> None:
    code = """
pipe = FixedLengthStream.new(6)
asyncio.ensure_future(pump(pipe.writable.getWriter(), {count}))
return Response(pipe.readable)
"""
    response = await worker(script(code.format(count=3), PUMP)).get("/")
    assert (response.headers["content-length"], response.text, response.ended) == ("6", "0;1;2;", True)
    response = await worker(script(code.format(count=2), PUMP)).get("/")
    assert not response.ended
    assert response.text == "0;1;"
    assert "FixedLengthStream did not see all expected bytes before close()." in worker.reported[0]


async def test_a_client_that_leaves_cancels_the_source(worker: Workers) -> None:
    before = """
class Source:
    def pull(self, controller):
        controller.enqueue(to_js(b"x"))
    def cancel(self, reason):
        seen.append(str(reason))
"""
    client = worker(
        script(
            """
if request.url.endswith("/seen"): return Response.json(seen)
return Response(ReadableStream.new(Source()))
""",
            before,
        )
    )
    async with client.request("GET", "/") as exchange:
        await exchange.chunk()
        exchange.leave()
    assert (await client.get("/seen")).text == '["Error: Network connection lost."]'


async def test_a_client_that_leaves_stops_the_model_behind_a_pump(worker: Workers) -> None:
    model = SlowModel()
    client = worker(
        script(f"""
stream = await self.env.AI.run("{MODEL}", prompt="hi", stream=True)
pipe = TransformStream.new()
async def pump(writer):
    reader = stream.getReader()
    while not (result := await reader.read()).done:
        await writer.write(result.value)
    await writer.close()
asyncio.ensure_future(pump(pipe.writable.getWriter()))
return Response(pipe.readable, headers={{"content-type": "text/event-stream"}})
"""),
        ai=model,
    )
    async with client.request("GET", "/") as exchange:
        await exchange.chunk()
        exchange.leave()
        await asyncio.wait_for(model.closed.wait(), 5)
    assert model.made < 10


async def test_a_client_that_leaves_stops_the_model_behind_a_pipe(worker: Workers) -> None:
    model = SlowModel()
    client = worker(
        script(f"""
stream = await self.env.AI.run("{MODEL}", prompt="hi", stream=True)
return Response(stream.pipeThrough(TransformStream.new()))
"""),
        ai=model,
    )
    async with client.request("GET", "/") as exchange:
        await exchange.chunk()
        exchange.leave()
        await asyncio.wait_for(model.closed.wait(), 5)
    assert model.made < 10


async def test_a_slow_client_slows_a_fast_source(worker: Workers) -> None:
    """Kernel buffers and a few chunks are filled, and then the source waits."""
    app = worker.app(
        script(
            """
if request.url.endswith("/seen"): return Response.json(len(seen))
pipe = TransformStream.new()
asyncio.ensure_future(pump(pipe.writable.getWriter()))
return Response(pipe.readable)
""",
            """
async def pump(writer):
    for number in range(4000):
        await writer.write(to_js(bytes(65536)))
        seen.append(number)
    await writer.close()
""",
        )
    )
    async with served(app) as at:
        host, port = at.split(":")
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            raw.connect((host, int(port)))
            raw.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            written = [await _written(worker, app)]
            while len(written) < 3 or not written[-1] or written[-1] != written[-3]:
                await asyncio.sleep(0.1)
                written.append(await _written(worker, app))
            assert 0 < written[-1] < 400
            reader, writer = await asyncio.open_connection(sock=raw.dup())
            await reader.readuntil(b"\r\n\r\n")
            total = 0
            while total < 4000 * 65536:
                total += len(await reader.read(1 << 20))
            writer.close()
    assert await _written(worker, app) == 4000


async def _written(worker: Workers, app: Any) -> int:
    return int((await worker.client(app).get("/seen")).text)


async def test_a_request_body_is_read_as_it_comes(worker: Workers) -> None:
    client = worker(
        script("""
got = []
async for chunk in request.body.pipeThrough(TextDecoderStream.new()):
    got.append(chunk)
return Response.json(got)
""")
    )
    response = await client("POST", "/", body=["caf\u00e9".encode()[:4], "caf\u00e9".encode()[4:], b"!"])
    assert json.loads(response.text) == ["caf", "\u00e9", "!"]


async def test_a_body_of_text_chunks_is_noted(worker: Workers) -> None:
    client = worker(
        script("""
def start(controller):
    controller.enqueue("text")
    controller.enqueue(b"bytes")
    controller.close()
return Response(ReadableStream.new(start=create_proxy(start)))
""")
    )
    assert (await client.get("/")).chunks == [b"text", b"bytes"]
    notes = "\n".join(worker.logged)
    assert "a chunk of Python's str in a body works here and raises" in notes
    assert "This ReadableStream did not return bytes." in notes
    client = worker(
        script("""
def start(controller):
    controller.enqueue(5)
return Response(ReadableStream.new(start=create_proxy(start)))
""")
    )
    assert not (await client.get("/")).ended
    assert "TypeError: This ReadableStream did not return bytes." in worker.reported[0]


@pytest.mark.parametrize("anyio_backend", [virtual_time_backend()], ids=[""])
async def test_timers_end_with_their_request(worker: Workers) -> None:
    client = worker(
        script("""
from js import setTimeout, setInterval, clearInterval
if request.url.endswith("/seen"):
    await asyncio.sleep(0.1)
    return Response.json(seen)
done = asyncio.Event()
async def later(word):
    await asyncio.sleep(0)
    seen.append(word)
def often():
    seen.append("often")
    if seen.count("often") == 3:
        clearInterval(timer)
        done.set()
setTimeout(create_proxy(later), 0, "first")
setTimeout(create_proxy(later), 50, "never")
setTimeout(create_proxy(lambda: 1 / 0), 1)
timer = setInterval(create_proxy(often), 5)
await done.wait()
return Response("done")
""")
    )
    assert (await client.get("/")).text == "done"
    assert json.loads((await client.get("/seen")).text) == ["first", "often", "often", "often"]
    assert "ZeroDivisionError" in worker.reported[0]


async def test_a_plain_function_for_later_is_noted(worker: Workers) -> None:
    client = worker(
        script("""
from js import queueMicrotask, scheduler
queueMicrotask(lambda: seen.append("soon"))
await scheduler.wait(1)
return Response.json(seen)
""")
    )
    assert (await client.get("/")).text == '["soon"]'
    assert "queueMicrotask with a function that has no create_proxy works here and raises" in worker.logged[0]
    assert "This borrowed proxy was automatically destroyed" in worker.logged[0]


async def test_a_promise_that_fails_unseen_is_reported(worker: Workers) -> None:
    client = worker(
        script("""
from js import Promise
Promise.reject("nobody looks")
await asyncio.sleep(0.2)
return Response("done")
""")
    )
    assert (await client.get("/")).text == "done"
    assert "Error: nobody looks" in worker.reported[0]


async def test_compressed_on_the_way_out(worker: Workers) -> None:
    import gzip

    client = worker(
        script("""
body = JsResponse.new("hello " * 100).body.pipeThrough(CompressionStream.new("gzip"))
return Response(body, headers={"content-encoding": "gzip"})
""")
    )
    assert gzip.decompress(b"".join((await client.get("/")).chunks)) == b"hello " * 100


async def test_a_stream_that_breaks_off_is_passed_on_as_far_as_it_came(worker: Workers) -> None:
    """As on Cloudflare, where nothing in between looks at the bytes; `cfai.Ai` raises in a plain Python program."""
    half = b'data: {"response":"New"}\n\n'
    worker.fake.answers[MODEL] = [half]
    client = worker(
        script(
            f"""
stream = await self.env.AI.run("{MODEL}", {{"prompt": "hi", "stream": True}})
return Response(stream, headers={{"content-type": "text/event-stream"}})
"""
        )
    )
    answer = await client.get("/")
    assert (answer.status, b"".join(answer.chunks)) == (200, half)
    assert worker.reported == []
