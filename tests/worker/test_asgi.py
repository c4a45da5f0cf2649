"""`asgi.fetch` and `asgi.websocket`, with FastAPI and with applications of a few lines."""

import asyncio
import datetime
import json
import textwrap

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers
from tests.worker.served import served
from tests.worker.test_streams import SlowModel

JSON = [("content-type", "application/json")]
MODEL = "@cf/meta/llama-2-7b-chat-int8"
BUILT_IN = datetime.date(2025, 10, 1)

FASTAPI = f'''
import asgi
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from pyodide.ffi import run_sync
from workers import Response, WorkerEntrypoint

MODEL = "{MODEL}"
app = FastAPI()
ran = []


class Question(BaseModel):
    prompt: str
    max_tokens: int = 16


@app.post("/ask")
async def ask(question: Question, env=asgi.env):
    return await env.AI.run(MODEL, question.model_dump())


@app.post("/ask-in-a-thread")
def ask_in_a_thread(question: Question, request: Request):
    answer = run_sync(request.scope["env"].AI.run(MODEL, question.model_dump()))
    return {{"answer": answer.response}}


@app.get("/events")
async def events(request: Request):
    stream = await request.scope["env"].AI.run(MODEL, prompt="hi", stream=True)

    async def generate():
        async for chunk in stream:
            yield chunk.to_bytes()

    return StreamingResponse(generate(), media_type="text/event-stream")


@app.get("/cookies")
async def cookies():
    response = PlainTextResponse("ok")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


@app.get("/background")
async def background(tasks: BackgroundTasks):
    tasks.add_task(ran.append, "background")
    return "later"


@app.get("/ran")
async def what_ran():
    return ran


Default = asgi.entrypoint(app)
'''


async def test_fastapi_checks_bodies_and_asks_models(worker: Workers) -> None:
    worker.fake.answers[MODEL] = "in America"
    client = worker(FASTAPI)
    answer = await client("POST", "/ask", headers=JSON, body=[b'{"prompt":', b'"where?"}'])
    assert (answer.status, json.loads(answer.text)["response"]) == (200, "in America")
    assert worker.fake.calls[0].inputs == {"prompt": "where?", "max_tokens": 16}
    answer = await client("POST", "/ask-in-a-thread", headers=JSON, body=[b'{"prompt":"where?"}'])
    assert json.loads(answer.text) == {"answer": "in America"}
    answer = await client("POST", "/ask", headers=JSON, body=[b"{}"])
    assert answer.status == 422
    assert json.loads((await client.get("/openapi.json")).text)["info"]["title"] == "FastAPI"


async def test_fastapi_streams_a_model_and_stops_it_when_the_client_leaves(worker: Workers) -> None:
    model = SlowModel()
    client = Client(worker.app(FASTAPI, ai=model))
    async with client.request("GET", "/events") as exchange:
        assert (await exchange.chunk()).startswith(b"data: ")
        assert exchange.headers["content-type"].startswith("text/event-stream")
        exchange.leave()
    assert model.closed.is_set()
    assert model.made < 10


async def test_a_response_keeps_its_cookies_apart(worker: Workers) -> None:
    client = worker(FASTAPI)
    async with client.request("GET", "/cookies") as exchange:
        await exchange.rest()
    assert [value for name, value in exchange.lines if name == "set-cookie"] == [
        "a=1; Path=/; SameSite=lax",
        "b=2; Path=/; SameSite=lax",
    ]


async def test_background_tasks_run(worker: Workers) -> None:
    client = worker(FASTAPI)
    assert (await client.get("/background")).text == '"later"'
    assert json.loads((await client.get("/ran")).text) == ["background"]


APP = """
import asyncio, json, asgi
from workers import Response, WorkerEntrypoint

seen = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    else:
        await answer(scope, receive, send)

async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        seen.append(message["type"])
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return

def start(status=200, kind=b"text/plain"):
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]}

def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/seen"):
            return Response.json(seen)
        return await asgi.fetch(app, request, self.env, self.ctx)
"""


def with_app(answer: str) -> str:
    return APP + textwrap.dedent(answer)


async def test_a_body_is_received_in_chunks_and_then_the_client_is_gone(worker: Workers) -> None:
    client = worker(
        with_app("""
        async def answer(scope, receive, send):
            received = [await receive() for _ in range(3)]
            await send(start())
            await send(body(b"ok"))
            seen.extend([*(m["body"].decode() for m in received), (await receive())["type"]])
        """)
    )
    assert (await client("POST", "/", body=[b"one", b"two"])).text == "ok"
    seen = json.loads((await client.get("/seen")).text)
    assert seen == ["lifespan.startup", "one", "two", "", "http.disconnect", "lifespan.shutdown"]


async def test_a_header_beyond_ascii_is_sent(worker: Workers) -> None:
    client = worker(
        with_app("""
        async def answer(scope, receive, send):
            head = start()
            head["headers"] += [(b"x-utf", "é".encode()), (b"x-latin", "é".encode("latin-1"))]
            await send(head)
            await send(body(b"ok"))
        """)
    )
    headers = (await client.get("/")).headers
    assert {headers[name].encode("latin-1").decode() for name in ("x-utf", "x-latin")} == {"é"}


@pytest.mark.parametrize(("date", "path"), [(None, "/a b/é"), (BUILT_IN, "/a%20b/%C3%A9")])
async def test_the_path_is_as_the_generation_gives_it(worker: Workers, date: datetime.date | None, path: str) -> None:
    script = with_app("""
        async def answer(scope, receive, send):
            await send(start())
            shown = {name: scope[name] for name in ("path", "type", "method", "scheme", "http_version")}
            shown |= {name: scope[name].decode() for name in ("query_string", "raw_path") if name in scope}
            shown["names"] = sorted(scope)
            await send(body(json.dumps(shown).encode()))
        """)
    client = worker(script) if date is None else worker(script, compatibility_date=date)
    scope = json.loads((await client.get("/a%20b/%C3%A9?q=%20x")).text)
    names = ["asgi", "env", "headers", "http_version", "method", "path", "query_string", "scheme", "state", "type"]
    expected = {"path": path, "type": "http", "method": "GET", "scheme": "http", "http_version": "1.1"}
    expected |= {"query_string": "q=%20x"}
    if date is None:
        names.insert(7, "raw_path")
        expected["raw_path"] = "/a%20b/%C3%A9"
    assert scope == {**expected, "names": names}


async def test_chunks_are_made_as_they_are_read(worker: Workers) -> None:
    client = worker(
        with_app("""
        async def answer(scope, receive, send):
            await send(start())
            for number in range(1000):
                seen.append(number)
                await send(body(b"x", more=True))
            await send(body())
        """)
    )
    async with client.request("GET", "/") as exchange:
        await exchange.chunk()
        await asyncio.sleep(0.05)
        exchange.leave()
    assert len(json.loads((await client.get("/seen")).text)) < 300


LATE = """
        async def answer(scope, receive, send):
            await send(start(kind=b"{kind}"))
            await send(body(b"data: 1\\n\\n", more=True))
            raise ValueError("late")
        """


async def test_an_event_stream_that_fails_tells_the_client(worker: Workers) -> None:
    answer = await worker(with_app(LATE.replace("{kind}", "text/event-stream"))).get("/")
    assert "ValueError: late" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    assert worker.reported[-1].endswith("ValueError: late\n")


async def test_any_other_stream_that_fails_ends_where_it_is(worker: Workers, caplog: pytest.LogCaptureFixture) -> None:
    answer = await worker(with_app(LATE.replace("{kind}", "text/plain"))).get("/")
    assert (answer.text, answer.ended) == ("data: 1\n\n", True)
    assert "Exception in ASGI application after response started" in caplog.text


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("raise ValueError('boom')", "ValueError: boom"),
        ("return", "RuntimeError: The application did not generate a response"),
        ("await send(body(b'x'))", "RuntimeError: http.response.body came before http.response.start"),
    ],
)
async def test_an_application_that_fails_is_a_500(
    worker: Workers, caplog: pytest.LogCaptureFixture, answer: str, problem: str
) -> None:
    response = await worker(with_app(f"async def answer(scope, receive, send):\n    {answer}\n")).get("/")
    assert response.status == 500
    assert response.text.endswith(f"{problem}\n")
    assert "ASGI request failed" in caplog.text


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_failed_lifespan_is_a_500(worker: Workers, phase: str) -> None:
    client = worker(
        with_app(f"""
        async def lifespan(scope, receive, send):
            while True:
                kind = (await receive())["type"]
                if kind == "lifespan.{phase}":
                    await send({{"type": f"{{kind}}.failed", "message": "no database"}})
                    return
                await send({{"type": f"{{kind}}.complete"}})

        async def answer(scope, receive, send):
            await send(start())
            await send(body(b"ok"))
        """)
    )
    assert (await client.get("/")).text.endswith("RuntimeError: no database\n")


async def test_a_status_without_a_body_has_none(worker: Workers) -> None:
    client = worker(
        with_app("""
        async def answer(scope, receive, send):
            await send(start(204))
            await send(body(b"dropped"))
        """)
    )
    answer = await client.get("/")
    assert (answer.status, answer.text) == (204, "")


@pytest.mark.parametrize(
    ("answer", "idiom"),
    [
        (
            """
            async def answer(scope, receive, send):
                await send(start())
                await send(body(b"1", more=True))
                await send(body(b"2"))
            """,
            "a streamed body that is not text/event-stream in asgi.fetch works here and raises InvalidStateError",
        ),
        (
            """
            async def answer(scope, receive, send):
                await send(start(204))
                await send(body())
            """,
            "status 204 from an ASGI application works here and raises",
        ),
        (
            """
            async def lifespan(scope, receive, send):
                scope["state"]["db"] = 1
                await receive()
                await send({"type": "lifespan.startup.complete"})

            async def answer(scope, receive, send):
                await send(start())
                await send(body(b"ok"))
            """,
            "the state of a lifespan in a request works here and raises AttributeError: 'State' object has no",
        ),
        (
            """
            async def app(scope, receive, send):
                assert scope["type"] == "http"
                await send(start())
                await send(body(b"ok"))
            """,
            "an ASGI application without lifespan events works here and raises RuntimeError: The Workers runtime",
        ),
        (
            """
            async def answer(scope, receive, send):
                await send(start(kind=b"text/event-stream"))
                await send(body(b"data: 1", more=True))
                await send(body())

            class Default(WorkerEntrypoint):
                async def fetch(self, request):
                    return await asgi.fetch(app, request, self.env)
            """,
            "Server-Side-Events require ctx to be passed to asgi.fetch",
        ),
    ],
)
async def test_what_the_built_in_sdk_refuses_works_with_a_note(worker: Workers, answer: str, idiom: str) -> None:
    client = worker(with_app(answer), compatibility_date=BUILT_IN)
    assert (await client.get("/")).status in (200, 204)
    assert any(idiom in line for line in worker.logged), worker.logged
    client = worker(with_app(answer))
    worker.logged.clear()
    await client.get("/")
    assert not any("works here" in line for line in worker.logged)


SOCKETS = """
import asgi
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pyodide.ffi import create_proxy

app = FastAPI()
left = []

@app.websocket("/echo")
async def echo(socket: WebSocket, env=asgi.env):
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"], message["reason"])
            if "bytes" in message:
                await socket.send_bytes(message["bytes"])
            elif message["text"] == "close":
                await socket.close(4001, "enough")
                return
            elif message["text"] == "fail":
                raise ValueError("boom")
            else:
                await socket.send_text(f'{env.GREETING} {message["text"]}')
    except WebSocketDisconnect as error:
        left.append([error.code, error.reason])

@app.get("/left")
async def who_left():
    return left

Default = asgi.entrypoint(app)
"""


async def test_a_websocket_of_fastapi(worker: Workers, caplog: pytest.LogCaptureFixture) -> None:
    app = worker.app(SOCKETS, vars={"GREETING": "hello"})
    async with served(app) as at:
        async with connect(f"ws://{at}/echo") as socket:
            await socket.send("you")
            assert await socket.recv() == "hello you"
            await socket.send(b"")
            assert await socket.recv() == b""
            await socket.close(4002, "bye")
        for said, code, reason in (("close", 4001, "enough"), ("fail", 1011, "")):
            async with connect(f"ws://{at}/echo") as socket:
                await socket.send(said)
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert (socket.close_code, socket.close_reason) == (code, reason)
    assert "ValueError: boom" in caplog.text
    assert json.loads((await Client(app).get("/left")).text) == [[4002, "bye"]]
