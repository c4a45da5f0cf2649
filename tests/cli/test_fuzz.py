"""`cfai fuzz`: clients as commands, and what runs at an address."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from cfai import FakeBinding
from cfai.server.app import rest_app
from tests.cli.dev import address_of, configure, dev
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"
RUN = f"/client/v4/accounts/acc/ai/run/{MODEL}"
ASKED = '{"prompt": "where is new york?", "stream": true}'

READS_LINES = """
    import json, os, urllib.request
    response = urllib.request.urlopen(os.environ["CFAI_FUZZ_URL"])
    while chunk := response.read1():
        for line in chunk.decode().split("\\n"):
            if line.startswith("data: ") and line != "data: [DONE]":
                print(json.loads(line[6:])["response"], end="")
"""
READS_ALL = """
    import json, os, sys, urllib.request
    sys.stdout.reconfigure(encoding="utf-8")
    data = ""
    for line in urllib.request.urlopen(os.environ["CFAI_FUZZ_URL"]):
        if line.startswith(b"data: ") and (data := line[6:].strip()) != b"[DONE]":
            piece = json.loads(data).get("response")
            print("" if piece is None else piece, end="")
    print()
    if data != b"[DONE]":
        raise SystemExit("the answer was cut")
"""
ASKS_LIKE_OPENAI = """
    import openai
    client = openai.OpenAI(max_retries=0)
    asked = {"model": "@cf/x/y", "messages": [{"role": "user", "content": "hi"}]}
    for chunk in client.chat.completions.create(**asked, stream=True):
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="")
"""
ASKS_LIKE_CLOUDFLARE = """
    import cloudflare, json, os
    client = cloudflare.Cloudflare(max_retries=0)
    account = os.environ["CLOUDFLARE_ACCOUNT_ID"]
    asked = {"account_id": account, "prompt": "hi", "stream": True}
    with client.ai.with_streaming_response.run("@cf/x/y", **asked) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                print(json.loads(line[6:]).get("response") or "", end="")
"""


def fuzz(*arguments: str) -> tuple[int, str, str]:
    result = subprocess.run(
        [sys.executable, "-m", "cfai", "fuzz", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160"},
        timeout=280,
    )
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def client(tmp_path: Path) -> Mapping[str, str]:
    """The commands that run the clients above."""
    sources = {
        "lines": READS_LINES,
        "all": READS_ALL,
        "openai": ASKS_LIKE_OPENAI,
        "cloudflare": ASKS_LIKE_CLOUDFLARE,
        "nothing": "",
        "no stream": """
            import os, urllib.request
            urllib.request.urlopen(os.environ["CLOUDFLARE_BASE_URL"] + "/accounts/a/ai/run/@cf/x/y", data=b"{}")
        """,
        "for ever": """
            import os, socket, time  # nothing that takes long to import: its time runs from its start
            host, _, path = os.environ["CFAI_FUZZ_URL"].removeprefix("http://").partition("/")
            name, _, port = host.partition(":")
            asking = socket.create_connection((name, int(port)))
            asking.sendall(f"GET /{path} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
            time.sleep(99)
        """,
    }
    commands = {}
    for name, source in sources.items():
        file = tmp_path / f"client_{name.replace(' ', '_')}.py"
        file.write_text(textwrap.dedent(source))
        commands[name] = shlex.join([sys.executable, str(file)])
    return commands


def test_a_client_that_reads_each_chunk_for_itself_is_found_out(client: Mapping[str, str]) -> None:
    code, out, _ = fuzz("--run", client["lines"], "--stream", "plain", "--stream", "no text")
    assert code == 1
    assert "streams of the classic form" in out
    assert "2 tried in" in out
    assert "exit code 1: json.decoder.JSONDecodeError: Unterminated string" in out
    report = out.partition("stream    ")[2]
    assert report.startswith("plain: two pieces of a text, in the classic form")
    assert "within a line" in report
    chunks = eval(report.partition("chunks = ")[2])
    assert len(chunks) == 2, "no more cuts than it takes"
    assert b"".join(chunks).count(b"data: ") == 2, "one piece, and [DONE]"


def test_a_client_that_reads_rightly_passes(client: Mapping[str, str]) -> None:
    names = ["emoji", "numbers", "cut within an event", "CRLF"]
    chosen = [option for name in names for option in ("--stream", name)]
    options = ["--level", "standard", "--must-tell", "cut", "--limit", "30", "--seed", "7", "--jobs", "1"]
    code, out, _ = fuzz("--run", client["all"], *chosen, *options)
    assert (code, out.splitlines()[-1]) == (0, "4 tried in 28 runs, none read wrongly")


@pytest.mark.parametrize(("name", "form"), [("openai", "chat"), ("cloudflare", "classic")])
def test_the_clients_of_the_field_are_given_the_address_where_they_look_for_it(
    client: Mapping[str, str], name: str, form: str
) -> None:
    code, out, err = fuzz("--run", client[name], "--stream", "emoji", "--limit", "3")
    assert (code, err) == (0, "")
    assert f"streams of the {form} form" in out


def test_a_command_that_gives_nothing_to_compare_is_an_error(client: Mapping[str, str]) -> None:
    assert "asks for no stream: it asked for nothing" in fuzz("--run", client["nothing"])[2]
    assert "so send stream: true" in fuzz("--run", client["no stream"])[2]
    assert "did you mean 'plain'" in fuzz("--run", client["all"], "--stream", "plane")[2]
    code, _, err = fuzz("--run", "no-such-program")
    assert (code, "no-such-program cannot be run: No such file" in err) == (2, True)


def test_a_command_that_does_not_end_is_ended(client: Mapping[str, str]) -> None:
    code, out, _ = fuzz("--run", client["for ever"], "--stream", "no text", "--timeout", "4", "--limit", "1")
    assert code == 1
    assert "it did not end within 4 s" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "either a URL or --run COMMAND"),
        (["http://127.0.0.1:1/", "--run", "true"], "either a URL or --run COMMAND"),
        (["127.0.0.1:1"], "is no URL of a server"),
        (["http://127.0.0.1:1/"], "does not answer"),
        (["http://127.0.0.1:1/", "--level", "standart"], "did you mean 'standard'"),
        (["http://127.0.0.1:1/", "--json", "{"], "it is not JSON"),
        (["http://127.0.0.1:1/", "--header", "token"], "'token' is no header"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], problem: str) -> None:
    code, _, err = fuzz(*arguments)
    assert code == 2
    assert problem in " ".join(err.replace("│", " ").split())


async def test_a_server_is_asked_plainly_and_with_faults() -> None:
    fake = FakeBinding({MODEL: ["Wo", " ist", " Köln", "?"]})
    async with serving(rest_app(fake, faults="none")) as address:
        code, out, _ = await anyio.to_thread.run_sync(fuzz, address + RUN, "--json", ASKED, "--level", "standard")
    assert code == 0
    assert "without one: 'Wo ist Köln?'" in out
    assert "7 tried in 7 runs, none read wrongly" in out


async def test_a_server_that_honours_no_faults_is_not_taken_for_a_good_one() -> None:
    async with serving(rest_app(FakeBinding({MODEL: "hi"}))) as address:
        code, _, err = await anyio.to_thread.run_sync(fuzz, address + RUN, "--json", ASKED)
    assert code == 2
    assert "does not honour the header x-cfai-faults: start cfai dev or cfai serve with --faults none" in err


WORKER = """
import json
from workers import Response, WorkerEntrypoint

PAGE = '''<body><p></p><script>
const source = new EventSource("/stream");
source.onmessage = ({ data }) => {
    if (data === "[DONE]") source.close();
    else document.querySelector("p").textContent += JSON.parse(data).response;
};
</script>'''

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.rpartition("/")[2]
        if path == "hello":
            return Response("hello")
        if path == "page":
            return Response(PAGE, headers={"content-type": "text/html"})
        asked = {"prompt": "where is new york?", "stream": True}
        stream = await self.env.AI.run("@cf/meta/llama-2-7b-chat-int8", asked)
        if path == "stream":
            return Response(stream, headers={"content-type": "text/event-stream"})
        text = ""
        async for chunk in stream:
            for line in bytes(chunk).decode().split("\\n"):
                if line.startswith("data: {"):
                    text += str(json.loads(line[6:]).get("response", ""))
        return Response(text)
"""


def test_a_worker_and_its_page_are_asked_plainly_and_with_faults(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text(WORKER)
    (tmp_path / "answers.json").write_text('{"@cf/meta/llama-2-7b-chat-int8": ["Wo", " ist", " Köln", "?"]}')
    configure(tmp_path)
    options = ["--fake", "--answers", str(tmp_path / "answers.json"), "--faults", "none"]
    with dev(tmp_path, tmp_path, *options) as process:
        address = address_of(process)
        code, out, _ = fuzz(f"{address}/stream")
        assert (code, out.splitlines()[-1]) == (0, "6 tried in 6 runs, none read wrongly")
        code, out, _ = fuzz(f"{address}/text")
        assert code == 1
        wrong = [line.split()[0] for line in out.splitlines() if "UnicodeDecodeError: 'utf-8' codec" in line]
        assert wrong == ["split-bytes", "split-character"]
        code, _, err = fuzz(f"{address}/hello")
        assert (code, "no model is asked for its answer" in err) == (2, True)
        if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))) or "CI" in os.environ:
            code, out, _ = fuzz(f"{address}/page", "--page")
            assert code == 1
            wrong = [line.split()[0] for line in out.splitlines() if "'Wo ist Köln?undefined'" in line]
            assert wrong == ["null-finaliser"]
            assert "1 read wrongly" in out
