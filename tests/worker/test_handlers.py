"""Which function of a script answers, what it is given, and what becomes of what it returns or raises."""

import datetime
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from cfai import FakeBinding
from cfai.config import AssetsConfig, load_config
from cfai.errors import NoSuchModel
from cfai.testing import virtual_time_backend
from cfai.worker import import_path, worker_app
from cfai.worker.env import Env
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

BEFORE_CLASSES = datetime.date(2025, 8, 13)
CLASSES = datetime.date(2025, 8, 14)


@pytest.mark.parametrize(
    "signature",
    [
        "self",
        "self, request",
        "self, request, env",
        "self, request, env, ctx",
        "self, *args",
        "self, request, env=None",
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_the_signatures_of_fetch(worker: Workers, signature: str, kind: str) -> None:
    client = worker(f"""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            {kind} fetch({signature}):
                return Response("hello")
        """)
    assert (await client.get("/")).text == "hello"


@pytest.mark.parametrize("signature", ["request", "request, env", "request, env, ctx", ""])
@pytest.mark.parametrize("date", [BEFORE_CLASSES, CLASSES])
async def test_the_signatures_of_on_fetch(worker: Workers, signature: str, date: datetime.date) -> None:
    client = worker(
        f"""
        from js import Response

        async def on_fetch({signature}):
            return Response.new("hello", status=201)
        """,
        compatibility_date=date,
    )
    response = await client.get("/")
    assert (response.status, response.text) == (201, "hello")


BOTH = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response("fetch")

        async def on_fetch(self, request):
            return Response("on_fetch of the class")

    async def on_fetch(request):
        return Response("on_fetch of the module")
    """


@pytest.mark.parametrize(
    ("date", "flags", "answer"),
    [
        (BEFORE_CLASSES, (), "on_fetch of the class"),
        (CLASSES, (), "fetch"),
        (BEFORE_CLASSES, ("python_no_global_handlers",), "fetch"),
        (CLASSES, ("disable_python_no_global_handlers",), "on_fetch of the class"),
    ],
)
async def test_the_date_chooses_the_handler(
    worker: Workers, date: datetime.date, flags: tuple[str, ...], answer: str
) -> None:
    client = worker(BOTH, compatibility_date=date, compatibility_flags=flags)
    assert (await client.get("/")).text == answer


ENTRYPOINT = "import workers\nclass Default(workers.WorkerEntrypoint): pass"


@pytest.mark.parametrize(
    ("script", "date", "problem"),
    [
        ("", CLASSES, "TypeError: Handler does not export a fetch() function."),
        ("", BEFORE_CLASSES, 'Error: Python entrypoint "entry.py" does not export a handler named "on_fetch"'),
        (ENTRYPOINT, CLASSES, "TypeError: Method fetch does not exist"),
        (ENTRYPOINT, BEFORE_CLASSES, "TypeError: Method on_fetch does not exist"),
        (
            "class Default: pass",
            CLASSES,
            "TypeError: Handler does not export a fetch() function.\n"
            "the script has a Default, but it is not exported, or does not derive from WorkerEntrypoint",
        ),
    ],
)
async def test_a_script_without_a_handler(worker: Workers, script: str, date: datetime.date, problem: str) -> None:
    response = await worker(script, compatibility_date=date).get("/")
    assert (response.status, response.text) == (500, f"PythonError: {problem}\n")


@pytest.mark.parametrize(
    ("returned", "kind"), [("None", "NoneType"), ("'text'", "str"), ("{'a': 1}", "dict"), ("Response", "type")]
)
async def test_what_is_not_a_response(worker: Workers, returned: str, kind: str) -> None:
    client = worker(f"""
        from workers import Response

        def on_fetch(request):
            return {returned}
        """)
    response = await client.get("/")
    assert response.status == 500
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    problem = "Incorrect type for Promise: the Promise did not resolve to 'Response'."
    assert response.text == f"PythonError: TypeError: {problem}\non_fetch returned {kind}\n"


async def test_an_exception_shows_the_scripts_own_frames(worker: Workers) -> None:
    client = worker("""
        from workers import WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                raise ValueError("boom")
        """)
    response = await client.get("/a?b")
    entry = worker.folder / "entry.py"
    assert response.status == 500
    assert response.text == (
        "PythonError: Traceback (most recent call last):\n"
        f'  File "{entry}", line 6, in fetch\n'
        '    raise ValueError("boom")\n'
        "ValueError: boom\n"
    )
    assert worker.reported == [response.text.removeprefix("PythonError: ")]
    assert worker.logged[0].startswith("[wrangler:info] GET /a 500 Internal Server Error (")


@pytest.mark.parametrize("raised", ["SystemExit(1)", "RecursionError()", "asyncio.CancelledError()", "BaseException()"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_whatever_a_script_raises_is_a_500(worker: Workers, raised: str) -> None:
    client = worker(f"""
        import asyncio

        async def on_fetch(request):
            raise {raised}
        """)
    assert (await client.get("/")).status == 500
    assert (await client.get("/")).status == 500


async def test_instances_are_per_request_and_the_module_stays(worker: Workers) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint

        count = 0

        class Default(WorkerEntrypoint):
            seen = None

            def __init__(self, ctx, env):
                super().__init__(ctx, env)
                self.mine = 0

            async def fetch(self, request):
                global count
                count += 1
                self.mine += 1
                return Response.json([count, self.mine])
        """)
    assert [(await client.get("/")).text for _ in range(2)] == ["[1, 1]", "[2, 1]"]


async def test_env(worker: Workers) -> None:
    client = worker(
        """
        from workers import Response, WorkerEntrypoint, env as outer

        AT_IMPORT = outer.NAME

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                env = self.env
                return Response.json({
                    "import": AT_IMPORT,
                    "name": env.NAME,
                    "number": env.NUMBER,
                    "flag": env.FLAGS.beta,
                    "missing": getattr(env, "KV", None),
                    "has": [hasattr(env, "AI"), hasattr(env, "THINK"), hasattr(env._env, "THINK")],
                    "repr": repr(env),
                })
        """,
        ai_binding="THINK",
        vars={"NAME": "value", "NUMBER": 3, "FLAGS": {"beta": True}},
    )
    assert json.loads((await client.get("/")).text) == {
        "import": "value",
        "name": "value",
        "number": 3,
        "flag": True,
        "missing": None,
        "has": [False, True, True],
        "repr": "Env(THINK, NAME, NUMBER, FLAGS)",
    }


def test_a_missing_binding_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"env has no 'KV' \(it has: NAME\)"):
        Env({}, {"NAME": "secret"}).KV  # noqa: B018


async def test_a_binding_that_is_not_simulated_is_there_and_says_so_when_it_is_used(worker: Workers) -> None:
    client = worker(
        """
        def on_fetch(request, env):
            if hasattr(env, "KV"):
                env.KV.get("x")
        """,
        not_simulated=(("KV", "KV Namespace"),),
    )
    response = await client.get("/")
    assert response.text.endswith("NotSimulated: env.KV: KV Namespace bindings are not simulated\n")
    assert "cfai/worker/env.py" not in response.text


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import js; js.HTMLRewriter", "js has no 'HTMLRewriter', or cfai does not have it yet"),
        ("import workers; workers.Queue", "workers has no 'Queue', or cfai does not"),
        ("request.form_date()", "AttributeError: 'Request' object has no attribute 'form_date'"),
        ("request.js_object.formDate()", "js.Request has no 'formDate', or cfai does not"),
        ("from js import HTMLRewriter", "\ncfai may not have this part of `js` yet; docs/python-workers-api.md lists"),
        (
            "import pyodide.console",
            "\ncfai may not have this part of `pyodide.console` yet; docs/python-workers-api.md lists",
        ),
    ],
)
async def test_a_name_that_is_not_there_says_whose_fault_it_may_be(worker: Workers, code: str, told: str) -> None:
    client = worker(f"""
        from workers import WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                {code}
        """)
    assert told in (await client.get("/")).text


async def test_an_error_of_a_model_shows_the_scripts_frames_only(worker: Workers) -> None:
    client = worker("""
        async def on_fetch(request, env):
            return await env.AI.run("@cf/no/such", {"prompt": "hi"})
        """)
    worker.fake.answers["@cf/no/such"] = NoSuchModel("@cf/no/such")
    text = (await client.get("/")).text
    assert text.count("  File ") == 1
    assert text.startswith('PythonError: Traceback (most recent call last):\n  File "')
    assert "5007: No such model @cf/no/such or task" in text
    assert "`cfai models` lists the ids" in text


async def test_a_script_that_cannot_be_imported(worker: Workers) -> None:
    client = worker("import nowhere\n")
    response = await client.get("/")
    assert response.status == 500
    assert response.text.startswith('PythonError: Traceback (most recent call last):\n  File "')
    assert 'entry.py", line 1, in <module>' in response.text
    assert "ModuleNotFoundError: No module named 'nowhere'" in response.text
    assert "cfai/worker" not in response.text
    assert worker.reported == [response.text.removeprefix("PythonError: ")]


@pytest.mark.parametrize(
    ("script", "said"), [("def on_fetch(:", "SyntaxError"), ("raise SystemExit(3)", "SystemExit: 3")]
)
async def test_a_script_that_is_broken(worker: Workers, script: str, said: str) -> None:
    response = await worker(script).get("/")
    assert response.status == 500
    assert said in response.text


async def test_imports_from_the_scripts_folder(worker: Workers) -> None:
    (worker.folder / "helpers").mkdir()
    (worker.folder / "helpers" / "words.py").write_text("WORD = 'hello'\n")
    client = worker("""
        from pathlib import Path

        from helpers.words import WORD
        from workers import Response

        def on_fetch(request):
            from helpers import words
            return Response(f"{words.WORD} from {Path(__file__).name}, {__name__}")
        """)
    assert (await client.get("/")).text == "hello from entry.py, entry"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python knows what Cloudflare's knows")
async def test_a_script_for_a_newer_python_says_what_runs_it(worker: Workers) -> None:
    worker.folder.joinpath("models.py").write_text("def broken(:\n    pass\n")
    client = worker("""
        async def on_fetch(request):
            import models
        """)
    said = (await client.get("/")).text
    assert f"SyntaxError: invalid syntax\nread by Python {platform.python_version()}, and Cloudflare's is" in said


async def test_the_constants_of_vectorize_are_a_module(worker: Workers) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint, import_from_javascript

        vectorize = import_from_javascript("cloudflare:vectorize")

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(f"{vectorize.DistanceMetric.DOT_PRODUCT} {vectorize.MetadataRetrievalLevel.ALL}")
        """)
    assert (await client.get("/")).text == "dot-product all"


@pytest.mark.parametrize(
    ("module", "missing", "how"),
    [
        ("no_such_package", "no_such_package", ": `pip install no-such-package`"),
        ("fitz.utils", "fitz", ": `pip install pymupdf`"),
    ],
)
async def test_a_package_that_is_not_installed_says_where_and_how(
    worker: Workers, module: str, missing: str, how: str
) -> None:
    client = worker(f"""
        async def on_fetch(request):
            import {module}
        """)
    said = (await client.get("/")).text
    assert f"No module named '{missing}'\nit is not installed in {sys.prefix}{how}; `cfai dev --python`" in said


async def test_a_module_that_a_package_does_not_have_is_not_to_be_installed(worker: Workers) -> None:
    said = (await worker("import json.no_such_module\n").get("/")).text
    assert "No module named 'json.no_such_module'\n" in said
    assert "installed" not in said


async def test_a_syntax_error_shows_its_line_only(worker: Workers) -> None:
    said = (await worker("def on_fetch(request:\n    pass\n").get("/")).text
    assert said.count('File "') == 1
    assert "    def on_fetch(request:\n" in said


async def test_importing_from_src_is_explained(worker: Workers) -> None:
    response = await worker("from src.helpers import x\n").get("/")
    assert "imports begin in" in response.text


def test_nothing_of_a_script_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    before = list(sys.path)
    with import_path(tmp_path):
        import mine  # type: ignore[import-not-found]

        assert mine.__file__ == str(tmp_path / "mine.py")
        assert hasattr(importlib.import_module("workers"), "Response")
    assert sys.path == before
    assert {"mine", "workers", "js", "pyodide"}.isdisjoint(sys.modules)


async def test_the_last_of_two_quick_saves_is_run(tmp_path: Path) -> None:
    script, helper = tmp_path / "entry.py", tmp_path / "helper.py"
    script.write_text("import helper\nfrom workers import Response\ndef on_fetch(): return Response(helper.WORD)\n")
    for word in ("one", "two"):
        helper.write_text(f"WORD = {word!r}\n")
        os.utime(helper, (1, 1))
        with import_path(tmp_path):
            app = worker_app(load_config(script), FakeBinding())
            assert (await Client(app).get("/")).text == word
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry.py", "helper.py"]


async def test_assets_come_before_the_script(worker: Workers) -> None:
    public = worker.folder / "public"
    (public / "docs").mkdir(parents=True)
    (public / "index.html").write_text("<h1>hi</h1>")
    (public / "about.html").write_text("about")
    (public / "docs" / "index.html").write_text("docs")
    (public / "a b.css").write_text("body{}")
    (public / ".dev.vars").write_text("secret")
    (worker.folder / "outside.txt").write_text("outside")
    (public / "link.txt").symlink_to(worker.folder / "outside.txt")
    client = worker(
        """
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                if request.url.endswith("/asset"):
                    return await self.env.ASSETS.fetch("https://assets.local/about")
                return Response("script", status=404)
        """,
        assets=AssetsConfig(public, "ASSETS"),
    )

    async def kind(path: str) -> tuple[str, str | None]:
        response = await client.get(path)
        return response.text, response.headers.get("content-type")

    html = "text/html; charset=utf-8"
    assert await kind("/") == ("<h1>hi</h1>", html)
    assert await kind("/about") == ("about", html)
    assert await kind("/asset") == ("about", html)
    assert await kind("/docs/") == ("docs", html)
    assert await kind("/a%20b.css?v=1") == ("body{}", "text/css; charset=utf-8")
    for path in (
        "/.dev.vars",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/link.txt",
        "/a%00b",
        "//etc/passwd",
    ):
        assert (await client.get(path)).text == "script"
    head = await client("HEAD", "/")
    assert (head.chunks, head.headers["content-length"]) == ([], "11")
    assert (await client("POST", "/", body=[b"x"])).status == 405
    assert (await client("POST", "/nothing", body=[b"x"])).text == "script"


async def test_the_request_as_a_class_handler_sees_it(worker: Workers) -> None:
    client = worker("""
        from urllib.parse import urlparse
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response.json({
                    "url": request.url,
                    "path": urlparse(request.url).path,
                    "post": request.method == "POST" and f"{request.method}" == "POST",
                    "header": [request.headers.get("X-Word"), request.headers["x-word"], request.headers["nope"]],
                    "again": dict(request.headers)["x-word"],
                    "json": await request.json(),
                    "used": request.body_used,
                })
        """)
    response = await client("POST", "/caf%C3%A9?q=1", headers=[("x-word", "w")], body=[b'{"a": [1]}'])
    assert json.loads(response.text) == {
        "url": "http://localhost:8787/caf%C3%A9?q=1",
        "path": "/caf%C3%A9",
        "post": True,
        "header": ["w", "w", None],
        "again": "w",
        "json": {"a": [1]},
        "used": True,
    }


async def test_reading_a_body_twice_and_bad_json(worker: Workers) -> None:
    client = worker("""
        import json
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                copy = request.clone()
                said = []
                try:
                    await request.json()
                except json.JSONDecodeError:
                    said.append("not json")
                try:
                    await request.text()
                except OSError as error:
                    said.append(str(error))
                return Response.json([*said, await copy.text()])
        """)
    assert json.loads((await client("POST", "/", body=[b"{"])).text) == ["not json", "Body already used", "{"]


@pytest.mark.parametrize(
    ("response", "status", "headers", "text"),
    [
        ('Response("hi")', 200, {"content-type": "text/plain;charset=UTF-8", "content-length": "2"}, "hi"),
        ('Response(b"hi")', 200, {"content-length": "2"}, "hi"),
        ("Response(None, status=204)", 204, {}, ""),
        ('Response("x", 201, headers=[("a", "1"), ("a", "2")])', 201, {"a": "2"}, "x"),
        ('Response.json({"a": 1}, status=202)', 202, {"content-type": "application/json"}, '{"a": 1}'),
        ('Response.from_json([1], headers={"content-type": "x/y"})', 200, {"content-type": "x/y"}, "[1]"),
        ('Response.redirect("http://x/y")', 302, {"location": "http://x/y"}, ""),
        ('js.Response.json(to_js({"a": 1}))', 200, {"content-type": "application/json"}, '{"a":1}'),
        ('js.Response.new("x", to_js({"status": 404}))', 404, {}, "x"),
        ('js.Response.new("x", headers=js.Headers.new({"a": "b"}.items()))', 200, {"a": "b"}, "x"),
        ('js.Response.new(to_js(b"abc"), headers=to_js({"a": "b"}))', 200, {"a": "b"}, "abc"),
        ('Response(js.Response.new("x", status=201))', 201, {}, "x"),
    ],
)
async def test_responses(worker: Workers, response: str, status: int, headers: dict[str, str], text: str) -> None:
    client = worker(f"""
        import js
        from pyodide.ffi import to_js
        from workers import Response

        def on_fetch(request):
            return {response}
        """)
    got = await client.get("/")
    assert (got.status, got.text) == (status, text)
    assert headers.items() <= got.headers.items()


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ("Response({})", "TypeError: Unsupported type in Response: dict"),
        ("Response(3)", "TypeError: Unsupported type in Response: int"),
        ('Response("x", headers=3)', "TypeError: Received unexpected type for headers argument"),
        ('Response("x", headers={"a": "b\\r\\nc: d"})', "TypeError: Invalid header value"),
        ('Response("x", headers={"a b": "c"})', "TypeError: Invalid header name"),
        ('Response("x", status=99999)', "RangeError: Responses may only be constructed with status codes in the range"),
        ("Response.new()", "AttributeError: type object 'Response' has no attribute 'new'"),
        ('Response(js.Response.new("x"), status=3)', "ValueError: Expected no options when constructing Response"),
        ("js.nope", "js has no 'nope', or cfai does not have it yet"),
        ('js.JSON.parse("{")', "SyntaxError: "),
    ],
)
async def test_refused_responses(worker: Workers, response: str, error: str) -> None:
    client = worker(f"""
        import js
        from workers import Response

        def on_fetch(request):
            return {response}
        """)
    got = await client.get("/")
    assert got.status == 500
    assert error in got.text


@pytest.mark.parametrize("anyio_backend", [virtual_time_backend()], ids=[""])
async def test_requests_run_beside_each_other(worker: Workers) -> None:
    client = worker("""
        import anyio
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                await anyio.sleep(0.05)
                return Response(request.url[-1])
        """)
    answers: list[Any] = []

    async def ask(n: int) -> None:
        answers.append((await client.get(f"/{n}")).text)

    with anyio.fail_after(0.1):  # of virtual time
        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(ask, n)
    assert sorted(answers) == [str(n) for n in range(8)]


async def test_the_app_needs_no_script_for_assets_alone(worker: Workers) -> None:
    (worker.folder / "index.html").write_text("page")
    client = Client(worker.app("", main=None, assets=AssetsConfig(worker.folder)))
    assert (await client.get("/")).text == "page"
    assert (await client.get("/nope")).status == 404


@pytest.mark.anyio
async def test_a_binding_tells_which_version_runs(worker: Workers) -> None:
    client = worker(
        """
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                version = self.env.VERSION
                return Response(f"{len(version.id)} {version.tag!r} {version.timestamp[-1]}")
        """,
        version_metadata="VERSION",
    )
    assert (await client.get("/")).text == "36 '' Z"


async def test_every_name_of_js_can_be_used(worker: Workers) -> None:
    client = worker("""
        import js
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                lacking = [name for name in js.__all__ if not hasattr(js, name)]
                return Response(f"{'DataView' in js.__all__} {lacking}")
        """)
    assert (await client.get("/")).text == "True []"
