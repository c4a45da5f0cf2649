"""The pytest plugin, by small suites that are run with it."""

from __future__ import annotations

import textwrap
import tomllib
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

# What an inner run imports is forgotten after it; what is there before is imported once.
import cfai.bindings.tape
import cfai.testing.imports
import cfai.testing.stage
import cfai.testing.worker
from cfai import FakeBinding
from cfai.server.app import rest_app
from tests.serving import serving

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "cfai.pytest_plugin", "-W", "error")
ANYIO = ("-p", "anyio.pytest_plugin", "-o", "anyio_mode=auto")
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
MODEL = 'MODEL = "@cf/meta/llama-2-7b-chat-int8"\n'


class Suite:
    """Test files in a folder of their own, run by a pytest that has the plugin."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def write(self, **files: str) -> None:
        for name, source in files.items():
            path = self.pytester.path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(MODEL + textwrap.dedent(source))

    def run(self, *options: str, loop: tuple[str, ...] = ANYIO, tests: str = "") -> pytest.RunResult:
        if tests:
            self.write(test_it=tests)
        return self.pytester.runpytest(*PLUGIN, *loop, *options)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("CI", raising=False)
    return Suite(pytester)


def test_ai_and_fake_ai_answer_from_a_script_on_both_loops(suite: Suite) -> None:
    ran = suite.run(
        tests="""
        import pytest

        from cfai import Ai
        from cfai.bindings import FakeBinding

        async def test_stream():
            fake = FakeBinding()
            fake.answers["@cf/meta/llama-2-7b-chat-int8"] = ["New", " York"]
            inputs = {"prompt": "where is new york?", "stream": True}
            stream = await Ai(fake).run("@cf/meta/llama-2-7b-chat-int8", inputs)
            assert b"".join([event async for event in stream]).endswith(b"data: [DONE]\\n\\n")
            assert fake.calls[0].inputs["prompt"] == "where is new york?"

        async def test_stream_of_ai(ai):
            ai.answers[MODEL] = ["New", " York"]
            stream = await ai.run(MODEL, {"prompt": "where is new york?", "stream": True})
            assert b"".join([event async for event in stream]).endswith(b"data: [DONE]\\n\\n")
            assert [call.inputs["prompt"] for call in ai.calls] == ["where is new york?"]

        async def test_a_stream_may_be_left_unread(fake_ai):
            fake_ai.answers[MODEL] = ["New", " York"]
            await anext(await fake_ai.run(MODEL, {"prompt": "hi", "stream": True}))

        async def test_both_are_one(ai, fake_ai):
            assert ai is fake_ai

        def test_without_a_loop(ai):
            ai.answers[MODEL] = "hello"
            assert ai.run_sync(MODEL, {"prompt": "hi"}).response == "hello"

        @pytest.fixture
        async def greeting(ai):
            ai.answers[MODEL] = "hello"
            return (await ai.run(MODEL, {"prompt": "hi"})).response

        async def test_in_a_fixture(greeting, ai):
            assert greeting == "hello"
            assert len(ai.calls) == 1

        async def test_the_next_test_begins_anew(ai):
            assert ai.calls == [] and ai.answers == {} and ai.neurons == 0
        """
    )
    ran.assert_outcomes(passed=13)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio_runs_them_too(suite: Suite, mode: str) -> None:
    ran = suite.run(
        f"--asyncio-mode={mode}",
        loop=ASYNCIO,
        tests="""
        import pytest, pytest_asyncio

        @pytest_asyncio.fixture
        async def greeting(ai):
            ai.answers[MODEL] = "hello"
            return (await ai.run(MODEL, {"prompt": "hi"})).response

        @pytest.mark.asyncio
        async def test_it(greeting, ai):
            stream = await ai.run(MODEL, {"prompt": "hi", "stream": True})
            await anext(stream)
            assert greeting == "hello"
            assert len(ai.calls) == 2
        """,
    )
    ran.assert_outcomes(passed=1)


def test_a_failed_test_shows_the_calls(suite: Suite) -> None:
    ran = suite.run(
        tests="""
        def test_it(ai):
            ai.answers[MODEL] = "hello"
            assert ai.run_sync(MODEL, {"prompt": "where is new york?"}).response == "goodbye"
        """
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        ["* calls of the AI binding *", "1. @cf/meta/*int8  prompt: 'where is new york?'", "   -> 200, *hello*"]
    )


def test_no_network_fails_a_test_that_leaves_loopback(suite: Suite) -> None:
    ran = suite.run(
        "-rA",
        tests="""
        import socket
        import threading

        import pytest

        def connect(address):
            try:
                socket.create_connection(address, timeout=1).close()
            except OSError:
                pass

        @pytest.mark.no_network
        def test_swallows():
            connect(("192.0.2.1", 80))

        @pytest.mark.no_network
        def test_looks_up_in_a_thread():
            thread = threading.Thread(target=connect, args=[("example.invalid", 80)])
            thread.start()
            thread.join()

        @pytest.mark.no_network
        def test_sends():
            with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(PermissionError):
                sock.sendto(b"hi", ("192.0.2.1", 80))

        @pytest.mark.no_network
        def test_stays():
            with socket.create_server(("127.0.0.1", 0)) as server:
                connect(("localhost", server.getsockname()[1]))
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"hi", ("127.0.0.1", 9))
            left, right = socket.socketpair()
            left.close()
            right.close()

        def test_unmarked():
            with pytest.raises(socket.gaierror):
                socket.getaddrinfo("a name with spaces", 80)
        """,
    )
    ran.assert_outcomes(passed=2, failed=3)
    ran.stdout.fnmatch_lines(
        [
            "connect to 192.0.2.1:80, at test_it.py:*",
            "look up example.invalid, at test_it.py:*",
            "send to 192.0.2.1:80, at test_it.py:*",
        ]
    )
    ran.stdout.fnmatch_lines(["PASSED test_it.py::test_stays", "PASSED test_it.py::test_unmarked"])


def test_the_markers_are_registered_and_explained(suite: Suite) -> None:
    ran = suite.run("--markers")
    ran.stdout.fnmatch_lines(
        [f"@pytest.mark.{name}*: *" for name in ("model", "as_of", "fidelity", "no_network", "budget")]
    )


def test_a_wrong_setting_names_the_nearest(suite: Suite) -> None:
    ran = suite.run("-o", "cfai=fkae", tests="def test_it(ai): pass")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["cfai must be one of fake, *; it is 'fkae'; did you mean 'fake'?*"])


def test_a_thousand_tests_with_the_fake_import_no_model(suite: Suite) -> None:
    suite.write(
        test_it="""
        import sys

        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        def loaded():
            return {name for name in sys.modules if name.partition(".")[0] == "cfai"} - {"cfai", "cfai.pytest_plugin"}

        def test_nothing_is_imported_until_a_fixture_is_asked_for():
            assert not loaded()

        @pytest.mark.parametrize("number", range(1000))
        async def test_stream(ai, number):
            ai.answers[MODEL] = ["New", " York"]
            stream = await ai.run(MODEL, {"prompt": f"where is {number}?", "stream": True})
            assert b"".join([event async for event in stream]).endswith(b"data: [DONE]\\n\\n")

        def test_no_model_is_loaded():
            assert loaded()
            heavy = {"torch", "transformers", "tokenizers", "numpy", "huggingface_hub", "jinja2", "llguidance"}
            assert not heavy & set(sys.modules)

        def test_the_plugin_knows_the_names_that_it_does_not_import():
            from typing import get_args
            from cfai.bindings.tape import RecordMode
            from cfai.pytest_plugin import RECORD_MODES, RUNGS, SHIMS
            from cfai.testing.ladder import Rung
            from cfai.worker.loader import SHIM_NAMES

            assert set(SHIMS) == set(SHIM_NAMES)
            assert (RUNGS, RECORD_MODES) == (get_args(Rung), get_args(RecordMode))
        """
    )
    ran = suite.pytester.runpytest_subprocess(*PLUGIN, *ANYIO)
    ran.assert_outcomes(passed=1003)


def test_pytest_finds_the_plugin_where_cfai_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"cfai": "cfai.pytest_plugin"}


@pytest.fixture
def project(suite: Suite) -> Suite:
    """A Worker project, as `cfai init` lays it out."""
    (suite.pytester.path / "wrangler.jsonc").write_text(
        """{
        "name": "page", "main": "src/entry.py", "compatibility_date": "2026-01-20",
        "compatibility_flags": ["python_workers"], "ai": {"binding": "AI"}, "vars": {"GREETING": "hello"},
        "kv_namespaces": [{"binding": "KV", "id": "page"}], "triggers": {"crons": ["*/5 * * * *"]}
        }"""
    )
    suite.write(
        **{
            "src/names": "",
            "src/entry": """
            from js import Headers
            from names import MODEL
            from pyodide.ffi import to_js
            from workers import Response, WorkerEntrypoint
            from workers import env as module_env

            asked = 0

            class Default(WorkerEntrypoint):
                async def fetch(self, request):
                    global asked
                    asked += 1
                    path = request.url.rpartition("/")[2]
                    if path == "fail":
                        raise ValueError("no such page")
                    if path == "stream":
                        inputs = {"prompt": "where is new york?", "stream": True}
                        stream = await self.env.AI.run(MODEL, inputs)
                        return Response(stream, headers={"content-type": "text/event-stream"})
                    if path == "ask":
                        prompt = (await request.json())["prompt"]
                        self.ctx.waitUntil(self.env.KV.put("prompt", prompt))
                        return Response.json({"text": await answer(self.env, prompt)})
                    return Response(f"{self.env.GREETING} {asked}")

                async def scheduled(self, controller, env, ctx):
                    await self.env.KV.put("cron", controller.cron)

            async def answer(env, prompt):
                return (await env.AI.run(MODEL, {"prompt": prompt})).response + module_env.GREETING
            """,
        }
    )
    return suite


def test_the_worker_of_a_project_answers_in_process(project: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(
        **{
            "tests/test_page": """
            import pytest
            import pages
            from entry import answer

            def test_a_folder_of_the_same_name_is_not_the_module():
                assert pages.TITLE == "New York"

            async def test_worker(worker, fake_ai):                                       # fixtures of the plugin
                fake_ai.answers["@cf/meta/llama-2-7b-chat-int8"] = "hello"
                response = await worker.fetch("/")
                assert response.ok and response.headers["Content-Type"] == "text/plain;charset=UTF-8"
                assert await response.text() == "hello 1"

            async def test_each_test_has_a_script_of_its_own(worker):
                assert [await (await worker.fetch("/")).text() for _ in range(2)] == ["hello 1", "hello 2"]

            @pytest.mark.worker(vars={"GREETING": "good morning"})
            async def test_one_env_for_both(worker, env, ai):
                ai.answers[MODEL] = lambda call: call.inputs["prompt"] + "! "
                response = await worker.fetch("/ask", json={"prompt": "hi"})
                assert await response.json() == {"text": "hi! good morning"}
                await worker.finish()
                assert await env.KV.get("prompt") == "hi"
                assert await answer(env, "hey") == "hey! good morning"
                assert len(ai.calls) == 2

            async def test_bindings_begin_empty(env):
                assert not await env.KV.get("prompt")

            async def test_chunks_come_as_the_worker_makes_them(worker, ai):
                made = []

                async def pieces(call):
                    return ["New", " York"]

                ai.answers[MODEL] = pieces
                response = await worker.fetch("/stream")
                chunks = [chunk async for chunk in response]
                assert len(chunks) >= 3 and chunks[-1].endswith(b"data: [DONE]\\n\\n")
                with pytest.raises(RuntimeError, match="taken as a stream"):
                    await response.text()

            async def test_closing_the_response_is_a_client_that_leaves(worker, ai):
                ai.answers[MODEL] = ["New", " York", " is", " big"]
                async with await worker.fetch("/stream") as response:
                    await anext(response.body)
                await worker.finish()
                assert ai.fake.calls[0].closed and not ai.fake.calls[0].finished

            async def test_cron(worker, env):
                assert (await worker.scheduled()).outcome == "ok"
                assert await env.KV.get("cron") == "*/5 * * * *"
                assert (await worker.scheduled(cron="0 0 * * *")).outcome == "ok"
                assert await env.KV.get("cron") == "0 0 * * *"

            async def test_left_open(worker, ai):
                ai.answers[MODEL] = ["New", " York"]
                await worker.fetch("/stream")
                assert worker.logs[-1].startswith("[wrangler:info] GET /stream 200 OK")
            """,
            "src/pages/__init__": "TITLE = 'New York'",
            "pages/read": "",
            "tests/test_failing": """
            async def test_error(worker):
                assert (await worker.fetch("/fail")).status == 200

            async def test_swallowed(worker):
                response = await worker.fetch("/ask", json={"prompt": "hi"})
                assert response.status == 500
            """,
            "tests/test_script": """
            import pytest

            @pytest.mark.worker("single.py")
            async def test_a_script_without_a_project(worker):
                assert await (await worker.fetch("https://example.com/there")).text() == "https://example.com/there"

            @pytest.mark.worker("singel.py")
            async def test_a_script_that_is_not_there(worker):
                pass
            """,
            "tests/single": """
            from workers import Response

            async def on_fetch(request, env):
                return Response(request.url)
            """,
        }
    )
    backend = "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    (project.pytester.path / "tests" / "conftest.py").write_text(backend)
    monkeypatch.syspath_prepend(project.pytester.path)  # as `python -m pytest` has it
    ran = project.run()
    ran.assert_outcomes(passed=10, failed=2, errors=1)
    ran.stdout.fnmatch_lines(
        [
            "*@pytest.mark.worker('singel.py'): there is neither *singel.py nor *singel.py",
            "* errors of the Worker *",
            '*src/entry.py", line *, in fetch',
            "ValueError: no such page",
            "FakeBinding has no answer for this call",
        ]
    )


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_workers_run_with_pytest_asyncio(project: Suite, mode: str) -> None:
    ran = project.run(
        f"--asyncio-mode={mode}",
        loop=ASYNCIO,
        tests="""
        import pytest, pytest_asyncio
        from entry import answer

        @pytest_asyncio.fixture
        async def page(worker):
            return await worker.fetch("/")

        @pytest.mark.asyncio
        async def test_worker(page, worker, ai):
            assert await page.text() == "hello 1"
            ai.answers[MODEL] = ["New", " York"]
            await worker.fetch("/stream")

        @pytest.mark.asyncio
        async def test_env(env, ai):
            ai.answers[MODEL] = "yes: "
            assert await answer(env, "hi") == "yes: hello"
        """,
    )
    ran.assert_outcomes(passed=2)


def test_on_trio_a_worker_is_skipped_with_the_reason(project: Suite) -> None:
    ran = project.run("-rs", tests="async def test_it(worker): pass")
    ran.assert_outcomes(passed=1, skipped=1)
    ran.stdout.fnmatch_lines(["SKIPPED * Workers run on asyncio, *"])


def test_without_a_project_the_fixtures_say_how_to_name_one(suite: Suite) -> None:
    ran = suite.run("-p", "no:trio", tests="def test_it(worker): pass\n\ndef test_env(env): pass")
    ran.assert_outcomes(errors=2)
    ran.stdout.fnmatch_lines(
        ["*no wrangler.json, wrangler.jsonc or wrangler.toml in *@pytest.mark.worker(*cfai_project*"]
    )


def test_projects_side_by_side_keep_their_modules_apart(suite: Suite) -> None:
    for name in ("one", "two"):
        suite.write(
            **{
                f"{name}/src/entry": f"from workers import Response\nNAME = {name!r}\n",
                f"{name}/tests/test_{name}": f"""
                from entry import NAME

                def test_it():
                    assert NAME == {name!r}
                    import entry
                    assert entry.NAME == {name!r}
                """,
            }
        )
        config = f'name = "{name}"\nmain = "src/entry.py"\ncompatibility_date = "2026-01-20"\n'
        (suite.pytester.path / name / "wrangler.toml").write_text(f'{config}compatibility_flags = ["python_workers"]\n')
    suite.run().assert_outcomes(passed=2)


def test_a_project_without_a_worker_keeps_its_own_modules(suite: Suite) -> None:
    suite.write(
        workers="NAME = 'ours'\n",
        test_it="""
        import sys

        import pytest
        import workers

        def test_it():
            assert workers.NAME == "ours"
            with pytest.raises(ModuleNotFoundError):
                import js
            assert not [name for name in sys.modules if name.startswith(("cfai.worker", "cfai.config"))]
        """,
    )
    ran = suite.pytester.runpytest_subprocess(*PLUGIN, *ANYIO)
    ran.assert_outcomes(passed=1)


@pytest.mark.parametrize("double", ["in sys.modules", "in a file"])
def test_a_suite_that_plays_the_runtime_itself_runs_as_without_cfai(suite: Suite, double: str) -> None:
    suite.pytester.makefile(
        ".toml",
        wrangler='name = "a"\nmain = "entry.py"\ncompatibility_date = "2026-01-20"\n'
        'compatibility_flags = ["python_workers"]\n',
    )
    answer = "class Response: pass\nclass WorkerEntrypoint: pass\n"
    if double == "in a file":
        suite.write(workers=answer)
    else:
        suite.write(
            conftest=f"""
            import sys
            import types

            sys.modules["workers"] = types.ModuleType("workers")
            exec({answer!r}, vars(sys.modules["workers"]))
            """
        )
    suite.write(
        entry="""
        try:
            from js import Response
        except ImportError:
            from workers import Response
        from workers import WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response.new("hello")
        """,
        test_it="""
        import entry
        import pytest
        import workers

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        def test_with_the_double():
            assert entry.Response is workers.Response

        async def test_with_the_worker(worker):
            assert await (await worker.fetch("/")).text() == "hello"
            assert entry.Response is workers.Response
        """,
    )
    ran = suite.pytester.runpytest_subprocess(*PLUGIN, *ANYIO)
    ran.assert_outcomes(passed=2)


def test_a_tape_is_recorded_once_and_replayed(suite: Suite) -> None:
    suite.write(
        test_it="""
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_the_fake(tape, fake_ai):
            fake_ai.answers[MODEL] = ["New", " York"]
            stream = await fake_ai.run(MODEL, {"prompt": "hi", "stream": True})
            assert [event async for event in stream][-1] == b"data: [DONE]\\n\\n"

        async def test_another(tape, ai):
            await ai.run(MODEL, {"prompt": "hi"})
        """
    )
    first = suite.run()
    first.assert_outcomes(passed=1, failed=1)
    first.stdout.fnmatch_lines(["*test_another.json has no answer *--cfai=remote*--cfai=local or --cfai=demo*"])
    tapes = suite.pytester.path / "tapes" / "test_it"
    assert [tape.name for tape in tapes.iterdir()] == ["test_the_fake.json"]
    recorded = (tapes / "test_the_fake.json").read_text()
    suite.run("-k", "fake", "--cfai-record=none").assert_outcomes(passed=1, deselected=1)
    (tapes / "test_another.json").write_text(recorded)
    stale = suite.run("-k", "another", "--cfai=tape")
    stale.assert_outcomes(failed=1, deselected=1)
    assert (tapes / "test_the_fake.json").read_text() == recorded


def test_nothing_is_recorded_in_ci_unless_it_is_asked_for(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.write(
        test_it="""
        def test_it(tape, fake_ai):
            fake_ai.answers[MODEL] = "hello"
            fake_ai.run_sync(MODEL, {"prompt": "hi"})
        """
    )
    suite.run().assert_outcomes(failed=1)
    assert not (suite.pytester.path / "tapes").exists()
    suite.run("--cfai-record=once").assert_outcomes(passed=1)
    suite.run().assert_outcomes(passed=1)


def test_a_tape_tells_how_pytest_records_it_anew(suite: Suite) -> None:
    suite.write(
        test_it="""
        import os

        def test_it(tape, fake_ai):
            fake_ai.answers[MODEL] = "hello"
            fake_ai.run_sync(MODEL, {"prompt": os.environ["PROMPT"]})
        """
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPT", "hi")
        suite.run().assert_outcomes(passed=1)
        patch.setenv("PROMPT", "ho")
        suite.run().stdout.fnmatch_lines(["*for pytest's fixture --cfai-record."])
        suite.run("--cfai-record=all").assert_outcomes(passed=1)


def test_a_tape_is_the_same_on_both_loops(suite: Suite) -> None:
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("prompt", ["hi", "ho"])
        async def test_the_fake(tape, fake_ai, prompt):
            fake_ai.answers[MODEL] = "hello"
            assert (await fake_ai.run(MODEL, {"prompt": prompt})).response == "hello"
        """
    )
    suite.run("-k", "asyncio").assert_outcomes(passed=2, deselected=2)
    suite.run("-k", "trio", "--cfai-record=none").assert_outcomes(passed=2, deselected=2)
    names = sorted(tape.name for tape in (suite.pytester.path / "tapes" / "test_it").iterdir())
    assert names == ["test_the_fake[hi].json", "test_the_fake[ho].json"]


def test_answers_are_made_up_where_a_test_says_so(suite: Suite) -> None:
    ran = suite.run(
        tests="""
        async def test_it(ai):
            ai.fake.strict = False
            ai.answers[MODEL] = "hello"
            assert (await ai.run(MODEL, {"prompt": "hi"})).response == "hello"
            assert (await ai.run("@cf/baai/bge-m3", {"text": ["hi"]})).shape == [1, 1024]
        """
    )
    ran.assert_outcomes(passed=2)


def test_a_fixture_imports_what_the_worker_runs(project: Suite) -> None:
    ran = project.run(
        tests="""
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        def module(env):
            import entry

            return entry

        async def test_it(module, worker):
            await worker.fetch("/")
            import entry

            assert entry is module
        """
    )
    ran.assert_outcomes(passed=1)


def test_faults_happen_to_ai_and_to_the_worker(project: Suite) -> None:
    ran = project.run(
        tests="""
        import pytest
        from cfai.errors import OutOfCapacity
        from workers import Response

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_ai(ai, faults):
            faults.add("capacity", times=2)
            ai.answers[MODEL] = "hello"
            for _ in range(2):
                with pytest.raises(OutOfCapacity):
                    await ai.run(MODEL, {"prompt": "hi"})
            assert (await ai.run(MODEL, {"prompt": "hi"})).response == "hello"
            assert len(ai.calls) == 3

        async def test_worker(faults, worker, ai):
            faults.add("capacity")
            response = await worker.fetch("/ask", json={"prompt": "hi"})
            assert response.status == 500 and "3040" in await response.text()
            assert len(ai.calls) == 1 and ai.neurons == 0

        async def test_a_slow_stream_costs_no_time(faults, worker, ai):
            ai.answers[MODEL] = ["New", " York"]
            faults.add("stall", after=1, seconds=3600)
            before = ai.clock.now()
            response = await worker.fetch("/stream")
            assert [chunk async for chunk in response]
            assert ai.clock.now() - before >= 3600
            assert response.body.clock is ai.clock

        async def test_a_wrong_name(faults):
            faults.add("capacty")
        """
    )
    ran.assert_outcomes(passed=3, failed=1)
    ran.stdout.fnmatch_lines(["*capacty*capacity*"])


def test_a_websocket_of_the_worker(project: Suite) -> None:
    project.write(
        echo="""
        from js import Response, WebSocketPair
        from pyodide.ffi import create_proxy

        async def on_fetch(request, env, ctx):
            if request.headers.get("upgrade") != "websocket":
                return Response.new("a WebSocket is expected", status=426)
            if request.url.endswith("/refused"):
                return Response.new("not you", status=403)
            client, server = WebSocketPair.new().object_values()
            server.accept()

            def hear(event):
                if event.data == "bye":
                    server.close(4001, "as you like")
                else:
                    server.send(event.data)

            server.addEventListener("message", create_proxy(hear))
            return Response.new(None, status=101, webSocket=client)
        """
    )
    ran = project.run(
        tests="""
        import pytest
        from cfai.testing.socket import SocketClosed, SocketRefused

        pytestmark = pytest.mark.worker("echo.py")

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_messages(worker):
            async with worker.websocket("/") as socket:
                await socket.send("hello")
                assert await socket.receive() == "hello"

        async def test_the_worker_closes(worker):
            async with worker.websocket("/") as socket:
                await socket.send("hello")
                await socket.send("bye")
                assert [message async for message in socket] == ["hello"]
                with pytest.raises(SocketClosed) as closed:
                    await socket.receive()
                assert (closed.value.code, closed.value.reason) == (4001, "as you like")

        async def test_a_refusal(worker):
            with pytest.raises(SocketRefused, match="status 403.*not you"):
                async with worker.websocket("/refused"):
                    pass

        async def test_left_open(worker):
            socket = await worker.websocket("/").__aenter__()
            await socket.send("hello")
        """
    )
    ran.assert_outcomes(passed=4)


def test_budgets_days_and_fidelity_are_markers(suite: Suite) -> None:
    ran = suite.run(
        tests="""
        import pytest

        PRICED = "@cf/meta/llama-3.1-8b-instruct"

        def events(ai, model=PRICED):
            ai.answers[model] = ["New", " York"]
            return b"".join(ai.run_sync(model, {"prompt": "where is new york?", "stream": True}))

        @pytest.mark.budget(0.0001)
        def test_dear(ai):
            assert events(ai)

        @pytest.mark.budget(neurons=100)
        def test_cheap(ai):
            assert events(ai)
            assert 0 < ai.neurons < 100

        @pytest.mark.budget(1)
        def test_without_a_fixture():
            pass

        @pytest.mark.budget(1)
        def test_without_a_price(ai):
            assert events(ai, MODEL)

        @pytest.mark.as_of("2023-11-14")
        def test_of_2023(ai):
            assert events(ai, MODEL).count(b"usage") == 0

        @pytest.mark.fidelity("production")
        def test_padding(ai):
            assert b'"p":' in events(ai)

        @pytest.mark.as_of("2023-11-14", "2024-01-01")
        def test_two_days(ai):
            pass

        @pytest.mark.as_of("2023-13-01")
        def test_no_day(ai):
            pass

        @pytest.mark.fidelity("prod")
        def test_no_fidelity(ai):
            pass

        @pytest.mark.budget(neuron=1)
        def test_another_name(ai):
            pass
        """
    )
    ran.assert_outcomes(passed=3, failed=4, errors=3)
    ran.stdout.fnmatch_lines(
        [
            "*mark.as_of takes one argument, `date`; it has '2023-11-14', '2024-01-01'",
            "as_of must be a day in the form YYYY-MM-DD, for example 2023-11-14, not '2023-13-01'*",
            "fidelity must be clean or production, it is 'prod'",
            "the calls of this test cost * neurons, and its budget is 0.0001",
            "*budget counts the calls of cfai's fixtures*",
            "a budget of 1 neurons says nothing here: no price is known for @cf/meta/llama-2-7b-chat-int8",
            "*mark.budget takes one argument, `neurons`; it has neuron=1",
        ]
    )


def test_what_the_worker_swallows_fails_the_test(suite: Suite) -> None:
    ran = suite.run(
        tests="""
        def ask(ai):
            try:
                return ai.run_sync(MODEL, {"prompt": "hi"}).response
            except BaseException:
                return "sorry"

        def test_an_unexpected_call(ai):
            assert ask(ai) == "sorry"

        def test_an_assertion_in_an_answer(ai):
            def answer(call):
                assert call.inputs["prompt"] == "hello", "no greeting"
                return "hi"

            ai.answers[MODEL] = answer
            assert ask(ai) == "sorry"
        """
    )
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(["FakeBinding has no answer for this call", "no greeting*"])


def test_a_model_without_weights_is_skipped_on_the_local_rung(suite: Suite) -> None:
    ran = suite.run(
        "--cfai=local",
        "-rs",
        tests="""
        import pytest

        @pytest.mark.model(MODEL)
        def test_it(ai):
            pass

        def test_the_fake_stays(fake_ai):
            fake_ai.answers[MODEL] = "hello"
            assert fake_ai.run_sync(MODEL, {"prompt": "hi"}).response == "hello"
        """,
    )
    ran.assert_outcomes(passed=1, skipped=1)
    ran.stdout.fnmatch_lines(["SKIPPED *--cfai=local: The weights of @cf/meta/llama-2-7b-chat-int8 are not on this*"])


def test_the_projects_settings_hold_on_the_local_rung(suite: Suite, llama: Path) -> None:
    settings = suite.pytester.path / "cfai.toml"
    settings.write_text(f'slots = 1\n[models]\n"@cf/mine/llama" = "{llama}"\n')
    tests = """
        def test_it(ai):
            assert "response" in ai.run_sync("@cf/mine/llama", {"prompt": "hi", "max_tokens": 2})
        """
    suite.run("--cfai=local", tests=tests).assert_outcomes(passed=1)
    suite.run("--cfai=demo", tests=tests).assert_outcomes(passed=1)
    settings.write_text("slotz = 1\n")
    ran = suite.run("--cfai=local", tests=tests)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(['*cfai.toml:1: unknown key "slotz", did you mean "slots"*'])


def test_the_demo_model_answers_for_every_id_on_every_loop(project: Suite) -> None:
    project.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio", "asyncio"])
        async def test_both_are_one_engine(local_ai, ai, anyio_backend):
            ai.answers[MODEL] = "what only a fake says"
            asked = {"prompt": "where is new york?", "max_tokens": 4, "stream": True}
            stream = await ai.run(MODEL, asked)
            theirs = [event async for event in stream]
            assert theirs[-1] == b"data: [DONE]\\n\\n"
            left = await local_ai.run("@cfai/demo/tiny-chat", asked)
            assert await anext(left) == theirs[0]
            assert (len(ai.calls), len(local_ai.calls)) == (1, 1)

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_the_worker_too(worker, anyio_backend):
            chunks = [chunk async for chunk in await worker.fetch("/stream")]
            assert len(chunks) > 3 and chunks[-1].endswith(b"data: [DONE]\\n\\n")
        """
    )
    ran = project.pytester.runpytest_subprocess(*PLUGIN, *ANYIO, "--cfai=demo")
    ran.assert_outcomes(passed=4)


async def test_the_remote_rung_asks_the_account_of_the_environment(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = "def test_it(ai): assert ai.run_sync(MODEL, {'prompt': 'hi'}).response == 'hello'"
    for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    unset = suite.run("--cfai=remote", tests=tests)
    unset.assert_outcomes(errors=1)
    unset.stdout.fnmatch_lines(["*CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN are not set*"])
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": "hello"})
    async with serving(rest_app(fake, token="secret")) as address:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "me")
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "secret")
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", f"{address}/client/v4")
        run = partial(suite.pytester.runpytest_subprocess, *PLUGIN, *ANYIO, "--cfai=remote")
        ran = await to_thread.run_sync(run)
    ran.assert_outcomes(passed=1)
    assert [call.inputs for call in fake.calls] == [{"prompt": "hi"}]


async def test_a_tape_of_the_remote_rung_has_the_chunks_of_the_network(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_it(ai, tape, anyio_backend):
            chunks = [chunk async for chunk in await ai.run(MODEL, {"prompt": "hi", "stream": True})]
            assert b"".join(chunks).endswith(b"data: [DONE]\\n\\n")
            assert not all(chunk.endswith(b"\\n\\n") for chunk in chunks)
        """
    )
    for name, value in (("CLOUDFLARE_ACCOUNT_ID", "me"), ("CLOUDFLARE_API_TOKEN", "secret"), ("CI", "")):
        monkeypatch.setenv(name, value)
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": "New York"})
    async with serving(rest_app(fake, token="secret", faults="split-bytes")) as address:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", f"{address}/client/v4")
        run = partial(suite.pytester.runpytest_subprocess, *PLUGIN, *ANYIO)
        recorded = await to_thread.run_sync(partial(run, "--cfai=remote"))
    recorded.assert_outcomes(passed=1)
    (await to_thread.run_sync(partial(run, "--cfai=tape"))).assert_outcomes(passed=1)


def test_under_xdist(project: Suite) -> None:
    project.write(
        test_it="""
        import pytest
        from entry import answer

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        @pytest.mark.parametrize("number", range(6))
        async def test_it(worker, env, ai, number, anyio_backend):
            ai.answers[MODEL] = f"{number}"
            assert await (await worker.fetch("/ask", json={"prompt": "hi"})).json() == {"text": f"{number}hello"}
            assert not await env.KV.get("number")
            await env.KV.put("number", f"{number}")
        """
    )
    ran = project.pytester.runpytest_subprocess(*PLUGIN, *ANYIO, "-p", "xdist", "-n2")
    ran.assert_outcomes(passed=6)


def test_a_failure_shows_the_lines_of_the_user_and_not_those_of_cfai(project: Suite) -> None:
    project.write(
        test_it="""
        import pytest
        from cfai.testing import assert_stream
        from entry import answer

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_run(ai):
            await ai.run(MODEL, {"prompt": "hi"})

        def test_run_sync(ai):
            ai.run_sync(MODEL, {"prompt": 1})

        async def test_fetch(worker):
            await worker.fetch("/", json={}, body="hi")

        async def test_json(worker):
            await (await worker.fetch("/")).json()

        async def test_a_handler(env):
            await answer(env, "hi")

        async def test_stream(ai, faults):
            faults.add("drop", after=1)
            ai.answers[MODEL] = ["New", " York"]
            await assert_stream(await ai.run(MODEL, {"prompt": "hi", "stream": True}), text="New York")

        async def test_an_answer_of_the_test(ai):
            def answer(call):
                raise KeyError("mine")

            ai.answers[MODEL] = answer
            await ai.run(MODEL, {"prompt": "hi"})
        """
    )
    ran = project.run("--tb=short")
    ran.assert_outcomes(failed=7)
    package = str(Path(cfai.testing.stage.__file__).parents[1])
    assert not [line for line in ran.outlines if line.startswith(package)]
    lines = [line.rpartition(" in ")[2] for line in ran.outlines if " in " in line and line.startswith(("test", "src"))]
    assert lines[:3] == ["test_run", "test_run_sync", "test_fetch"]
    assert lines[3:] == [
        "test_json", "test_a_handler", "answer", "test_stream", "test_an_answer_of_the_test", "answer"
    ]  # fmt: skip
    whole = project.run("--full-trace", "-k", "test_run")
    assert any(line.startswith(package) for line in whole.outlines)


def test_what_fixtures_do_after_the_test_is_seen_as_well(project: Suite) -> None:
    project.write(
        test_it="""
        import contextlib
        import socket

        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def cleaned(worker, env, ai):
            yield
            ai.answers[MODEL] = "done"
            await worker.fetch("/ask", json={"prompt": "clean up"})
            await worker.finish()
            assert await env.KV.get("prompt") == "clean up"

        async def test_the_worker_still_answers(worker, cleaned):
            assert (await worker.fetch("/")).ok

        @pytest.fixture
        async def asking(ai):
            yield
            with contextlib.suppress(BaseException):
                await ai.run(MODEL, {"prompt": "hi"})

        async def test_a_call_that_nobody_expects(asking):
            pass

        @pytest.fixture
        def leaving():
            yield
            with contextlib.suppress(OSError):
                socket.create_connection(("192.0.2.1", 80), timeout=1)

        @pytest.mark.no_network
        def test_the_network(leaving):
            pass
        """
    )
    ran = project.run()
    ran.assert_outcomes(passed=3, errors=2)
    ran.stdout.fnmatch_lines(["FakeBinding has no answer for this call", "connect to 192.0.2.1:80, at test_it.py:*"])


def test_a_broken_config_is_told_where_a_module_of_the_worker_is_not_found(project: Suite) -> None:
    config = project.pytester.path / "wrangler.jsonc"
    config.write_text(config.read_text().replace('"main":', '"main"'))
    ran = project.run("--continue-on-collection-errors", tests="from entry import answer")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*No module named 'entry'", "*config of the Worker*", f"{config}:2: not JSON: *"])
    asked = project.run(tests="def test_it(worker): pass")
    asked.stdout.fnmatch_lines([f"{config}:2: not JSON: *"])
    asked.stdout.no_fnmatch_line("*During handling of the above exception*")


async def test_one_suite_is_recorded_by_one_rung_and_replayed_by_another(
    project: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "@cf/meta/llama-3.1-8b-instruct"
    (project.pytester.path / "wrangler.jsonc").rename(project.pytester.path / "wrangler.json")
    project.write(
        test_it=f"""
        import pytest

        PRICED = "{model}"

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_page(worker, ai):
            ai.answers[MODEL] = "hello"
            assert (await (await worker.fetch("/ask", json={{"prompt": "hi"}})).json())["text"] == "hellohello"

        @pytest.mark.budget(neurons=10)
        def test_cost(ai):
            ai.answers[PRICED] = ["New", " York"]
            with ai.run_sync(PRICED, {{"prompt": "where is new york?", "stream": True}}) as events:
                assert len(list(events)) == 4
            assert 0 < ai.neurons < 1

        async def test_without_calls(ai):
            assert ai.neurons == 0
        """
    )
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": "hello", model: ["New", " York"]})
    async with serving(rest_app(fake)) as address:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "me")
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "secret")
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", f"{address}/client/v4")
        run = partial(project.pytester.runpytest_subprocess, *PLUGIN, *ANYIO)
        for options in ([], ["--cfai=remote"], ["--cfai=remote", "--cfai-record=once"]):
            (await to_thread.run_sync(partial(run, *options))).assert_outcomes(passed=3)
    tapes = project.pytester.path / "tapes" / "test_it"
    assert sorted(tape.name for tape in tapes.iterdir()) == ["test_cost.json", "test_page.json"]
    (await to_thread.run_sync(partial(run, "--cfai=tape"))).assert_outcomes(passed=3)
    (tapes / "test_page.json").unlink()
    ran = await to_thread.run_sync(partial(run, "--cfai=tape"))
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*there is no such file. Record it with --cfai=remote --cfai-record=once*"])
