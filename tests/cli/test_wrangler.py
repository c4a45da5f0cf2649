"""`cfai wrangler`: the plugin and the config with which JavaScript tools ask cfai."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app
from cfai.cli.wrangler import plugin_path, with_local_ai
from cfai.config import read_document

URL = "http://127.0.0.1:8788"
PROJECT = """{
  // a project
  "name": "chat",
  "main": "src/index.ts",
  "ai": { "binding": "AI" },
}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cfai(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["wrangler", *arguments])


def local(name: str = "AI", url: str = URL) -> dict[str, Any]:
    dev = {"plugin": {"package": str(plugin_path()), "name": "cfai"}, "options": {"url": url}}
    return {"name": name, "type": "ai", "dev": dev}


def test_the_plugins_path_is_printed_alone() -> None:
    printed = Path(cfai("--plugin").stdout.strip())
    assert printed == plugin_path()
    assert "getServices" in printed.read_text("utf-8")
    assert (printed.parent / "ai.mjs").is_file()  # it reads the module beside it


def test_without_options_the_lines_for_a_config_are_shown() -> None:
    shown = cfai().stdout
    start, end = shown.index('"unsafe"'), shown.rindex("}") + 1
    assert json.loads("{" + shown[start:end] + "}") == {"unsafe": {"bindings": [local()]}}


@pytest.mark.parametrize("terminal", [{}, {"FORCE_COLOR": "1"}], ids=["piped", "terminal"])
def test_long_lines_are_shown_whole(terminal: dict[str, str]) -> None:
    url = f"http://127.0.0.1:8788/{'long' * 40}"
    shown = CliRunner().invoke(app, ["wrangler", "--url", url], env={"COLUMNS": "30", **terminal}).stdout
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert (plain != shown) == bool(terminal)
    start, end = plain.index('"unsafe"'), plain.rindex("}") + 1
    assert json.loads("{" + plain[start:end] + "}") == {"unsafe": {"bindings": [local(url=url)]}}


def test_init_writes_a_config_of_its_own(project: Path) -> None:
    (project / "wrangler.jsonc").write_text(PROJECT)
    result = cfai("--init", "--url", "http://127.0.0.1:9000")
    assert result.exit_code == 0
    assert "npx wrangler dev -c wrangler.cfai.jsonc" in result.stdout
    assert (project / "wrangler.jsonc").read_text() == PROJECT
    assert read_document(project / "wrangler.cfai.jsonc") == {
        "name": "chat",
        "main": "src/index.ts",
        "unsafe": {"bindings": [local(url="http://127.0.0.1:9000")]},
    }


def test_init_reads_toml_and_writes_json(project: Path) -> None:
    text = 'name = "chat"\nmain = "index.js"\ncompatibility_date = 2025-01-31\n[ai]\nbinding = "MODELS"\n'
    (project / "wrangler.toml").write_text(text)
    assert cfai("--init", "local.jsonc").exit_code == 0
    written = read_document(project / "local.jsonc")
    assert written["compatibility_date"] == "2025-01-31"
    assert written["unsafe"]["bindings"][0]["name"] == "MODELS"


def test_init_makes_a_config_for_a_script_without_one(project: Path) -> None:
    (project / "src").mkdir()
    (project / "src/index.js").touch()
    assert cfai("--init").exit_code == 0
    assert read_document(project / "wrangler.cfai.jsonc")["main"] == "src/index.js"


def test_nothing_is_written_over_unasked(project: Path) -> None:
    config = project / "wrangler.jsonc"
    config.write_text(PROJECT)
    refused = cfai("--init", "wrangler.jsonc")
    assert (refused.exit_code, config.read_text()) == (2, PROJECT)
    assert "--force" in refused.stderr
    assert cfai("--init", "wrangler.jsonc", "--force").exit_code == 0
    assert cfai("--init", "wrangler.jsonc", "--force").exit_code == 0  # the lines are there once
    assert read_document(config)["unsafe"] == {"bindings": [local()]}


@pytest.mark.parametrize("name", ["wrangler.cfai.jsonc", "local.json"])
def test_a_config_that_was_made_here_follows_the_projects_own(project: Path, name: str) -> None:
    (project / "wrangler.jsonc").write_text(PROJECT)
    assert cfai("--init", name).exit_code == 0
    (project / "wrangler.jsonc").write_text(PROJECT.replace("src/index.ts", "src/other.ts"))
    again = cfai("--init", name, "--force")
    assert again.exit_code == 0
    assert "from wrangler.jsonc" in again.stdout
    assert read_document(project / name)["main"] == "src/other.ts"
    (project / "wrangler.jsonc").unlink()
    assert cfai("--init", name, "--force").exit_code == 0  # there is nothing else to follow
    assert read_document(project / name)["main"] == "src/other.ts"


def test_a_config_by_hand_that_is_written_over_stays_what_it_is(project: Path) -> None:
    (project / "wrangler.jsonc").write_text(PROJECT)
    (project / "mine.jsonc").write_text(PROJECT.replace("src/index.ts", "src/mine.ts"))
    assert cfai("--init", "mine.jsonc", "--force").exit_code == 0
    assert read_document(project / "mine.jsonc")["main"] == "src/mine.ts"


def test_environments_get_a_local_binding_of_their_own_name() -> None:
    config = {
        "ai": {"binding": "AI"},
        "unsafe": {"bindings": [{"name": "OTHER", "type": "x"}], "metadata": {"a": 1}},
        "env": {"staging": {"ai": {"binding": "BRAIN"}}, "quiet": {"vars": {"A": "b"}}},
    }
    changed = with_local_ai(config, plugin=plugin_path(), url=URL)
    assert changed == {
        "unsafe": {"bindings": [{"name": "OTHER", "type": "x"}, local()], "metadata": {"a": 1}},
        "env": {"staging": {"unsafe": {"bindings": [local("BRAIN")]}}, "quiet": {"vars": {"A": "b"}}},
    }


@pytest.mark.parametrize(
    ("config", "arguments", "told"),
    [
        (None, ["--init"], "no wrangler config here"),
        (PROJECT, ["--init", "wrangler.toml"], ".jsonc"),
        ("{", ["--init"], "not JSON"),
        ('{"ai": "AI"}', ["--init"], '"ai" should be an object'),
        (PROJECT, ["--init", "sub/wrangler.jsonc", "--from", "wrangler.jsonc"], "another folder"),
    ],
)
def test_what_is_wrong_is_said(project: Path, config: str | None, arguments: list[str], told: str) -> None:
    if config is not None:
        (project / "wrangler.jsonc").write_text(config)
    result = cfai(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not (project / "wrangler.cfai.jsonc").exists()
