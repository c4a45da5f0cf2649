"""How public Python Workers are written: their ways of calling a model and of reading what it answers."""

import datetime
import json
from typing import Any

import pytest

from cfai.errors import NoSuchModel
from tests.worker.conftest import Workers

MODEL = "@cf/meta/llama-3.1-8b-instruct"
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
ANSWER = {"response": "hello", "usage": {"total_tokens": 3}, "list": [{"score": 0.5}]}


@pytest.mark.parametrize(
    "call",
    [
        'env.AI.run(MODEL, {"messages": MESSAGES, "max_tokens": 9})',
        'env.AI.run(MODEL, to_js({"messages": MESSAGES, "max_tokens": 9}, dict_converter=Object.fromEntries))',
        'env.AI.run(MODEL, to_js({"messages": MESSAGES, "max_tokens": 9}))',
        'env.AI.run(MODEL, js.JSON.parse(json.dumps({"messages": MESSAGES, "max_tokens": 9})))',
        "env.AI.run(MODEL, messages=MESSAGES, max_tokens=9)",
        "env.AI.run(MODEL, Object.fromEntries([['messages', to_js(MESSAGES)], ['max_tokens', 9]]))",
        'Ai(env.AI).run(MODEL, {"messages": MESSAGES, "max_tokens": 9})',
        'env._env.AI.run(MODEL, {"messages": MESSAGES, "max_tokens": 9})',
        'env.AI.run(MODEL, {"messages": MESSAGES, "max_tokens": 9}, gateway={"id": "mine"})',
    ],
)
async def test_the_ways_to_give_inputs(worker: Workers, call: str) -> None:
    worker.fake.answers[MODEL] = "hello"
    client = worker(f"""
        import json
        import js
        from cfai import Ai
        from js import Object
        from pyodide.ffi import to_js
        from workers import Response, WorkerEntrypoint

        MODEL, MESSAGES = {MODEL!r}, {MESSAGES!r}

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                env = self.env
                result = await {call}
                assert env.AI.lastRequestId
                return Response(result.response)
        """)
    response = await client.get("/")
    assert (response.status, response.text) == (200, "hello"), response.text
    assert worker.fake.calls[0].inputs == {"messages": MESSAGES, "max_tokens": 9}
    assert type(worker.fake.calls[0].inputs) is dict


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ("r.response", "hello"),
        ('r["response"]', "hello"),
        ('r.get("response", "")', "hello"),
        ('getattr(r, "response", None)', "hello"),
        ('getattr(r, "nope", None)', None),
        ('"response" in r and hasattr(r, "response")', True),
        ("r.usage.total_tokens", 3),
        ('r.to_py()["usage"]["total_tokens"]', 3),
        ("json.loads(json.dumps(r))", ANSWER),
        ("json.loads(js.JSON.stringify(r))", ANSWER),
        ("list(js.Object.keys(r))", ["response", "usage", "list"]),
        ("[isinstance(r, JsProxy), isinstance(r, dict)]", [False, True]),
        ('[r.list[0].score, r.list[0]["score"]]', [0.5, 0.5]),
    ],
)
async def test_the_ways_to_read_a_result(worker: Workers, read: str, expected: Any) -> None:
    worker.fake.answers[MODEL] = ANSWER
    client = worker(f"""
        import json
        import js
        from pyodide.ffi import JsProxy
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                r = await self.env.AI.run({MODEL!r}, {{"prompt": "hi"}})
                return Response.json({read})
        """)
    response = await client.get("/")
    assert response.status == 200, response.text
    assert json.loads(response.text) == expected


@pytest.mark.parametrize(
    "clause", ["cfai.AiError", "cfai.errors.NoSuchModel", "JsException", "(JsException, ValueError)", "Exception"]
)
async def test_the_ways_to_catch_an_error(worker: Workers, clause: str) -> None:
    worker.fake.answers["@cf/x"] = NoSuchModel("@cf/x")
    client = worker(f"""
        import cfai
        import cfai.errors
        from pyodide.ffi import JsException
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                try:
                    await self.env.AI.run("@cf/x", {{"prompt": "hi"}})
                except {clause} as error:
                    return Response.json([error.name, error.message, str(error), error.code])
        """)
    assert json.loads((await client.get("/")).text) == [
        "AiError",
        "5007: No such model @cf/x or task",
        "AiError: 5007: No such model @cf/x or task",
        5007,
    ]


async def test_what_to_do_about_an_error_is_for_the_terminal(worker: Workers) -> None:
    """Scripts catch it and answer with Cloudflare's sentence, which says nothing of this machine."""
    worker.fake.answers["@cf/x"] = NoSuchModel("@cf/x", hint="its task, Text Embeddings, does not run here")
    client = worker("""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                try:
                    await self.env.AI.run("@cf/x", {"text": "hi"})
                except Exception as error:
                    return Response.json({"error": str(error), "type": type(error).__name__}, status=500)
        """)
    for _ in range(2):
        response = await client.get("/")
        assert json.loads(response.text) == {
            "error": "AiError: 5007: No such model @cf/x or task",
            "type": "JsException",
        }
    notes = [line for line in worker.logged if not line.startswith("[wrangler:info]")]
    assert notes == ["cfai: No such model @cf/x or task: its task, Text Embeddings, does not run here"]


async def test_what_a_script_logs_of_an_error_is_its_own_part(worker: Workers) -> None:
    worker.fake.answers["@cf/x"] = NoSuchModel("@cf/x")
    client = worker("""
        import traceback
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                try:
                    await self.env.AI.run("@cf/x", {"prompt": "hi"})
                except Exception:
                    return Response(traceback.format_exc())
        """)
    frames = [line for line in (await client.get("/")).text.splitlines() if line.startswith("  File")]
    assert [name for line in frames if "entry.py" not in (name := line.split('"')[1].rpartition("/")[2])] == [
        "promises.py"
    ]


async def test_a_stream_written_behind_the_response(worker: Workers) -> None:
    """An agent writes events into a TransformStream; a proxy of its task keeps the request open."""
    worker.fake.answers[MODEL] = ["hello", " Ann"]
    client = worker(f"""
        import asyncio
        from js import TextEncoder, TransformStream
        from pyodide.ffi import create_proxy
        from workers import Response, WorkerEntrypoint, wait_until

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                transform = TransformStream.new()
                writer = transform.writable.getWriter()
                encoder = TextEncoder.new()

                async def write():
                    async for piece in await self.env.AI.run("{MODEL}", {{"prompt": "hi", "stream": True}}):
                        await writer.write(encoder.encode("event: piece\\n"))
                        await writer.write(piece)
                    await writer.close()

                wait_until(create_proxy(asyncio.create_task(write())))
                return Response(transform.readable, headers={{"content-type": "text/event-stream"}})
        """)
    response = await client.get("/")
    assert response.headers["content-type"] == "text/event-stream"
    assert response.text.startswith('event: piece\ndata: {"response":"hello"')
    assert response.text.count("event: piece\n") >= 3
    assert response.text.endswith("data: [DONE]\n\n")
    assert worker.reported == []


async def test_an_uncaught_error_of_a_model(worker: Workers) -> None:
    worker.fake.answers["@cf/x"] = NoSuchModel("@cf/x")
    client = worker("""
        from workers import WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return await self.env.AI.run("@cf/x", {"prompt": "hi"})
        """)
    response = await client.get("/")
    assert response.status == 500
    assert "pyodide.ffi.JsException: AiError: 5007: No such model @cf/x or task\n`cfai models` lists" in response.text


async def test_a_chat_behind_a_form(worker: Workers) -> None:
    """A class `on_fetch` of old, a guarded import of js, JSON bridged both ways, CORS headers by hand."""
    worker.fake.answers[MODEL] = "hello Ann"
    client = worker(
        f"""
        import json
        try:
            import js
            from pyodide.ffi import to_js
        except ImportError:
            js = None
        from workers import Response, WorkerEntrypoint

        CORS = {{"Access-Control-Allow-Origin": "*"}}

        def bridge(value):
            return js.JSON.parse(json.dumps(value)) if js else value

        class Default(WorkerEntrypoint):
            async def on_fetch(self, request, env):
                if request.method == "OPTIONS":
                    return Response("", status=204 if False else 200, headers=CORS)
                data = await request.json()
                ai = getattr(env, "AI", None) or getattr(self.env, "AI", None)
                result = await ai.run({MODEL!r}, bridge({{"prompt": f"I am {{data['name']}}"}}))
                text = json.loads(js.JSON.stringify(result))["response"]
                return Response(json.dumps({{"text": text}}), headers={{**CORS, "Content-Type": "application/json"}})
        """,
        compatibility_date=datetime.date(2025, 1, 1),
    )
    response = await client("POST", "/", body=[b'{"name": "Ann"}'])
    assert (response.status, response.text) == (200, '{"text": "hello Ann"}')
    assert response.headers["access-control-allow-origin"] == "*"
    assert worker.fake.calls[0].inputs == {"prompt": "I am Ann"}


async def test_a_legacy_script_with_raw_javascript(worker: Workers) -> None:
    client = worker("""
        from js import Headers, Object, Response, URL, console
        from pyodide.ffi import create_proxy, to_js

        async def on_fetch(request, env, ctx):
            url = URL.new(request.url)
            assert request.method == "POST" and request.headers["x-a"] == "1" and "x-a" in request.headers
            body = await request.json()
            headers = Headers.new({"content-type": "text/plain"}.items())
            headers.append("set-cookie", "a=1")
            headers.append("set-cookie", "b=2")
            seen = []
            done = create_proxy(lambda value, name: seen.append(name))
            url.searchParams.forEach(done)
            done.destroy()
            console.log("seen", to_js(seen))
            text = f"{url.pathname} {url.searchParams.get('q')} {body.name} {body.to_py()} {seen}"
            return Response.new(text, to_js({"status": 201, "headers": headers}, dict_converter=Object.fromEntries))
        """)
    async with client.request("POST", "/path?q=a%20b", headers=[("x-a", "1")], body=[b'{"name": "n"}']) as exchange:
        text = b"".join(await exchange.rest()).decode()
    assert (exchange.status, text) == (201, "/path a b n {'name': 'n'} ['q']")
    assert [value for name, value in exchange.lines if name == "set-cookie"] == ["a=1", "b=2"]


async def test_the_handler_decorator(worker: Workers) -> None:
    client = worker("""
        from workers import Request, Response, handler

        @handler
        async def on_fetch(request, env):
            assert isinstance(request, Request)
            return Response.json((await request.json())["a"])
        """)
    assert (await client("POST", "/", body=[b'{"a": [1, 2]}'])).text == "[1, 2]"


async def test_a_stream_made_by_the_script(worker: Workers) -> None:
    client = worker("""
        import js
        from pyodide.ffi import create_proxy
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                words = ["one", "two"]
                encoder = js.TextEncoder.new()

                async def pull(controller):
                    if words:
                        controller.enqueue(encoder.encode(words.pop(0)))
                    else:
                        controller.close()

                return Response(js.ReadableStream.new(pull=create_proxy(pull)))
        """)
    assert (await client.get("/")).chunks == [b"one", b"two"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_timers(worker: Workers) -> None:
    client = worker("""
        import asyncio
        from js import clearTimeout, setTimeout
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                done = asyncio.Event()
                clearTimeout(setTimeout(lambda: 1 / 0, 1))
                setTimeout(done.set, 10)
                await asyncio.wait_for(done.wait(), 1)
                return Response("rang")
        """)
    assert (await client.get("/")).text == "rang"
