"""Where a command's settings are from: its command line, the environment, cfai.toml, in this order."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import cast

import httpx2
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

import cfai
from cfai import ModelSettings, Settings
from cfai.cli import app
from cfai.cli.settled import passed_on, settled
from cfai.config.settings import KINDS
from tests.cli.dev import address_of, configure, dev
from tests.processes import Process

FILE = {
    "memory": ('"1GB"', 10**9),
    "keep_alive": ('"1m"', 60),
    "device": ('"cuda:1"', "cuda:1"),
    "dtype": ('"float16"', "float16"),
    "threads": ("11", 11),
    "slots": ("11", 11),
    "queue_limit": ("11", 11),
    "cache_tokens": ("11", 11),
    "draft_tokens": ("11", 11),
    "torch_compile": ("true", True),
    "as_of": ("2024-01-01", date(2024, 1, 1)),
    "fidelity": ('"production"', "production"),
    "demo": ("true", True),
    "limits": ("'rpm'", "rpm"),
    "strict_retired": ("true", True),
    "offline": ("true", True),
}
VARIABLE = {
    "memory": ("2GB", 2 * 10**9),
    "keep_alive": ("2m", 120),
    "device": ("cuda:2", "cuda:2"),
    "dtype": ("bfloat16", "bfloat16"),
    "threads": ("22", 22),
    "slots": ("22", 22),
    "queue_limit": ("22", 22),
    "cache_tokens": ("22", 22),
    "draft_tokens": ("22", 22),
    "torch_compile": ("0", False),
    "as_of": ("2024-02-02", date(2024, 2, 2)),
    "fidelity": ("clean", "clean"),
    "demo": ("0", False),
    "limits": ("0", "none"),
    "strict_retired": ("0", False),
    "offline": ("0", False),
}
OPTION = {
    "memory": ("--memory=3GB", 3 * 10**9),
    "keep_alive": ("--keep-alive=3m", 180),
    "device": ("--device=cuda:3", "cuda:3"),
    "dtype": ("--dtype=float32", "float32"),
    "threads": ("--threads=33", 33),
    "slots": ("--slots=33", 33),
    "queue_limit": ("--queue=33", 33),
    "cache_tokens": ("--cache-tokens=33", 33),
    "draft_tokens": ("--draft-tokens=33", 33),
    "torch_compile": ("--torch-compile", True),
    "as_of": ("--as-of=2024-03-03", date(2024, 3, 3)),
    "fidelity": ("--fidelity=production", "production"),
    "demo": ("--demo", True),
    "limits": ("--limits", "all"),
    "strict_retired": ("--strict-retired", True),
    "offline": ("--offline", True),
}
COMMANDS = {"run": ["@cf/a/b", "hi"], "serve": [], "dev": []}
NOT_OF_RUN = {"slots", "queue_limit", "cache_tokens", "draft_tokens", "torch_compile", "fidelity"}
"""What matters where many answers are made; of a single one the file and the environment still say it."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    for key in KINDS:
        monkeypatch.delenv(f"CFAI_{key.upper()}", raising=False)
    return tmp_path


def context_of(command: str, *options: str) -> typer.Context:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = group.commands[command].make_context(command, [*COMMANDS[command], *options])
    return cast("typer.Context", context)  # what Typer gives to a function that asks for one


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_comes_from_file_variable_and_command_line(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KINDS.keys() == FILE.keys() == VARIABLE.keys() == OPTION.keys(), "a key has its line in each of these tables"
    (folder / "cfai.toml").write_text("".join(f"{key} = {text}\n" for key, (text, _) in FILE.items()))
    settings = settled(context_of(command))
    assert {key: getattr(settings, key) for key in KINDS} == {key: value for key, (_, value) in FILE.items()}
    for key, (text, _) in VARIABLE.items():
        monkeypatch.setenv(f"CFAI_{key.upper()}", text)
    settings = settled(context_of(command))
    assert {key: getattr(settings, key) for key in KINDS} == {key: value for key, (_, value) in VARIABLE.items()}
    options = {key: given for key, given in OPTION.items() if command != "run" or key not in NOT_OF_RUN}
    settings = settled(context_of(command, *(text for text, _ in options.values())))
    assert {key: getattr(settings, key) for key in options} == {key: value for key, (_, value) in options.items()}


@pytest.mark.parametrize("switch", ["demo", "limits", "strict_retired", "offline"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_file_switches_on_the_command_line_switches_off(command: str, switch: str, folder: Path) -> None:
    (folder / "cfai.toml").write_text(f"{switch} = true\n")
    off = getattr(settled(context_of(command, f"--no-{switch.replace('_', '-')}")), switch)
    assert off == ("none" if switch == "limits" else False)


def test_what_dev_is_told_its_engine_is_told() -> None:
    switches = ["--no-demo", "--no-limits", "--no-strict-retired", "--no-offline"]
    models = [
        "--model=@cf/mine/a=org/a",
        "--model=@cf/mine/b=org/b@main",
        "--pin=@cf/mine/a",
        "--pin=@cfai/demo/tiny-chat",
    ]
    for options in ([text for text, _ in OPTION.values()], switches, models, []):
        of_dev = context_of("dev", *options)
        assert settled(context_of("serve", *passed_on(of_dev))) == settled(of_dev)
    assert settled(context_of("dev", *models)).models == {
        "@cf/mine/a": ModelSettings(weights="org/a", pinned=True),
        "@cf/mine/b": ModelSettings(weights="org/b", revision="main"),
        "@cfai/demo/tiny-chat": ModelSettings(pinned=True),
    }


def test_without_anything_nothing_is_settled() -> None:
    for command in COMMANDS:
        assert settled(context_of(command)) == Settings()


def test_another_file_can_be_named(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "cfai.toml").write_text("threads = 1\n")
    (folder / "other" / "cfai.toml").write_text("threads = 2\n")
    for named in ("other", "other/cfai.toml"):
        assert settled(context_of("serve", "--settings", named)).threads == 2


@pytest.mark.parametrize(
    "command",
    [
        ["run", "@cfai/demo/tiny-chat", "hi"],
        ["serve", "--port=0"],
        ["dev", "."],
        ["models"],
        ["verify"],
        ["rm", "@cf/a/b"],
    ],
)
@pytest.mark.parametrize(
    ("text", "variable", "problem"),
    [
        ("memroy = 1\n", "", 'cfai.toml:1: unknown key "memroy", did you mean "memory"?'),
        ("\ndevice = 3\n", "", 'cfai.toml:2: "device" should be "cpu", "mps", "cuda" or "cuda:0"'),
        ("device = \n", "", "cfai.toml:1: not TOML"),
        ("", "many", 'the variable CFAI_THREADS should be a whole number, 1 or more, not "many"'),
    ],
)
def test_a_mistake_ends_every_command_with_a_sentence(
    command: list[str], text: str, variable: str, problem: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cfai.toml").write_text(text)
    (folder / "entry.py").write_text("def on_fetch(request, env): ...\n")
    (folder / "wrangler.toml").write_text('main = "entry.py"\ncompatibility_flags = ["python_workers"]\n')
    monkeypatch.setenv("CFAI_THREADS", variable)
    ended = CliRunner().invoke(app, command)
    assert (ended.exit_code, isinstance(ended.exception, SystemExit)) == (2, True)
    assert problem in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--memory", "8 gigs"], "a size is a number and a unit, such as 8GB or 512MiB, not '8 gigs'"),
        (["--keep-alive", "soon"], "a time is seconds, or a text such as 10m or 1h30m, or -1 for ever, not 'soon'"),
        (["--pin", "@cf/meta/lama-3.1-8b-instruct"], "did you mean @cf/meta/llama-3.1-8b-instruct"),
        (["--model", "mine=org/x"], "mine: ids look like @cf/author/name"),
        (["--settings", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: list[str], problem: str) -> None:
    ended = CliRunner().invoke(app, ["serve", "--port=0", *options], env={"COLUMNS": "300"})
    assert ended.exit_code == 2
    assert problem in " ".join(ended.stderr.replace("│", " ").split())


def test_models_lists_those_of_the_file(folder: Path) -> None:
    demo = Path(cfai.__file__).parent / "demo"
    (folder / "cfai.toml").write_text(
        f'[models]\n"@cf/mine/gone" = "./gone"\n"@cf/mine/here" = "{demo}"\n'
        '[models."@cf/mine/there"]\nupstream = "http://127.0.0.1:8000/v1"\ncontext_window = 4096\n'
    )
    listed = CliRunner().invoke(app, ["models", "--json", "--search", "mine"])
    gone, here, there = json.loads(listed.stdout)
    assert (gone["id"], gone["weights"], gone["folder"]) == ("@cf/mine/gone", str(folder / "gone"), None)
    assert (here["id"], here["folder"], here["settings"]) == ("@cf/mine/here", str(demo), f"{folder / 'cfai.toml'}:3")
    assert (there["upstream"], there["context_window"]) == ("http://127.0.0.1:8000/v1", 4096)
    table = CliRunner().invoke(app, ["models", "--here", "--search", "mine"]).stdout
    assert "@cf/mine/gone" not in table
    assert "upstream" in table
    assert "2 of 2 here" in table


def test_run_goes_by_file_variable_and_command_line(folder: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cfai.toml").write_text(f'as_of = 2023-11-14\n[models]\n"@cf/mine/llama" = "{llama}"\n')

    def has_usage(*options: str) -> bool:
        ran = CliRunner().invoke(
            app, ["run", "@cf/mine/llama", "hi", "--max-tokens=2", "--json", "--no-stream", *options]
        )
        assert ran.exit_code == 0, ran.stderr
        return "usage" in json.loads(ran.stdout)

    assert not has_usage()
    monkeypatch.setenv("CFAI_AS_OF", "2026-01-01")
    assert has_usage()
    assert not has_usage("--as-of", "2023-11-14")


def test_serve_goes_by_all_three(folder: Path, llama: Path) -> None:
    (folder / "cfai.toml").write_text(
        f'slots = 2\nqueue_limit = 3\ndtype = "float32"\n[models]\n"@cf/mine/llama" = "{llama}"\n'
    )
    environment = {"CFAI_QUEUE_LIMIT": "4", "CFAI_DTYPE": "float16"}
    with Process("serve", "--port=0", "--dtype=bfloat16", environment=environment) as process:
        address = process.read_until("cfai listens on").split()[-1]
        process.read_until(f"settings of {folder / 'cfai.toml'}")
        body = {"model": "@cf/mine/llama", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        assert httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=60).status_code == 200
        (row,) = json.loads(CliRunner().invoke(app, ["ps", "--json", "--url", address]).stdout)
        assert (row["slots"], row["queue_limit"], row["dtype"]) == (2, 4, "bfloat16")


def test_the_engine_of_dev_goes_by_the_settings_of_the_project(
    project: Path, temporary: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "entry.py").write_text(
        "from workers import Response\n\nasync def on_fetch(request, env):\n"
        "    answer = await env.AI.run('@cf/mine/llama', {'prompt': 'hi', 'max_tokens': 2})\n"
        "    return Response('with usage' if 'usage' in answer else 'without usage')\n"
    )
    configure(project)
    (project / "cfai.toml").write_text(
        f'as_of = 2023-11-14\nslots = 2\nqueue_limit = 3\n[models]\n"@cf/mine/llama" = "{llama}"\n'
    )
    monkeypatch.setenv("CFAI_QUEUE_LIMIT", "4")
    with dev(project, temporary, "--slots=5") as process:
        assert httpx2.get(address_of(process), timeout=60).text == "without usage"
        (socket,) = temporary.glob("cfai-*/ai.sock")
        (row,) = json.loads(CliRunner().invoke(app, ["ps", "--json", "--socket", str(socket)]).stdout)
        assert (row["slots"], row["queue_limit"]) == (5, 4)
