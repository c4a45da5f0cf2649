"""`cfai ps`, and how it and `cfai top` find and read a server."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner, Result

from cfai.cli import app
from cfai.cli.figures import DEV_SOCKETS, Buckets, parse, servers
from cfai.server.app import binding_app, rest_app
from tests.measured import MODEL, Measured, busy_model
from tests.processes import Process
from tests.serving import serving
from tests.waiting import until

NOBODY = "http://127.0.0.1:1"


async def cfai(*arguments: str) -> Result:
    """Run a command in a thread, so that the test's loop can answer it."""
    return await to_thread.run_sync(partial(CliRunner().invoke, app, arguments))


@pytest.fixture
async def address() -> AsyncIterator[str]:
    reason = "one at a time: its layers keep a state"
    models = {
        MODEL: busy_model(precision="float32 in place of int8, as the settings say"),
        "@cf/my/mamba": busy_model(
            device="cuda:0", dtype="bfloat16", batching=reason, pinned=True, memory_in_all=4_000_000, state="ready"
        ),
    }
    async with serving(rest_app(Measured(models))) as address:
        yield address


async def test_a_table_of_models(address: str) -> None:
    result = await cfai("ps", "--url", address)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [
        ["model", "runs", "on", "memory", "running", "waiting", "tokens/s", "leaves", "batching"],
        ["@cf/my/mamba", "cuda:0", "bfloat16", "4.0", "MB", "1/4", "2/32", "0.0", "pinned", "one", "at", "a", "time"],
        [MODEL, "cpu", "float32", "1.0", "MB", "1/4", "2/32", "0.0", "continuous"],
        ["@cf/my/mamba", "runs", "one", "at", "a", "time:", "its", "layers", "keep", "a", "state"],
        [MODEL, "runs", "as", "float32", "in", "place", "of", "int8,", "as", "the", "settings", "say"],
    ]


async def test_json_for_scripts(address: str) -> None:
    rows = json.loads((await cfai("ps", "--json", "--url", address)).stdout)
    assert [row["model"] for row in rows] == ["@cf/my/mamba", MODEL]
    assert rows[1] == {
        "server": address,
        "model": MODEL,
        "device": "cpu",
        "dtype": "float32",
        "precision": "float32 in place of int8, as the settings say",
        "batching": "continuous",
        "state": None,
        "memory": 1_000_000,
        "memory_in_all": None,
        "pinned": False,
        "idle_seconds": None,
        "leaves_in_seconds": None,
        "slots": 4,
        "running": 1,
        "queue_limit": 32,
        "waiting": 2,
        "tokens_per_second": 0.0,
    }


async def test_a_model_that_loads_and_says_little() -> None:
    async with serving(rest_app(Measured({MODEL: {"running": 0, "waiting": 1, "device": None}}))) as address:
        table = await cfai("ps", "--url", address)
        rows = json.loads((await cfai("ps", "--json", "--url", address)).stdout)
    assert table.stdout.splitlines()[1].split() == [MODEL, "loading", "0", "1"]
    assert (rows[0]["memory"], rows[0]["slots"], rows[0]["tokens_per_second"]) == (None, None, None)


async def test_since_when_a_model_is_idle_and_when_it_leaves() -> None:
    models = {
        "@cf/my/idle": busy_model(running=0, state="ready", pinned=False, idle_seconds=35.2, leaves_in_seconds=264.8),
        "@cf/my/kept": busy_model(running=0, state="ready", pinned=False, idle_seconds=7200.0, leaves_in_seconds=None),
        "@cf/my/next": {"running": 0, "waiting": 1, "state": "waiting", "pinned": False, "memory_in_all": 9_000_000},
    }
    async with serving(rest_app(Measured(models))) as address:
        table = await cfai("ps", "--url", address)
        rows = json.loads((await cfai("ps", "--json", "--url", address)).stdout)
    idle, kept, waits = (line.split() for line in table.stdout.splitlines()[1:])
    assert idle[-3:-1] == ["in", "4:25"]
    assert kept[-2] == "never"
    assert waits == ["@cf/my/next", "waits", "for", "room", "9.0", "MB", "0", "1"]
    assert [(row["state"], row["idle_seconds"], row["leaves_in_seconds"]) for row in rows] == [
        ("ready", 35.2, 264.8),
        ("ready", 7200.0, None),
        ("waiting", None, None),
    ]


async def test_tokens_per_second_of_what_runs() -> None:
    class Running(Measured):
        def stats(self) -> dict[str, Any]:
            self.models[MODEL]["metrics"]["output_tokens"] += 100
            return super().stats()

    async with serving(rest_app(Running({MODEL: busy_model()}))) as address:
        began = time.monotonic()
        (row,) = json.loads((await cfai("ps", "--json", "--url", address)).stdout)
        took = time.monotonic() - began  # no less than what is between the two looks
    assert round(100 / took, 1) <= row["tokens_per_second"] <= 200


async def test_a_server_without_models_says_so() -> None:
    async with serving(rest_app(Measured({}))) as address:
        assert "no model is loaded" in (await cfai("ps", "--url", address)).stdout
        assert (await cfai("ps", "--json", "--url", address)).stdout == "[]\n"


async def test_a_server_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CFAI_TOKEN", raising=False)
    async with serving(rest_app(Measured({MODEL: busy_model()}), token="t0ken")) as address:
        for without in ([], ["--token", "wrong"], ["--token", "né"]):
            refused = await cfai("ps", "--url", address, *without)
            assert refused.exit_code == 2
            assert f"{address} asks for its token" in refused.stderr
            assert "CFAI_TOKEN" in refused.stderr
        assert MODEL in (await cfai("ps", "--url", address, "--token", "t0ken")).stdout


@pytest.mark.parametrize("command", ["ps", "top"])
@pytest.mark.parametrize(
    ("place", "code", "told"),
    [
        (["--url", NOBODY], 4, f"no server answers at {NOBODY}"),
        (["--socket", "/no/such.sock"], 4, "no server answers at /no/such.sock"),
        (["--url", "nonsense"], 2, "nonsense is no address"),
        (["--url", "http://[::1"], 2, "is no address"),
    ],
)
async def test_who_does_not_answer_is_named(command: str, place: list[str], code: int, told: str) -> None:
    result = await cfai(command, *place)
    assert result.exit_code == code
    assert told in result.stderr
    assert "try:" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HTMLResponse("<p>hello</p>"), "what it says is something else"),
        (Response("up 1\n"), "what it says is something else"),
        (Response("no", 404), "it answers 404"),
        (Response("", 302, {"location": "/"}), "it answers 302"),
    ],
)
async def test_another_program_is_not_taken_for_cfai(answer: Response, told: str) -> None:
    def metrics(request: Request) -> Response:
        return answer

    async with serving(Starlette(routes=[Route("/metrics", metrics)])) as address:
        result = await cfai("ps", "--url", address)
    assert result.exit_code == 1
    assert f"{address} gives no metrics of cfai: {told}" in result.stderr


async def test_names_cannot_steer_the_terminal() -> None:
    name = "@cf/\x1b[2J\u202ellama"
    async with serving(rest_app(Measured({name: busy_model()}))) as address:
        table, (row,) = (
            await cfai("ps", "--url", address),
            json.loads((await cfai("ps", "--json", "--url", address)).stdout),
        )
    assert "\x1b" not in table.stdout
    assert row["model"] == "@cf/\ufffd[2J\ufffdllama"


async def test_engines_of_this_user_are_found_by_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "cfai-abc"
    folder.mkdir()
    (tmp_path / "cfai-gone").mkdir()
    async with serving(binding_app(Measured({"@cf/my/dev": busy_model()})), unix_socket=folder / "ai.sock") as socket:
        code = "import sys, tempfile; tempfile.tempdir = sys.argv.pop(1); from cfai.cli import main; main()"
        command = [sys.executable, "-c", code, str(tmp_path), "ps", "--json"]
        out = await to_thread.run_sync(partial(subprocess.run, command, capture_output=True, text=True, check=True))
    assert (socket, "@cf/my/dev") in [(row["server"], row["model"]) for row in json.loads(out.stdout)]


async def test_of_several_servers_those_with_a_model_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("cfai-a", "cfai-b"):
        (tmp_path / name).mkdir()

    def names() -> list[str]:
        with servers(None, None, None) as there:
            return [server.name for server in there]

    async with (
        serving(binding_app(Measured({})), unix_socket=tmp_path / "cfai-a" / "ai.sock") as idle,
        serving(binding_app(Measured({MODEL: busy_model()})), unix_socket=tmp_path / "cfai-b" / "ai.sock") as busy,
    ):
        found = await to_thread.run_sync(names)
        listed = (await cfai("ps")).stdout.splitlines()
    assert [name for name in found if name in (idle, busy)] == [busy, idle]
    assert listed[listed.index(busy) + 2].startswith(MODEL)
    assert listed[listed.index(idle) + 1].startswith("no model is loaded")


async def test_the_engine_of_cfai_dev_is_where_it_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text("def on_fetch(request, env):\n    return None\n")
    (tmp_path / "tmp").mkdir()
    with Process(
        "dev", str(tmp_path / "entry.py"), "--port", "0", environment={"TMPDIR": str(tmp_path / "tmp")}
    ) as dev:
        dev.read_until("Ready on")
        # The engine comes after the script.
        await until(lambda: any((tmp_path / "tmp").glob(DEV_SOCKETS)))
        (socket,) = (tmp_path / "tmp").glob(DEV_SOCKETS)
        result = await cfai("ps", "--socket", str(socket))
    assert result.exit_code == 0
    assert "no model is loaded" in result.stdout


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ({1.0: 0, 2.0: 0, math.inf: 0}, 0.5, None),
        ({}, 0.5, None),
        ({1.0: 4, 2.0: 0, math.inf: 0}, 0.5, 0.5),
        ({1.0: 2, 2.0: 2, math.inf: 0}, 0.5, 1.0),
        ({1.0: 2, 2.0: 2, math.inf: 0}, 0.75, 1.5),
        ({1.0: 0, 2.0: 1, math.inf: 0}, 0.99, 1.99),
        ({1.0: 1, 2.0: 0, math.inf: 9}, 0.99, 2.0),
    ],
)
def test_quantiles(counts: dict[float, float], share: float, value: float | None) -> None:
    assert Buckets(counts).quantile(share) == (value if value is None else pytest.approx(value))


def test_buckets_since_then() -> None:
    then, now = Buckets({1.0: 2, math.inf: 1}), Buckets({1.0: 5, math.inf: 1})
    assert now.since(then) == Buckets({1.0: 3, math.inf: 0})
    assert now.since(None) == now
    assert then.since(now) == then, "counting began anew"


def test_what_is_read_is_what_was_counted() -> None:
    text = "\n".join(
        [
            'cfai_info{version="1.2"} 1.0',
            "process_start_time_seconds 5.0",
            'cfai_output_tokens_total{model="m"} 7.0',
            'cfai_output_tokens_total{model="n"} 8.0',
            'other_total{model="m"} 9.0',
        ]
    )
    figures = parse(text)
    assert (figures.version, figures.started) == ("1.2", 5.0)
    assert {name: model.values for name, model in figures.models.items()} == {
        "m": {"output_tokens": 7.0},
        "n": {"output_tokens": 8.0},
    }
