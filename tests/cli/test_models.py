"""`cfai models`: the catalog of a day, what is retired, and a part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app

INT8 = "@cf/meta/llama-2-7b-chat-int8"


def cfai(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def rows(*arguments: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(cfai("--json", *arguments).stdout)}


def test_the_catalog_of_a_day_has_what_had_been_added_and_was_not_retired() -> None:
    first = rows("--as-of", "2023-11-14")
    assert first[INT8]["max_output_tokens"] == 1800
    assert first[INT8]["default_max_tokens_streaming"] == 1800
    assert "@cf/mistral/mistral-7b-instruct-v0.1" in first
    assert "@cf/google/gemma-4-26b-a4b-it" not in first
    assert INT8 in rows("--as-of", "2026-05-29")
    assert INT8 not in rows("--as-of", "2026-05-30")
    assert "@cf/google/gemma-4-26b-a4b-it" in rows("--as-of", "2026-05-30")
    assert all(row["created"] is None or row["created"] <= "2023-11-14" for row in first.values())


def test_a_model_without_a_window_shows_what_a_prompt_and_an_answer_may_have() -> None:
    (line,) = (line for line in cfai("--as-of", "2023-11-14").stdout.splitlines() if line.startswith(INT8))
    assert line.split()[1:4] == ["2,048", "+", "1,800"]


def test_models_without_known_days_are_in_no_days_catalog_and_the_command_says_so(llama: Path) -> None:
    listed = rows("--as-of", "2024-06-01", "--model", f"@cf/me/mine={llama}")
    assert "@cf/nexaaidev/octopus-v2" not in listed
    assert {"@cf/me/mine", "@cfai/demo/tiny-chat"} <= listed.keys()
    assert "more have no known days: cfai models lists them" in cfai("--as-of", "2024-06-01").stderr


def test_what_is_retired_has_its_day_and_what_is_used_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    listed = rows("--retired")
    assert all(row["retired"] and row["retired_since"] for row in listed.values())
    assert listed[INT8]["retired_since"] == "2026-05-30"
    assert listed[INT8]["successor"] == "@cf/meta/llama-3.1-8b-instruct-fp8"
    assert len(rows("--retired", "--as-of", "2025-12-01")) < len(listed)
    printed = cfai("--retired", "--search", "phi-2").stdout.splitlines()
    assert printed[1].split() == ["@cf/microsoft/phi-2", "2026-05-30", "@cf/zai-org/glm-4.7-flash"]


def test_parts_of_the_catalog_are_listed() -> None:
    assert rows("--task", "text embeddings", "--author", "baai").keys() >= {"@cf/baai/bge-m3"}
    assert set(rows("--search", "german")) == {
        "@cf/thebloke/discolm-german-7b-v1-awq",
        "@cf/meta/llama-3.1-8b-instruct",
    }
    assert {row["task"] for row in rows("--task", "Translation").values()} == {"Translation"}
    assert rows("--search", "no such thing") == {}


def test_a_task_that_is_none_gets_the_nearest_one() -> None:
    result = cfai("--task", "text generaton")
    assert result.exit_code == 2
    assert "no model has the task 'text generaton'" in result.stderr
    assert "did you mean 'Text Generation'?" in " ".join(result.stderr.split())


@pytest.mark.parametrize("width", [80, 160])
def test_the_tables_fit_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in ([], ["--retired"]):
        lines = cfai(*arguments).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert all("…" not in line for line in lines)
        assert any(line.split()[:1] == ["@cf/runwayml/stable-diffusion-v1-5-inpainting"] for line in lines) is (
            not arguments
        )


def test_the_models_of_the_settings_are_listed_with_their_own_figures(llama: Path, tmp_path: Path) -> None:
    settings = tmp_path / "cfai.toml"
    settings.write_text(
        f"""as_of = 2023-11-14
[models."@cf/me/mine"]
weights = {str(llama)!r}
context_window = 99
[models."@cf/me/theirs".upstream]
url = "http://127.0.0.1:1/v1"
"""
    )
    listed = rows("--settings", str(settings))
    assert (listed["@cf/me/mine"]["context_window"], listed["@cf/me/mine"]["folder"]) == (99, str(llama))
    assert listed["@cf/me/theirs"]["upstream"] == "http://127.0.0.1:1/v1"
    assert listed[INT8]["max_output_tokens"] == 1800
    lines = cfai("--settings", str(settings)).stdout.splitlines()
    assert any(line.split()[:2] == ["@cf/me/theirs", "upstream"] for line in lines)
