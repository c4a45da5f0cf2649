"""`cfai cost`: one model, two side by side, and what was spent, from the days of this machine and from a tape."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai import Ai, FakeBinding, TapeBinding
from cfai.bindings import Script
from cfai.bindings.account import COSTS, Account
from cfai.cli import app
from cfai.clock import VirtualClock
from cfai.cost import Cost
from tests.conftest import ANY_LOOP

LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
KIMI = "@cf/moonshotai/kimi-k2.6"
INT8 = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFAI_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cfai(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["cost", *arguments])


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each line of the table, by its label."""
    return {line[:32].strip(): line[32:].split("  ") for line in text.splitlines() if len(line) > 32}


def test_two_models_stand_side_by_side_on_a_narrow_terminal() -> None:
    result = cfai(LLAMA, "--requests", "10000", "--in", "500", "--out", "300", "--cached", "0.5", "--against", KIMI)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert f"A  {LLAMA}" in result.stdout
    assert f"B  {KIMI}" in result.stdout
    cells = {label: [cell.strip() for cell in each if cell.strip()] for label, each in rows(result.stdout).items()}
    assert cells["requests in the busiest minute"] == ["17 (limit 300)", "17 (limit 300)"]
    assert cells["tokens in and out, the window"] == ["800 (limit 24,000)", "800 (limit 262,144)"]
    for label in ("neurons per request", "dollars per day", "dollars per month of 30 days"):
        assert len(cells[label]) == 2
    assert "A: without max_tokens an answer ends after 256 tokens" in result.stdout
    assert "prices of the model list of 2026-" in result.stdout


def test_json_has_the_same_figures() -> None:
    told = json.loads(cfai(LLAMA, "--requests", "10000", "--json").stdout)
    (one,) = told["models"]
    assert one["usd_per_month"] == pytest.approx(30 * one["usd_per_day"])
    assert one["free_share"] == pytest.approx(one["neurons_per_day"] / 10_000)
    assert one["first_limit"] is None


def test_a_model_without_a_price_says_so() -> None:
    result = cfai(INT8)
    assert "not known" in result.stdout
    assert "its price is not known, which does not mean that it is free" in result.stdout
    assert "$0\n" not in result.stdout
    assert "Cloudflare no longer serves it" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["@cf/meta/lama-3.2-1b-instruct"], 3, "did you mean @cf/meta/llama-3.2-1b-instruct?"),
        (["@cf/openai/whisper"], 2, "priced per audio minute"),
        (["@cf/openai/whisper", "--unit", "audio minute"], 2, "has no amount"),
        (["@cf/openai/whisper", "--unit", "audio minute=1e308"], 2, "has no amount from 0 to"),
        (["@cf/black-forest-labs/flux-2-dev", "--unit", "step=4"], 2, "leave --unit out"),
        ([LLAMA, "--requests", "9" * 400], 2, "Invalid value for '--requests'"),
        ([LLAMA, "--in", "9" * 400], 2, "Invalid value for '--in'"),
        (["--requests", "10"], 2, "is of a day of requests to a model, and none is named"),
        (["--against", "@cf/meta/lama-3.2-1b-instruct"], 3, "did you mean @cf/meta/llama-3.2-1b-instruct?"),
        (["nothing.json"], 2, "cannot be read"),
        ([LLAMA, "--cached", "2"], 2, "cached"),
    ],
)
def test_what_cannot_be_meant_is_told(arguments: list[str], code: int, problem: str) -> None:
    result = cfai(*arguments)
    assert result.exit_code == code
    assert problem in " ".join(result.stderr.replace("│", " ").split())


def test_huge_figures_stay_apart() -> None:
    result = cfai(LLAMA, "--requests", str(10**12), "--in", str(10**9), "--against", KIMI)
    assert result.exit_code == 0
    (day,) = [line for line in result.stdout.splitlines() if line.startswith("neurons per day")]
    assert len(day[32:].split()) == 2


def test_a_model_that_makes_no_text_is_told_without_tokens() -> None:
    told = cfai("@cf/black-forest-labs/flux-2-dev").stdout
    assert "1,000 requests a day\n" in told
    assert "tokens" not in told


def test_without_anything_it_tells_what_the_servers_here_have_spent(home: Path) -> None:
    assert "nothing was spent" in cfai().stdout
    clock = VirtualClock()
    account = Account(home / COSTS, clock=clock)
    account.add(LLAMA, Cost(39, 1, neurons=1.2448))
    account.add(LLAMA, Cost(39, 1, neurons=1.2448))
    account.add(INT8, Cost(10, 5))
    told = cfai("--against", KIMI).stdout
    assert "2026-01-01  2.49 of 10,000 free neurons" in told
    assert "2 answers, 78 tokens in, 2 out, 2.49 neurons, $0.0000274" in told
    assert "1 answer, 10 tokens in, 5 out, no price known" in told
    assert f"with {KIMI}" in told
    assert max(map(len, told.splitlines())) <= 80
    whisper = cfai("--against", "@cf/openai/whisper")
    assert "with @cf/openai/whisper\n                88 tokens in, 7 out, no price known" in whisper.stdout
    listed = json.loads(cfai("--json").stdout)
    assert [row["requests"] for row in listed["spent"]] == [2, 1]
    assert listed["total"]["neurons"] == pytest.approx(2.4896)
    (log,) = (home / COSTS).iterdir()
    assert json.loads(cfai(str(log), "--json").stdout) == listed


@ANY_LOOP
async def test_a_tape_tells_what_it_cost_to_record(home: Path) -> None:
    script = Script(pieces=["hi"], usage={"prompt_tokens": 39, "completion_tokens": 1})
    tape = TapeBinding(home / "tape.json", FakeBinding({LLAMA: script, INT8: "hi"}), record="all")
    ai = Ai(tape)
    await ai.run(LLAMA, {"prompt": "hi"})
    async for _ in await ai.run(LLAMA, {"prompt": "hi", "stream": True}):
        pass
    await ai.run(INT8, {"prompt": "hi"})
    tape.close_tape()
    told = json.loads(cfai("tape.json", "--json", "--against", KIMI).stdout)
    llama, int8 = told["spent"]
    assert (llama["model"], llama["day"], llama["requests"], llama["input_tokens"]) == (LLAMA, None, 2, 78)
    assert llama["neurons"] == pytest.approx(2 * 1.2448, rel=1e-3)
    assert (int8["model"], int8["neurons"]) == (INT8, None)
    assert told["against"]["neurons"] > 0


def test_a_file_that_is_neither_a_tape_nor_a_log_is_refused(home: Path) -> None:
    (home / "notes.txt").write_text("hello")
    result = cfai("notes.txt")
    assert result.exit_code == 2
    assert "neither a tape nor a log of costs" in result.stderr


DOCS = (Path(__file__).parents[2] / "docs" / "cost.md").read_text("utf-8")


@pytest.mark.parametrize("line", re.findall(r"^cfai cost.*$", DOCS, re.MULTILINE))
def test_the_lines_of_the_docs_run(line: str) -> None:
    result = cfai(*shlex.split(line)[2:])
    assert result.exit_code == 0, result.stderr


def test_the_table_of_the_docs_is_what_is_printed() -> None:
    told = cfai(
        LLAMA, "--requests", "10000", "--in", "500", "--out", "300", "--cached", "0.5", "--against", KIMI
    ).stdout
    table = DOCS.partition("```\nA  ")[2].partition("```")[0]
    assert f"A  {table}".splitlines()[:-2] == told.splitlines()[: len(table.splitlines()) - 2]
