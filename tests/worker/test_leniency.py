"""What only cfai takes is noted once, and refused under strict with what Cloudflare raises."""

import datetime
import json
from typing import Any

import pytest

from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

BUILT_IN = datetime.date(2025, 11, 2)
OLDEST = datetime.date(2025, 1, 1)
EXTERNAL = datetime.date(2026, 6, 1)
MODEL = "@cf/meta/llama"
KINDS = "[hasattr(r, 'to_py'), isinstance(r, JsProxy), isinstance(r, dict)]"
WITH_ON_FETCH = """
from workers import WorkerEntrypoint
class Default(WorkerEntrypoint):
    def on_fetch(self, request): ...
"""
WITH_FETCH = WITH_ON_FETCH.replace("on_fetch", "fetch")
ANSWER = {"response": "hello", "nothing": None, "keys": [{"name": "a"}], "score": 1.0}


async def said(worker: Workers, code: str, date: datetime.date, *, strict: bool = False, times: int = 1) -> str:
    """What `code`, which has `r`, a result, gives, or what it raises."""
    worker.fake.answers[MODEL] = ANSWER
    by_class = "class Default(WorkerEntrypoint):\n  async def fetch(self, request)"
    handler, env = ("async def on_fetch(request, env)", "env") if date == OLDEST else (by_class, "self.env")
    script = f"""
import asyncio, json
import js
from js import Object
from pyodide.ffi import JsException, JsProxy, to_js
from workers import Response, WorkerEntrypoint

{handler}:
      env = {env}
      r = await env.AI.run({MODEL!r}, to_js({{"prompt": "hi"}}, dict_converter=Object.fromEntries))
      try:
          found = {code}
      except Exception as error:
          return Response(f"{{type(error).__name__}}: {{error}}")
      return Response(json.dumps(found))
"""
    client = Client(worker.app(script, strict=strict, compatibility_date=date))
    for _ in range(times):
        response = await client.get("/")
        assert response.status == 200, response.text
    return response.text


def notes(worker: Workers) -> list[str]:
    return [line for line in worker.logged if line.startswith("note: ")]


NOT_SUBSCRIPTABLE = "TypeError: 'pyodide.ffi.JsProxy' object is not subscriptable"
DESTROYED = "JsException: Error: This borrowed proxy was automatically destroyed when an iterator was exhausted."


@pytest.mark.parametrize(
    ("code", "date", "gives", "refusal"),
    [
        ('r["response"]', BUILT_IN, "hello", NOT_SUBSCRIPTABLE),
        ('r["response"]', OLDEST, "hello", NOT_SUBSCRIPTABLE),
        ('"response" in r', BUILT_IN, True, "TypeError: argument of type 'pyodide.ffi.JsProxy' is not iterable"),
        ("len(r)", BUILT_IN, 4, "TypeError: object of type 'pyodide.ffi.JsProxy' has no len()"),
        ("sorted(r)", BUILT_IN, sorted(ANSWER), "TypeError: 'pyodide.ffi.JsProxy' object is not iterable"),
        ('r.get("response")', BUILT_IN, "hello", "AttributeError: get"),
        ("json.loads(json.dumps(r))", BUILT_IN, ANSWER, "TypeError: Object of type JsProxy is not JSON serializable"),
        ("r.to_py()", EXTERNAL, ANSWER, "AttributeError: to_py"),
        ('env["AI"] is env.AI', EXTERNAL, True, "TypeError: '_EnvWrapper' object is not subscriptable"),
        ('js.Headers([["a", "b"]]).get("a")', BUILT_IN, "b", "JsException: TypeError: Class constructor Headers"),
        ('js.Map.new({"a": 1}).get("a")', BUILT_IN, 1, "JsException: TypeError: Iterator value a is not an entry"),
        ("list(js.Array.new(1, 2).map(lambda x: x + 1))", BUILT_IN, [2, 3], "TypeError: <lambda>() takes 1 positional"),
        ('js.JSON.stringify([{"a": 1}])', BUILT_IN, '[{"a":1}]', DESTROYED),
        ('to_js(b"ab").decode()', BUILT_IN, "ab", "AttributeError: decode"),
        (
            f"(await env.AI.run({MODEL!r}, {{'messages': [{{'content': 'hi'}}]}})).response",
            BUILT_IN,
            "hello",
            DESTROYED,
        ),
        (
            f"(await env.AI.run({MODEL!r}, {{'stop': ('a',)}})).response",
            EXTERNAL,
            "hello",
            "TypeError: <class 'tuple'>",
        ),
        (
            f"(await asyncio.create_task(env.AI.run({MODEL!r}))).response",
            BUILT_IN,
            "hello",
            "TypeError: a coroutine was expected",
        ),
    ],
)
async def test_an_idiom_is_noted_once_and_refused_under_strict(
    worker: Workers, code: str, date: datetime.date, gives: Any, refusal: str
) -> None:
    assert json.loads(await said(worker, code, date, times=2)) == gives
    [note] = notes(worker)
    assert f"works here and raises {refusal}"[:60] in note, note
    # What a task is given runs in the event loop, below no line of the script.
    assert (f"on Cloudflare with compatibility_date {date}, at entry.py:" in note) is ("create_task" not in code)
    assert (await said(worker, code, date, strict=True)).startswith(refusal)
    assert len(notes(worker)) == 1


@pytest.mark.parametrize(
    ("code", "date", "gives", "there"),
    [
        ('js.JSON.stringify({"a": 1})', OLDEST, '{"a":1}', "{}"),
        ("js.JSON.stringify(r)", EXTERNAL, '{"response":"hello","keys":[{"name":"a"}],"score":1}', "{}"),
        ('list(Object.keys({"a": 1}))', OLDEST, ["a"], []),
        ('js.Response.new("x", {"status": 404}).status', OLDEST, 404, 200),
    ],
)
async def test_where_cloudflare_raises_nothing_strict_does_as_it_does(
    worker: Workers, code: str, date: datetime.date, gives: Any, there: Any
) -> None:
    assert json.loads(await said(worker, code, date)) == gives
    assert "works here and" in notes(worker)[0]
    assert json.loads(await said(worker, code, date, strict=True)) == there


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("code", "date", "gives"),
    [
        (
            "[r.response, hasattr(r, 'to_py'), isinstance(r, JsProxy), isinstance(r, dict)]",
            BUILT_IN,
            ["hello", True, True, False],
        ),
        (
            "[r.response, hasattr(r, 'to_py'), isinstance(r, JsProxy), isinstance(r, dict)]",
            EXTERNAL,
            ["hello", False, False, True],
        ),
        ("[hasattr(r, 'get'), hasattr(r, 'items'), getattr(r, 'nope', 3)]", BUILT_IN, [False, False, 3]),
        ("r.keys[0].name", BUILT_IN, "a"),
        ("[k for k in r.keys()]", EXTERNAL, list(ANSWER)),
        ("[r.nothing is None, str(r.nothing), bool(r.nothing)]", OLDEST, [True, "None", False]),
        ("[r.nothing is None, str(r.nothing), bool(r.nothing)]", BUILT_IN, [False, "jsnull", False]),
        ("[r.nothing is None, str(r.nothing), bool(r.nothing)]", EXTERNAL, [True, "None", False]),
        ("[type(r).__name__, type(r.keys).__name__]", BUILT_IN, ["JsProxy", "JsProxy"]),
        ("[type(r).__name__, type(r['keys']).__name__]", EXTERNAL, ["JsDict", "list"]),
        ("[str(r), repr(type(r))]", BUILT_IN, ["[object Object]", "<class 'pyodide.ffi.JsProxy'>"]),
        ("type(to_js({'a': 1})).__name__ + to_js({'a': 1}).constructor.name", BUILT_IN, "JsProxyLiteralMap"),
    ],
)
async def test_what_cloudflare_takes_is_not_noted(
    worker: Workers, code: str, date: datetime.date, gives: Any, strict: bool
) -> None:
    assert json.loads(await said(worker, code, date, strict=strict)) == gives
    assert notes(worker) == []


@pytest.mark.parametrize("strict", [True, False])
async def test_env_as_an_argument_of_fetch(worker: Workers, strict: bool) -> None:
    app = worker.app(
        """
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request, env):
                if request.url.endswith("/or"):
                    env = env or self.env
                return Response(env.GREETING)
        """,
        strict=strict,
        vars={"GREETING": "hi"},
    )
    client = Client(app)
    assert (await client.get("/or")).text == "hi"
    assert notes(worker) == []
    response = await client.get("/")
    assert (response.text == "hi") is not strict
    assert ("AttributeError: 'NoneType' object has no attribute 'GREETING'" in response.text) is strict
    assert len(notes(worker)) == (0 if strict else 1)


@pytest.mark.parametrize(
    ("script", "date", "refusal"),
    [
        ("def on_fetch(request):\n    return 1", BUILT_IN, "Handler does not export a fetch() function."),
        (
            WITH_ON_FETCH,
            BUILT_IN,
            "Method fetch does not exist",
        ),
        (
            WITH_FETCH,
            OLDEST,
            "Method on_fetch does not exist",
        ),
    ],
)
async def test_a_handler_of_another_date(worker: Workers, script: str, date: datetime.date, refusal: str) -> None:
    worker.app(script, compatibility_date=date)
    assert refusal in notes(worker)[0]
    worker.app(script, compatibility_date=date, strict=True)
    assert refusal in worker.reported[-1]


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ('r["response"]', "object.to_py() makes a dict of it"),
        ("json.dumps(r)", "json.dumps(object.to_py()), or js.JSON.stringify(object)"),
        ('js.Headers.new({"a": "b"})', "Headers.new({...}.items())"),
        ("js.URL('http://a')", "js.URL.new(...)"),
        ('self.env["AI"]', 'env.AI, or getattr(env, "AI", None)'),
        ("env.AI", "write self.env.AI"),
        ("[self.env.AI.run('@cf/meta/llama', {'messages': [{'a': [1]}]})]", "to_js({...}, dict_converter=Object"),
    ],
)
async def test_a_note_and_a_refusal_say_where_and_what_to_write(worker: Workers, line: str, instead: str) -> None:
    script = """
import json
import js
import ways
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request, env):
        await ways.take(self, await self.env.AI.run("@cf/meta/llama", prompt="hi"), env)
        return Response("taken")
"""
    worker.fake.answers[MODEL] = ANSWER
    (worker.folder / "ways.py").write_text(f"import json, js\n\nasync def take(self, r, env):\n    return {line}\n")
    assert (await Client(worker.app(script, compatibility_date=BUILT_IN)).get("/")).text == "taken"
    [note] = notes(worker)
    _, _, end = note.partition(f"compatibility_date {BUILT_IN}, at ways.py:4; try: ")
    assert end.startswith(instead), note
    if "env.AI" in instead or "Object" in instead:
        return  # what is refused says so another way: None is None, and a promise is rejected
    await Client(worker.app(script, compatibility_date=BUILT_IN, strict=True)).get("/")
    message, _, remedy = worker.reported[-1].rstrip().rpartition("\n")
    assert remedy.startswith(f"try: {instead}")
    assert "try" not in message.splitlines()[-1]
