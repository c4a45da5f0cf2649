"""The pytest plugin, by small suites that are run with it."""

from __future__ import annotations

import textwrap

import pytest

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "no:cfai", "-p", "cfai.pytest_plugin", "-W", "error", "-p", "no:langsmith_plugin")
ANYIO = ("-p", "no:asyncio", "-o", "anyio_mode=auto")
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
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


def test_ai_and_fake_ai_answer_from_a_script_on_both_loops(suite: Suite) -> None:
    ran = suite.run(
        tests="""
        import pytest

        async def test_stream(ai):
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
    ran.assert_outcomes(passed=11)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio_runs_them_too(suite: Suite, mode: str) -> None:
    ran = suite.run(
        f"--asyncio-mode={mode}",
        loop=("-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function"),
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
    ran.stdout.fnmatch_lines(["cfai is 'fkae', and should be fake, *; did you mean fake?*"])


def test_the_plugin_imports_nothing_until_a_fixture_is_asked_for(suite: Suite) -> None:
    suite.write(
        test_it="""
        import sys

        def loaded():
            return {name for name in sys.modules if name.partition(".")[0] == "cfai"} - {"cfai", "cfai.pytest_plugin"}

        def test_without():
            assert not loaded()

        def test_with(ai):
            assert loaded()
            heavy = {"torch", "transformers", "tokenizers", "numpy", "huggingface_hub", "jinja2", "llguidance"}
            assert not heavy & set(sys.modules)
        """
    )
    ran = suite.pytester.runpytest_subprocess(*PLUGIN, *ANYIO)
    ran.assert_outcomes(passed=2)
