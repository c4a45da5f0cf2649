"""`--faults` of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from cfai.cli import app
from tests.cli.dev import address_of, dev, save

MODEL = "@cf/meta/llama-2-7b-chat-int8"
SCRIPT = f"""
from workers import Response

async def on_fetch(request, env):
    answer = await env.AI.run("{MODEL}", {{"prompt": "where?"}})
    return Response(answer.response)
"""


def test_a_save_begins_the_count_anew(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text(SCRIPT)
    answers = temporary / "answers.json"
    answers.write_text(json.dumps({MODEL: "New York"}))
    with dev(project, temporary, "--fake", "--answers", str(answers), "--faults", "capacity:1") as process:
        begun = process.lines_until("[wrangler:info] Ready on")
        assert "▲ [WARNING] faults are on: calls meet capacity:1, or what their request's header" in begun
        address = begun.split()[-1]
        assert "3040: Capacity temporarily exceeded" in httpx2.get(address, timeout=60).text
        assert process.read_until("[FAULT]") == (f"▲ [FAULT] GET /, call 1, {MODEL}: capacity:1: refused with 3040\n")
        assert httpx2.get(address, timeout=60).text == "New York"
        assert httpx2.get(address, timeout=60, headers={"x-cfai-faults": "timeout"}).status_code == 500
        save(project / "entry.py", SCRIPT + "\n")
        process.read_until("updated and ready")
        assert "3040: Capacity temporarily exceeded" in httpx2.get(address, timeout=60).text
        assert httpx2.get(address, timeout=60).text == "New York"


def test_without_the_flag_the_header_means_nothing(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text(SCRIPT)
    answers = temporary / "answers.json"
    answers.write_text(json.dumps({MODEL: "New York"}))
    with dev(project, temporary, "--fake", "--answers", str(answers)) as process:
        response = httpx2.get(address_of(process), timeout=60, headers={"x-cfai-faults": "capacity"})
    assert response.text == "New York"


@pytest.mark.parametrize("command", [["serve", "--fake"], ["dev"]])
def test_a_name_that_no_fault_has_is_refused_with_the_nearest(command: list[str]) -> None:
    ended = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*command, "--faults", "capasity"])
    assert ended.exit_code == 2
    assert "did you mean 'capacity'" in ended.output
