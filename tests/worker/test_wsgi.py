"""`workers.wsgi`, with Flask, Django and applications of a few lines."""

import asyncio
import datetime
import json
import textwrap
from typing import Any

import pytest

from tests.worker.conftest import Workers

MODEL = "@cf/meta/llama-2-7b-chat-int8"

APP = """
import json
from pyodide.ffi import run_sync
from workers import Response, WorkerEntrypoint, wsgi

seen = []

def say(start_response, *chunks, status="200 OK", headers=()):
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return list(chunks)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/seen"):
            return Response.json(seen)
        return await wsgi.fetch(app, request, self.env)
"""


def with_app(app: str) -> str:
    return APP + textwrap.dedent(app)


async def test_the_environ(worker: Workers) -> None:
    client = worker(
        with_app("""
        def app(environ, start_response):
            shown = {name: value for name, value in environ.items() if isinstance(value, str)}
            shown["env"] = environ["workers.env"].NAME
            shown["version"] = environ["wsgi.version"]
            environ["wsgi.errors"].write("a complaint\\n")
            return say(start_response, json.dumps(shown).encode())
        """),
        vars={"NAME": "value"},
    )
    headers = [("x-two", "a"), ("x-two", "b"), ("content-type", "text/x"), ("content-length", "3")]
    answer = await client("POST", "/caf%C3%A9/%2F?q=%20", headers=headers, body=[b"abc"])
    assert json.loads(answer.text) == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/caf\xc3\xa9//",
        "QUERY_STRING": "q=%20",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8787",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "localhost:8787",
        "HTTP_X_TWO": "a, b",
        "HTTP_ACCEPT_ENCODING": "br, gzip",
        "HTTP_CF_CONNECTING_IP": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "env": "value",
        "version": [1, 0],
    }


async def test_the_body_is_read_as_the_application_asks_for_it(worker: Workers) -> None:
    client = worker(
        with_app("""
        def app(environ, start_response):
            body = environ["wsgi.input"]
            return say(start_response, body.read(3), b"|", body.readline(), b"|", body.read(), b"|", body.read(1))
        """)
    )
    answer = await client("POST", "/", body=[b"a", b"bcd\ne", b"f"])
    assert answer.text == "abc|d\n|ef|"


async def test_chunks_are_made_as_they_are_read_and_closed_when_the_client_leaves(worker: Workers) -> None:
    client = worker(
        with_app("""
        class Chunks:
            def __iter__(self):
                return self

            def __next__(self):
                seen.append("made")
                return b"x"

            def close(self):
                seen.append("closed")

        def app(environ, start_response):
            say(start_response)
            return Chunks()
        """)
    )
    async with client.request("GET", "/") as exchange:
        assert await exchange.chunk() == b"x"
        await asyncio.sleep(0.05)
        exchange.leave()
    seen = json.loads((await client.get("/seen")).text)
    assert seen.count("closed") == 1
    assert seen[-1] == "closed"
    assert len(seen) < 300


@pytest.mark.parametrize(
    ("app", "status", "text"),
    [
        (
            """
            def app(environ, start_response):
                write = start_response("200 OK", [])
                write(b"1")
                write(b"")
                write(b"2")
                return [b"3", b"", b"4"]
            """,
            200,
            "1234",
        ),
        (
            """
            def app(environ, start_response):
                def late():
                    say(start_response, status="404 Gone Fishing")
                    yield b""
                    yield b"late"
                return late()
            """,
            404,
            "late",
        ),
        (
            """
            import sys

            def app(environ, start_response):
                say(start_response)
                try:
                    raise ValueError
                except ValueError:
                    start_response("500 Sorry", [("x-kind", "replaced")], sys.exc_info())
                return [b"sorry"]
            """,
            500,
            "sorry",
        ),
        ("def app(environ, start_response): return say(start_response, b'dropped', status='204 No Content')", 204, ""),
        ("def app(environ, start_response): return say(start_response)", 200, ""),
    ],
)
async def test_responses(worker: Workers, app: str, status: int, text: str) -> None:
    answer = await worker(with_app(app)).get("/")
    assert (answer.status, answer.text) == (status, text)


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        ("def app(environ, start_response): raise ValueError('boom')", "ValueError: boom"),
        ("def app(environ, start_response): return []", "The WSGI application did not call start_response()"),
        (
            "def app(environ, start_response): return [say(start_response), say(start_response)]",
            "AssertionError: start_response() called more than once",
        ),
    ],
)
async def test_an_application_that_fails_is_a_500(
    worker: Workers, caplog: pytest.LogCaptureFixture, app: str, problem: str
) -> None:
    answer = await worker(with_app(app)).get("/")
    assert answer.status == 500
    assert problem in answer.text
    assert "WSGI request failed" in caplog.text


async def test_a_body_that_fails_is_cut_and_what_start_response_was_given_is_raised(worker: Workers) -> None:
    client = worker(
        with_app("""
        import sys

        def app(environ, start_response):
            say(start_response)
            yield b"one"
            try:
                raise ValueError("too late")
            except ValueError:
                start_response("500 Sorry", [], sys.exc_info())
        """)
    )
    answer = await client.get("/")
    assert (answer.status, answer.text, answer.ended) == (200, "one", False)
    assert worker.reported[0].endswith("ValueError: too late\n")


async def test_the_built_in_sdk_has_none(worker: Workers) -> None:
    script = with_app("def app(environ, start_response): return say(start_response, b'ok')")
    client = worker(script, compatibility_date=datetime.date(2025, 10, 1))
    assert (await client.get("/")).text == "ok"
    assert "ImportError: cannot import name 'wsgi' from 'workers'" in worker.logged[0]


FLASK = f"""
from flask import Flask, Response, request
from pyodide.ffi import run_sync
from workers import wsgi

app = Flask(__name__)

@app.post("/ask")
def ask():
    env = request.environ["workers.env"]
    return run_sync(env.AI.run("{MODEL}", {{"prompt": request.json["prompt"]}}))

@app.get("/events")
def events():
    stream = run_sync(request.environ["workers.env"].AI.run("{MODEL}", prompt="hi", stream=True))

    def generate():
        while (chunk := run_sync(anext(stream, None))) is not None:
            yield chunk.to_bytes()

    return Response(generate(), mimetype="text/event-stream")

@app.get("/cookies")
def cookies():
    response = Response("ok")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response

Default = wsgi.entrypoint(app)
"""


async def test_flask_asks_a_model_and_streams_it(worker: Workers) -> None:
    gate = asyncio.Event()

    async def answer(call: Any) -> Any:
        await gate.wait()
        return ["New", " York"]

    worker.fake.answers[MODEL] = answer
    client = worker(FLASK)
    body = b'{"prompt": "where?"}'
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(client("POST", "/ask", headers=headers, body=[body])) for _ in range(3)]
        async with client.request("GET", "/cookies") as exchange:
            await exchange.rest()
        assert not any(task.done() for task in asking)
        gate.set()
    assert [json.loads(task.result().text)["response"] for task in asking] == ["New York"] * 3
    assert [value for name, value in exchange.lines if name == "set-cookie"] == ["a=1; Path=/", "b=2; Path=/"]
    events = await client.get("/events")
    assert events.chunks == [b'data: {"response":"New"}\n\n', b'data: {"response":" York"}\n\n', b"data: [DONE]\n\n"]


DJANGO = f"""
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path
from pyodide.ffi import run_sync
from workers import WorkerEntrypoint, wsgi

def ask(request, name):
    answer = run_sync(request.environ["workers.env"].AI.run("{MODEL}", prompt=request.POST["prompt"]))
    return JsonResponse({{"answer": answer["response"], "path": request.path}})

def events(request):
    stream = run_sync(request.environ["workers.env"].AI.run("{MODEL}", prompt="hi", stream=True))

    def generate():
        while (chunk := run_sync(anext(stream, None))) is not None:
            yield chunk.to_bytes()

    return StreamingHttpResponse(generate(), content_type="text/event-stream")

urlpatterns = [path("ask/<str:name>", ask), path("events", events)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="for the test", USE_TZ=True)
application = get_wsgi_application()

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await wsgi.fetch(application, request, self.env)
"""


@pytest.mark.usefixtures("django_afresh")
async def test_django_asks_a_model_and_streams_it(worker: Workers) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    client = worker(DJANGO)
    body = b"prompt=where%3F"
    headers = [("content-type", "application/x-www-form-urlencoded"), ("content-length", str(len(body)))]
    answer = await client("POST", "/ask/caf%C3%A9", headers=headers, body=[body])
    assert json.loads(answer.text) == {"answer": "New York", "path": "/ask/café"}
    assert worker.fake.calls[0].inputs["prompt"] == "where?"
    assert (await client.get("/nowhere")).status == 404
    events = await client.get("/events")
    assert events.chunks == [b'data: {"response":"New"}\n\n', b'data: {"response":" York"}\n\n', b"data: [DONE]\n\n"]
