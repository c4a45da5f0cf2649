"""Clients that take longer to install than CI has: `CFAI_ALL_CLIENTS=1 pytest tests/clients`. README.md says more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cfai.cli.wrangler import plugin_path, with_local_ai
from tests.clients.held import PIECES, TOKEN, read_piece_by_piece
from tests.clients.node import HERE, installed, needs_node, tell
from tests.clients.test_javascript import ANSWER, TODAY, pieces_of, wait_for
from tests.ports import kept_port

pytestmark = [
    needs_node,
    pytest.mark.skipif(not os.environ.get("CFAI_ALL_CLIENTS"), reason="set CFAI_ALL_CLIENTS=1 to run these clients"),
    pytest.mark.timeout(400),
]

MORE = HERE / "more"
QUIET = {"WRANGLER_SEND_METRICS": "false", "CLOUDFLARE_CF_FETCH_ENABLED": "false", "CFAI_TOKEN": TOKEN}


@pytest.fixture(scope="session", autouse=True)
def packages() -> Path:
    return installed(MORE)


@pytest.fixture
def project(tmp_path: Path, packages: Path) -> Path:
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "worker.js").write_text(TODAY)
    return tmp_path


def config(project: Path, address: str) -> Path:
    """What `cfai wrangler --init` writes."""
    theirs = {
        "name": "w",
        "main": "worker.js",
        "compatibility_date": "2026-01-01",
        "compatibility_flags": ["nodejs_compat"],
        "ai": {"binding": "AI"},
    }
    file = project / "wrangler.cfai.jsonc"
    file.write_text(json.dumps(with_local_ai(theirs, plugin=plugin_path(), url=address)))
    return file


def run(name: str, address: str, *arguments: str) -> Iterator[Any]:
    return tell(MORE / f"{name}.mjs", address, TOKEN, *arguments, environment=QUIET)


def test_langchain_gets_answers(address: str) -> None:
    [text] = run("langchain", address, "whole")
    assert text.startswith(ANSWER)


async def test_langchain_gets_a_stream_piece_by_piece() -> None:
    assert "".join(await read_piece_by_piece(lambda address: run("langchain", address, "stream"))) == "".join(PIECES)


async def test_a_platform_proxy_gets_a_stream_piece_by_piece(project: Path) -> None:
    def read(address: str) -> Iterator[Any]:
        return run("platform-proxy", address, "stream", str(config(project, address)))

    assert "".join(await read_piece_by_piece(read)) == "".join(PIECES)


def in_wrangler(project: Path, address: str) -> Iterator[str]:
    """What `wrangler dev` makes of the project's Worker: the pieces of /stream."""
    command = ["node_modules/.bin/wrangler", "dev", "-c", str(config(project, address))]
    options: dict[str, Any] = {"cwd": project, "env": {**os.environ, **QUIET}, "stdout": subprocess.DEVNULL}
    with kept_port() as port, subprocess.Popen([*command, "--port", str(port)], **options) as wrangler:
        try:
            wait_for(port)
            yield from pieces_of(f"http://127.0.0.1:{port}/stream")
        finally:
            wrangler.terminate()


async def test_wrangler_dev_gets_a_stream_piece_by_piece(project: Path) -> None:
    assert await read_piece_by_piece(lambda address: in_wrangler(project, address)) == PIECES


SDKS = """
import { chat } from "@tanstack/ai";
import { createWorkersAiChat } from "@cloudflare/tanstack-ai";
import { streamText } from "ai";
import { createWorkersAI } from "workers-ai-provider";

const model = "@cf/meta/llama-2-7b-chat-int8";
const events = (pieces) => {
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  const send = (data) => writer.write(new TextEncoder().encode(`data: ${data}\\n\\n`));
  (async () => {
    for await (const piece of pieces) await send(JSON.stringify({ response: piece }));
    await send("[DONE]");
    await writer.close();
  })();
  return new Response(readable, { headers: { "content-type": "text/event-stream" } });
};

async function* tanstack(binding) {
  const messages = [{ role: "user", content: "where is new york?" }];
  for await (const chunk of chat({ adapter: createWorkersAiChat(model, { binding }), messages })) {
    if (chunk.type === "TEXT_MESSAGE_CONTENT") yield chunk.delta;
  }
}

export default {
  async fetch(request, env) {
    const workersai = createWorkersAI({ binding: env.AI });
    return events(PROVIDER ? streamText({ model: workersai(model), prompt: "hi" }).textStream : tanstack(env.AI));
  },
};
"""


@pytest.mark.parametrize("provider", ["true", "false"], ids=["workers-ai-provider", "tanstack-ai"])
async def test_an_sdk_in_a_worker_gets_a_stream_piece_by_piece(project: Path, provider: str) -> None:
    (project / "worker.js").write_text(SDKS.replace("PROVIDER", provider))
    pieces = await read_piece_by_piece(lambda address: in_wrangler(project, address))
    assert "".join(pieces) == "".join(PIECES)


@pytest.mark.parametrize("way", ["proxy", "plugin"])
def test_vitest_runs_a_workers_tests(address: str, project: Path, way: str) -> None:
    shutil.copytree(MORE / "vitest", project / "tests")
    (project / "tests/wrangler.cfai.jsonc").write_text(config(project, address).read_text())
    url = {"CFAI_URL": f"{address}/remote-proxy?token={TOKEN}"} if way == "proxy" else {}
    done = subprocess.run(
        ["../node_modules/.bin/vitest", "run", "-c", f"{way}.config.mjs"],
        cwd=project / "tests",
        env={**os.environ, **QUIET, **url, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_wrangler_lists_the_models(address: str, packages: Path) -> None:
    told = subprocess.run(
        [packages / ".bin/wrangler", "ai", "models", "--json"],
        env={
            **os.environ,
            **QUIET,
            "CLOUDFLARE_API_BASE_URL": f"{address}/client/v4",
            "CLOUDFLARE_API_TOKEN": TOKEN,
            "CLOUDFLARE_ACCOUNT_ID": "0123456789abcdef0123456789abcdef",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert httpx2.get(f"{address}/health").status_code == 200
    assert "@cf/meta/" in told.stdout
