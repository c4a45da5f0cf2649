"""JavaScript clients of Workers AI, as published, against the server: packages of npm, and Workers in workerd.

What takes long to install is in test_more_javascript.py. README.md says how to run either.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cfai import Ai, FakeBinding, sse
from cfai.cli.wrangler import plugin_path
from tests.clients.held import PIECES, TOKEN, read_piece_by_piece
from tests.clients.node import HERE, installed, needs_node, tell
from tests.ports import kept_port
from tests.processes import Process

pytestmark = [needs_node, pytest.mark.timeout(400)]

ANSWER = "New York is located in"


@pytest.fixture(scope="session", autouse=True)
def packages() -> Path:
    return installed(HERE)


@pytest.fixture(scope="session")
def fake_address() -> Iterator[str]:
    """`cfai serve --fake`, where every model answers."""
    with Process("serve", "--fake", "--port", "0", "--token", TOKEN) as process:
        yield process.read_until("listens on").split()[-1]


def run(name: str, address: str, *arguments: str) -> Iterator[Any]:
    return tell(HERE / "javascript" / f"{name}.mjs", address, TOKEN, *arguments)


# Packages that run in Node.


def test_cloudflares_package_gets_answers_lists_and_errors(address: str) -> None:
    [answer] = run("cloudflare", address, "whole")
    assert answer["response"].startswith(ANSWER)
    [count] = run("cloudflare", address, "models")
    assert count > 50
    [error] = run("cloudflare", address, "error")
    assert (error["status"], error["code"]) == (400, 5007)
    assert "No such model @cf/no/such or task" in error["message"]


async def test_cloudflares_package_gets_a_stream_piece_by_piece() -> None:
    assert "".join(await read_piece_by_piece(lambda address: run("cloudflare", address, "stream"))) == "".join(PIECES)


def test_openais_package_gets_answers_and_errors(address: str) -> None:
    [answer] = run("openai", address, "whole")
    assert answer["text"].startswith(ANSWER)
    assert answer["finish"] == "stop"
    assert answer["usage"]["total_tokens"] > answer["usage"]["prompt_tokens"] > 0
    [error] = run("openai", address, "error")
    assert error["kind"] in ("BadRequestError", "NotFoundError")
    assert "No such model @cf/no/such or task" in error["message"]


@pytest.mark.parametrize("what", ["stream", "responses"])
async def test_openais_package_gets_a_stream_piece_by_piece(what: str) -> None:
    assert await read_piece_by_piece(lambda address: run("openai", address, what)) == PIECES


async def test_openais_package_gets_embeddings(fake_address: str) -> None:
    texts = ["a cat", "a dog"]
    want = (await Ai(FakeBinding.plausible()).run("@cf/baai/bge-base-en-v1.5", {"text": texts})).data
    for found, vector in zip(run("openai", fake_address, "embeddings"), want, strict=True):
        assert found == pytest.approx(vector, abs=1e-7)


def test_the_ai_sdk_gets_answers(address: str) -> None:
    [answer] = run("ai-sdk", address, "whole")
    assert answer["text"].startswith(ANSWER)
    assert answer["outputTokens"] > 5
    assert answer["finishReason"] == "stop"


async def test_the_ai_sdk_gets_a_stream_piece_by_piece() -> None:
    assert "".join(await read_piece_by_piece(lambda address: run("ai-sdk", address, "stream"))) == "".join(PIECES)


# env.AI in miniflare, which is what wrangler dev, vite and vitest run.

WAYS = pytest.mark.parametrize("way", [["proxy"], ["plugin", str(plugin_path())]], ids=["proxy", "plugin"])


@WAYS
def test_miniflare_gets_answers_and_errors(address: str, way: list[str]) -> None:
    [reply] = run("miniflare", address, "whole", *way)
    assert reply["answer"]["response"].startswith(ANSWER)
    assert len(reply["id"]) == 36
    [error] = run("miniflare", address, "error", *way)
    assert error == {"name": "AiError", "message": "5007: No such model @cf/no/such or task"}


@WAYS
async def test_miniflare_gets_a_stream_piece_by_piece(way: list[str]) -> None:
    pieces = await read_piece_by_piece(lambda address: run("miniflare", address, "stream", *way))
    assert "".join(pieces) == "".join(PIECES)


def test_a_server_that_is_not_there_is_named() -> None:
    with kept_port() as port:
        address = f"http://127.0.0.1:{port}"
        [error] = run("miniflare", address, "error", "plugin", str(plugin_path()))
    assert error == {
        "name": "Error",
        "message": f"cfai serve is not running at {address}, or went away: start it with `cfai serve`",
    }


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        ({}, {}, {"address": "127.0.0.1:8788", "http": {}}),
        ({}, {"CFAI_URL": "http://localhost:9000"}, {"address": "localhost:9000", "http": {}}),
        (
            {"url": "http://[::1]"},
            {"CFAI_URL": "http://localhost:9000", "CFAI_TOKEN": "t"},
            {
                "address": "[::1]:80",
                "http": {"injectRequestHeaders": [{"name": "Authorization", "value": "Bearer t"}]},
            },
        ),
        (
            {"url": "https://ai.example.com"},
            {},
            {
                "address": "ai.example.com:443",
                "https": {"options": {}, "tlsOptions": {"trustBrowserCas": True}},
            },
        ),
        ({"url": "nowhere"}, {}, 'cfai: "nowhere" is no URL; give where `cfai serve` is, like http://127.0.0.1:8788'),
    ],
)
def test_the_plugin_is_told_where_the_server_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    environment: dict[str, str],
    told: object,
) -> None:
    for name in ("CFAI_URL", "CFAI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "program.cjs"
    program.write_text("""
        const { plugins } = require(process.argv[2]);
        const options = [{ name: "AI", options: JSON.parse(process.argv[3]) }];
        const tell = (value) => console.log(JSON.stringify(value));
        plugins.cfai
          .getServices({ options })
          .then(([service]) => tell(service.external))
          .catch((error) => tell(error.message));
    """)
    assert list(tell(program, str(plugin_path()), json.dumps(options), environment=environment)) == [told]


# Workers in workerd. The published scripts of 2023 made an `Ai` of the binding; today env.AI is one.

PUBLISHED = """
import { Ai } from "PACKAGE";

export default {
  async fetch(request, env, ctx) {
    const ai = new Ai(env.AI, { sessionOptions: { ctx } });
    const { pathname } = new URL(request.url);
    const inputs = { prompt: "where is new york?", stream: pathname === "/stream" };
    const answer = await ai.run("@cf/meta/llama-2-7b-chat-int8", inputs);
    if (!inputs.stream) return Response.json(answer);
    return new Response(answer, { headers: { "content-type": "text/event-stream" } });
  },
};
"""
TODAY = PUBLISHED.replace('import { Ai } from "PACKAGE";\n', "").replace(
    "new Ai(env.AI, { sessionOptions: { ctx } })", "env.AI"
)
PACKAGES = ["@cloudflare/ai-1.0", "@cloudflare/ai-1.1", "@cloudflare/ai-1.2"]
WORKERS = pytest.mark.parametrize(
    "script", [*(PUBLISHED.replace("PACKAGE", name) for name in PACKAGES), TODAY], ids=[*PACKAGES, "env.AI"]
)


@pytest.fixture
def project(tmp_path: Path, packages: Path) -> Path:
    """A folder that has the packages."""
    (tmp_path / "node_modules").symlink_to(packages)
    return tmp_path


def pieces_of(url: str) -> Iterator[str]:
    decoder = sse.Decoder()
    with httpx2.stream("GET", url, timeout=60) as response:
        assert response.headers["content-type"] == "text/event-stream"
        for chunk in response.iter_bytes():
            for data in decoder.feed(chunk):
                if data != "[DONE]" and (piece := sse.loads(data)["response"]):
                    yield piece


def wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)


def in_workerd(project: Path, script: str, address: str, path: str) -> Iterator[Any]:
    """What `cfai workerd` makes of a script: the pieces of /stream, or the answer of another path."""
    (project / "worker.js").write_text(script)
    arguments = [str(project / "worker.js"), "--ai-url", address, "--token", TOKEN]
    with kept_port() as port, Process("workerd", *arguments, "--port", str(port)) as process:
        process.read_until("the Worker listens on")
        wait_for(port)
        url = f"http://127.0.0.1:{port}{path}"
        if path == "/stream":
            yield from pieces_of(url)
        else:
            yield httpx2.get(url, timeout=60).json()


@WORKERS
def test_a_worker_gets_answers(address: str, project: Path, script: str) -> None:
    [answer] = in_workerd(project, script, address, "/")
    assert answer["response"].startswith(ANSWER)


@WORKERS
async def test_a_worker_gets_a_stream_piece_by_piece(project: Path, script: str) -> None:
    pieces = await read_piece_by_piece(lambda address: in_workerd(project, script, address, "/stream"))
    assert pieces == PIECES


MEDIA = """
const audio = Uint8Array.from({ length: 48000 }, (_, at) => at);

export default {
  async fetch(request, env) {
    const body = new Response(audio).body;
    const stream = { body, contentType: "audio/wav" };
    const streamed = await env.AI.run("@cf/deepgram/nova-3", { audio: stream, numerals: true });
    const numbers = await env.AI.run("@cf/openai/whisper", { audio: [...audio] });
    const typed = await env.AI.run("@cf/openai/whisper", { audio });
    const form = new FormData();
    form.append("prompt", "a cat");
    form.append("width", "64");
    const { body: fields, headers } = new Response(form);
    const multipart = { body: fields, contentType: headers.get("content-type") };
    const drawn = await env.AI.run("@cf/black-forest-labs/flux-2-klein-4b", { multipart });
    const picture = await env.AI.run("@cf/lykon/dreamshaper-8-lcm", { prompt: "a cat" });
    const bytes = new Uint8Array(await new Response(picture).arrayBuffer());
    return Response.json({
      heard: streamed.results.channels[0].alternatives[0].words.length,
      words: [numbers.word_count, typed.word_count],
      jpeg: atob(drawn.image).charCodeAt(1),
      png: bytes[0],
    });
  },
};
"""


def test_a_worker_sends_streams_numbers_and_forms_and_gets_bytes(fake_address: str, project: Path) -> None:
    [answer] = in_workerd(project, MEDIA, fake_address, "/")
    assert answer == {"heard": 7, "words": [7, 7], "jpeg": 0xD8, "png": 0x89}
