"""Streams through a Worker: chunk by chunk, ended properly, and stopped when nobody reads."""

import json
from collections.abc import MutableMapping
from typing import Any

import anyio
import pytest

from cfai import Call, Reply, sse
from cfai.binding import EVENT_STREAM
from cfai.errors import ConnectionDropped, EngineFailure, OutOfCapacity
from cfai.results import ByteStream
from cfai.testing import virtual_time_backend
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

MODEL = "@cf/meta/llama-2-7b-chat-int8"
STREAMING = f"""
    from workers import Response, WorkerEntrypoint
    from cfai import Ai

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            ai = Ai(self.env.AI, session_options={{"ctx": self.ctx}})
            stream = await ai.run("{MODEL}", {{"prompt": "where is new york?", "stream": True}})
            return Response(stream, headers={{"content-type": "text/event-stream"}})
    """


class SlowModel:
    """A binding whose stream goes on for as long as it is read; it notes what was made and when it was closed."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.made = 0
        self.closed = anyio.Event()
        self.cancelled = False
        self.failure = failure
        self.go_on: anyio.Event | None = None

    async def send(self, call: Call) -> Reply:
        if self.go_on is not None:
            try:
                await self.go_on.wait()
            except anyio.get_cancelled_exc_class():
                self.cancelled = True
                raise
        return Reply(ByteStream(self._events()), headers={"content-type": EVENT_STREAM})

    async def _events(self) -> Any:
        try:
            while self.made < 1000:
                if self.failure is not None and self.made == 2:
                    raise self.failure
                self.made += 1
                yield sse.encode({"response": f" {self.made}"})
                await anyio.sleep(0.01)
        finally:
            self.closed.set()

    async def aclose(self) -> None:
        pass


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes where nothing is left to do: however slow the machine, what was begun is done after a sleep."""
    return virtual_time_backend()


async def test_each_event_is_one_chunk(worker: Workers) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    response = await worker(STREAMING).get("/worker-endpoint")
    assert response.chunks == [b'data: {"response":"New"}\n\n', b'data: {"response":" York"}\n\n', b"data: [DONE]\n\n"]
    assert response.headers == {"content-type": "text/event-stream"}
    assert response.ended
    assert worker.fake.calls[0].inputs == {"prompt": "where is new york?", "stream": True}


async def test_a_chunk_is_sent_before_the_next_is_made(worker: Workers) -> None:
    client = worker("""
        import anyio
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            gate = anyio.Event()

            async def fetch(self, request):
                if request.url.endswith("/open"):
                    self.gate.set()
                    return Response("opened")
                return Response(self.words())

            async def words(self):
                yield "first"
                await self.gate.wait()
                yield "second"
        """)
    with anyio.fail_after(5):
        async with client.request("GET", "/") as exchange:
            assert await exchange.chunk() == b"first"
            await client.get("/open")
            assert await exchange.rest() == [b"second"]
    assert exchange.ended


async def test_a_client_that_goes_away_stops_the_model(worker: Workers) -> None:
    model = SlowModel()
    client = worker(STREAMING, ai=model)
    with anyio.fail_after(5):
        async with client.request("GET", "/") as exchange:
            await exchange.chunk()
            exchange.leave()
            await model.closed.wait()
    assert model.made < 10
    assert not exchange.ended


async def test_a_client_that_goes_away_before_the_head_cancels_the_handler(worker: Workers) -> None:
    model = SlowModel()
    model.go_on = anyio.Event()
    with anyio.fail_after(5):
        async with worker(STREAMING, ai=model).request("GET", "/") as exchange:
            await anyio.sleep(0.05)
            exchange.leave()
    assert model.cancelled
    assert exchange.status == 0
    assert worker.logged[0].startswith("[wrangler:info] GET / canceled")


async def test_a_stream_that_fails_ends_with_its_error_and_done(worker: Workers) -> None:
    response = await worker(STREAMING, ai=SlowModel(EngineFailure("out of memory"))).get("/")
    assert [sse.loads(data) for data in sse.Decoder().feed("".join(response.text).encode())] == [
        {"response": " 1"},
        {"response": " 2"},
        {"response": "", "errors": [{"code": 8500, "message": "out of memory"}]},
        None,
    ]
    assert response.text.endswith("data: [DONE]\n\n")
    assert response.ended
    assert "out of memory" in worker.reported[0]


@pytest.mark.parametrize(
    ("before", "raised", "after"),
    [
        ('yield "data: 1\\n\\n"', "ValueError('no')", 'data: 1\n\n{"code":8500,"message":"ValueError: no"}'),
        ('yield "data: ha"', "ValueError('no')", 'data: ha\n\n{"code":8500,"message":"ValueError: no"}'),
        ("if 0: yield", "errors.OutOfCapacity()", '{"code":3040,"message":"Capacity temporarily exceeded, '),
    ],
)
async def test_what_a_script_raises_in_an_event_stream(worker: Workers, before: str, raised: str, after: str) -> None:
    client = worker(f"""
        from workers import Response, WorkerEntrypoint
        from cfai import errors

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(self.events(), headers={{"content-type": "text/event-stream; charset=utf-8"}})

            async def events(self):
                {before}
                raise {raised}
        """)
    response = await client.get("/")
    expected = after.replace('{"code"', 'data: {"response":"","errors":[{"code"')
    assert response.text.startswith(expected)
    assert response.text.endswith("}]}\n\ndata: [DONE]\n\n")
    assert response.ended


async def test_a_stream_of_the_model_that_breaks_off_is_cut(worker: Workers) -> None:
    app = worker.app(STREAMING, ai=SlowModel(ConnectionDropped()))
    response = await worker.client(app).get("/worker-endpoint")
    assert response.text == 'data: {"response":" 1"}\n\ndata: {"response":" 2"}\n\n'
    assert not response.ended
    assert "Network connection lost." in worker.reported[-1]


async def test_another_body_that_fails_is_cut(worker: Workers) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint

        async def body():
            yield b"half"
            raise RuntimeError("boom")

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(body(), headers={"content-type": "text/plain"})
        """)
    response = await client.get("/")
    assert response.chunks == [b"half"]
    assert not response.ended
    assert "RuntimeError: boom" in worker.reported[0]


async def test_an_error_before_the_first_piece_is_a_status(worker: Workers) -> None:
    worker.fake.answers[MODEL] = OutOfCapacity()
    response = await worker(STREAMING).get("/")
    assert response.status == 500
    assert "3040: Capacity temporarily exceeded" in response.text


async def test_ending_the_streams_of_a_process(worker: Workers) -> None:
    model = SlowModel()
    app = worker.app(STREAMING, ai=model)
    with anyio.fail_after(5):
        async with Client(app).request("GET", "/") as exchange:
            await exchange.chunk()
            await app.end_streams()
            last = (await exchange.rest())[-1]
    assert json.loads(last.split(b"\n\n")[0].removeprefix(b"data: "))["errors"][0]["code"] == 8500
    assert last.endswith(b"data: [DONE]\n\n")
    assert exchange.ended
    assert model.closed.is_set()


async def test_a_stream_that_the_script_drops_is_closed(worker: Workers) -> None:
    model = SlowModel()
    client = worker(
        f"""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                stream = await self.env.AI.run("{MODEL}", prompt="hi", stream=True)
                await anext(stream)
                return Response("enough")
        """,
        ai=model,
    )
    assert (await client.get("/")).text == "enough"
    assert model.closed.is_set()


async def test_a_head_request_reads_no_body(worker: Workers) -> None:
    model = SlowModel()
    response = await worker(STREAMING, ai=model)("HEAD", "/")
    assert (response.status, response.chunks, response.ended) == (200, [], True)
    assert model.made == 0


async def test_reading_the_stream_in_the_script(worker: Workers) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    client = worker(f"""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                stream = await self.env.AI.run("{MODEL}", {{"prompt": "hi", "stream": True}})
                one, two = stream.tee()
                reader = one.getReader()
                first = await reader.read()
                chunks = [chunk.to_bytes().decode() async for chunk in two]
                return Response.json([first.value.decode(), first.done, *chunks])
        """)
    assert json.loads((await client.get("/")).text) == [
        'data: {"response":"New"}\n\n',
        False,
        'data: {"response":"New"}\n\n',
        'data: {"response":" York"}\n\n',
        "data: [DONE]\n\n",
    ]


async def test_wait_until_outlives_the_response(worker: Workers) -> None:
    client = worker("""
        import anyio
        from workers import Response, WorkerEntrypoint, waitUntil

        done = []

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                if request.url.endswith("/done"):
                    return Response.json(done)
                self.ctx.waitUntil(self.note("one"))
                waitUntil(self.note("two"))
                self.ctx.waitUntil(self.fail())
                return Response("now")

            async def note(self, what):
                await anyio.sleep(0.05)
                done.append(what)

            async def fail(self):
                raise ValueError("boom")
        """)
    with anyio.fail_after(5):
        async with client.request("GET", "/") as exchange:
            assert await exchange.rest() == [b"now"]
            assert (await client.get("/done")).text == "[]"
    assert sorted(json.loads((await client.get("/done")).text)) == ["one", "two"]
    assert "ValueError: boom" in worker.reported[0]


async def test_what_ends_the_work_given_to_wait_until_ends_nothing_else(worker: Workers) -> None:
    client = worker("""
        import asyncio
        import sys
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                self.ctx.waitUntil(self.leave())
                self.ctx.waitUntil(self.cancel())
                return Response("now")

            async def leave(self):
                sys.exit(5)

            async def cancel(self):
                raise asyncio.CancelledError
        """)
    assert (await client.get("/")).text == "now"
    assert [trace.splitlines()[-1] for trace in worker.reported] == [
        "SystemExit: 5",
        "asyncio.exceptions.CancelledError",
    ]


async def test_a_stream_that_calls_exit_fails_and_ends_nothing_else(worker: Workers) -> None:
    client = worker("""
        import asyncio
        import sys
        from js import ReadableStream
        from workers import Response, WorkerEntrypoint

        async def pull(controller):
            await asyncio.sleep(0)
            sys.exit(3)

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(ReadableStream.new(pull=pull))
        """)
    assert not (await client.get("/")).ended
    assert worker.reported[0].splitlines()[-1] == "SystemExit: 3"


async def test_a_request_body_streams_in(worker: Workers) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(request.body)
        """)
    response = await client("POST", "/", body=[b"one", b"two"])
    assert response.chunks == [b"one", b"two"]


async def test_a_large_unread_body_is_not_read_ahead_without_bound(worker: Workers) -> None:
    read = 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": bytes(1 << 18), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        pass

    app = worker.app("""
        import anyio
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                await anyio.sleep(0.1)
                return Response("unread")
        """)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"1000000000")]}
    await app(scope, receive, send)
    assert read < 10


async def test_a_framework_streams(worker: Workers) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    client = worker(f"""
        import asgi
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, StreamingResponse
        from starlette.routing import Route
        from workers import WorkerEntrypoint

        async def stream(request):
            events = await request.scope["env"].AI.run("{MODEL}", prompt="hi", stream=True)
            return StreamingResponse(events, media_type="text/event-stream")

        async def echo(request):
            return JSONResponse({{"path": request.url.path, "body": await request.json()}}, 201)

        async def fail(request):
            raise ValueError("boom")

        app = Starlette(routes=[Route("/stream", stream), Route("/echo", echo, methods=["POST"]), Route("/fail", fail)])

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return await asgi.fetch(app, request, self.env, self.ctx)
        """)
    response = await client.get("/stream")
    assert response.chunks == [b'data: {"response":"New"}\n\n', b'data: {"response":" York"}\n\n', b"data: [DONE]\n\n"]
    response = await client("POST", "/echo?a=1", body=[b'{"a":', b"1}"])
    assert (response.status, json.loads(response.text)) == (201, {"path": "/echo", "body": {"a": 1}})
    assert (await client.get("/fail")).status == 500
    assert (await client.get("/nowhere")).status == 404
