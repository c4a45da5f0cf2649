"""What answers cost, on the terminal of `cfai serve` and `cfai dev`, and Cloudflare's limits with `--limits`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2

from tests.cli.dev import address_of, dev
from tests.processes import Process

LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
SLOW = "@cf/qwen/qwen1.5-14b-chat-awq"
"""150 requests per minute, and no known price."""
SCRIPT = f"""
from workers import Response

async def on_fetch(request, env):
    stream = await env.AI.run("{LLAMA}", {{"prompt": "where?", "stream": True}})
    return Response(stream, headers={{"content-type": "text/event-stream"}})
"""


def test_a_server_tells_costs_and_holds_the_limits_that_it_was_told_to() -> None:
    instant = ["--first-piece-after", "0", "--between-pieces", "0"]
    with (
        Process("serve", "--fake", "--port", "0", "--limits", *instant) as process,
        httpx2.Client(timeout=60) as client,
    ):
        address = process.read_until("cfai listens on").split()[-1]
        run = f"{address}/client/v4/accounts/a/ai/run"
        asked = {"prompt": "where?", "max_tokens": 3}
        whole = client.post(f"{run}/{LLAMA}", json=asked)
        cost = re.search(r"(\d+) tokens in, 3 out, (\S+) neurons, \$(0\.\d+)$", process.read_until("POST /client"))
        assert cost is not None
        assert cost[1] == str(whole.json()["result"]["usage"]["prompt_tokens"])
        assert float(cost[2]) == round(whole.json()["result"]["usage"]["neurons"], 3)
        assert float(whole.headers["x-cfai-usd"]) > 0
        client.post(f"{run}/{LLAMA}", json={**asked, "stream": True})
        assert "3 out" in process.read_until("POST /client"), "a stream's cost is known at its end"
        client.post(f"{address}/v1/chat/completions", json={"model": SLOW, "messages": [], **asked})
        assert "no price known" not in process.read_until("POST /v1"), "what is refused costs nothing"
        refused = [client.post(f"{run}/{SLOW}", json=asked) for _ in range(151)][-1]
        assert refused.status_code == 429
        assert refused.json()["errors"][0]["code"] == 3021
        assert "rate limiting: inference request per min rate reached" in refused.json()["errors"][0]["message"]
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert "no price known" in process.read_until("no price known")
        metrics = client.get(f"{address}/metrics").text
        today = re.search(r"^cfai_neurons_today (\S+)$", metrics, re.MULTILINE)
        assert today is not None
        assert float(today[1]) > 0
        assert "cfai_free_neurons 10000.0" in metrics
        assert f'cfai_neurons_total{{model="{LLAMA}"}}' in metrics
        assert "neurons" not in client.get(f"{address}/health").json()


def test_dev_tells_each_answers_cost_and_once_that_a_default_cut_one(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text(SCRIPT)
    answers = project / "answers.json"
    answers.write_text(json.dumps({LLAMA: [" word"] * 300}))
    with dev(project, temporary, "--fake", "--answers", str(answers), "--between-pieces", "0") as process:
        address = address_of(process)
        httpx2.get(address, timeout=60)
        said = process.lines_until("free neurons today")
        assert re.search(rf"⎔ {LLAMA}: \d+ tokens in, 256 out, \S+ neurons, \$0\.\d+; \S+ of 10,000 free", said)
        assert f"an answer of {LLAMA} was cut off after 256 tokens, its default" in said
        assert 'ask for more with "max_tokens"' in said
        httpx2.get(address, timeout=60)
        assert "was cut off" not in process.lines_until("free neurons today")
