"""`cfai serve --fake` and `cfai dev --fake`: answers without a model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from cfai.cli import app
from tests.cli.dev import address_of, dev
from tests.processes import Process

MODEL = "@cf/meta/llama-2-7b-chat-int8"
SCRIPT = f"""
from workers import Response

async def on_fetch(request, env):
    stream = await env.AI.run("{MODEL}", {{"prompt": "where?", "stream": True}})
    return Response(stream, headers={{"content-type": "text/event-stream"}})
"""


def said(text: str) -> str:
    return "".join(json.loads(data)["response"] for data in re.findall(r"^data: (\{.*)$", text, re.MULTILINE))


def test_a_server_without_a_model_makes_answers_up_and_says_so() -> None:
    with Process("serve", "--fake", "--port", "0") as process, httpx2.Client(timeout=60) as client:
        process.read_until("--fake: no model runs, answers are scripted or made up")
        address = process.read_until("cfai listens on").split()[-1]
        run = f"{address}/client/v4/accounts/a/ai/run"
        answers = [client.post(f"{run}/{MODEL}", json={"prompt": "where?"}).json()["result"] for _ in range(2)]
        assert answers[0] == answers[1]
        assert len(answers[0]["response"].split()) > 3
        vectors = client.post(f"{run}/@cf/baai/bge-base-en-v1.5", json={"text": ["a", "b"]}).json()["result"]
        assert vectors["shape"] == [2, 768]
        refused = client.post(f"{run}/{MODEL}", json={"max_tokens": 5})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, 5006)


def test_the_pieces_of_a_fake_take_the_time_that_they_are_given() -> None:
    with Process("serve", "--fake", "--port", "0", "--between-pieces", "3600") as process:
        address = process.read_until("cfai listens on").split()[-1]
        body = {"prompt": "where?", "stream": True}
        with httpx2.stream("POST", f"{address}/client/v4/accounts/a/ai/run/{MODEL}", json=body, timeout=60) as response:
            assert next(response.iter_raw()).startswith(b'data: {"response":')


def test_a_worker_is_answered_from_a_file_that_may_be_edited(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text(SCRIPT)
    answers = project / "answers.json"
    answers.write_text(json.dumps({MODEL: ["New", " York"]}))
    with dev(project, temporary, "--fake", "--answers", str(answers)) as process:
        table = process.lines_until("scripted or made up")
        assert re.search(r"env\.AI +AI +fake", table)
        address = address_of(process)
        events = 'data: {"response":"New"}\n\ndata: {"response":" York"}\n\n'
        assert httpx2.get(address, timeout=60).text.startswith(events)
        answers.write_text(json.dumps({MODEL: "another"}))
        assert said(httpx2.get(address, timeout=60).text) == "another"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["serve", "--fake", "--device", "cpu"], "--fake runs no model, and --device wants one"),
        (["serve", "--fake", "--model", "@cf/a/b=cfai"], "--fake runs no model, and --model wants one"),
        (["serve", "--answers", "pyproject.toml"], "--answers is for the answers of --fake"),
        (["serve", "--between-pieces", "1"], "--between-pieces is for the answers of --fake"),
        (["serve", "--fake", "--answers", "pyproject.toml"], "pyproject.toml is no JSON"),
        (["serve", "--fake", "--answers", "no.json"], "does not exist"),
        (["dev", "--fake", "--remote"], "--fake runs no model, and --remote wants one"),
        (["dev", "--fake", "--answers", "pyproject.toml"], "pyproject.toml is no JSON"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--port", "0"])
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.replace("│", " ").split())
