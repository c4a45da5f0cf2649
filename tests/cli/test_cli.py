"""The commands, run as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app
from tests.cli.dev import wait_for
from tests.processes import Process

MODEL = "@cf/meta/llama-2-7b-chat-int8"
GREEDY = ["--temperature", "0", "--max-tokens", "8"]


@pytest.fixture(autouse=True)
def no_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CFAI_DEMO", raising=False)


def cfai(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def test_help_names_every_command() -> None:
    result = cfai("--help")
    assert result.exit_code == 0
    for command in ("run", "models", "serve", "dev"):
        assert command in result.stdout


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys\nfrom cfai.cli import main\nsys.argv = ['cfai', '--help']\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(' '.join(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "uvicorn", "starlette", "httpx2", "watchfiles"} & set(out.stderr.split())


def test_ctrl_c_while_it_starts_prints_nothing() -> None:
    code = (
        "import cfai, runpy, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cfai.cli.doctor':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "sys.argv = ['cfai', '--version']\n"
        "runpy.run_module('cfai', run_name='__main__')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stdout, out.stderr) == (130, "", "")


def test_the_version() -> None:
    assert cfai("--version").stdout.strip().count(".") == 2


def test_run_prints_the_answer(llama: Path) -> None:
    streamed = cfai("run", MODEL, "New York", *GREEDY, "--model", f"{MODEL}={llama}")
    whole = cfai("run", MODEL, "New York", *GREEDY, "--model", f"{MODEL}={llama}", "--no-stream")
    assert streamed.exit_code == whole.exit_code == 0
    assert streamed.stdout.strip() == whole.stdout.strip() != ""
    assert streamed.stdout.endswith("\n")


def test_run_says_that_an_answer_was_cut_below_it(endless_llama: Path, tmp_path: Path) -> None:
    settings = tmp_path / "cfai.toml"
    settings.write_text(f'[models."{MODEL}"]\nweights = "{endless_llama}"\ndefault_max_tokens = 5\n')
    process = subprocess.run(
        [sys.executable, "-m", "cfai", "run", MODEL, "New York", "--settings", str(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
    )  # fmt: skip
    assert "\ncfai: an answer" in process.stdout


def test_run_prints_raw_events_or_json(llama: Path) -> None:
    events = cfai("run", MODEL, "New York", *GREEDY, "--json", "--model", f"{MODEL}={llama}").stdout
    assert events.startswith('data: {"response":"')
    assert events.endswith("\n\ndata: [DONE]\n\n")
    result = cfai("run", MODEL, "New York", *GREEDY, "--json", "--no-stream", "--model", f"{MODEL}={llama}").stdout
    assert json.loads(result).keys() == {"response", "usage"}


def test_run_in_november_2023(llama: Path) -> None:
    result = cfai("run", MODEL, "hi", *GREEDY, "--json", "--as-of", "2023-11-14", "--model", f"{MODEL}={llama}")
    assert "usage" not in result.stdout


def test_run_reads_the_prompt_from_stdin_and_takes_a_system_prompt(llama: Path) -> None:
    arguments = [MODEL, *GREEDY, "--model", f"{MODEL}={llama}", "--json", "--no-stream"]
    given = json.loads(cfai("run", *arguments, "-", stdin="New York").stdout)
    assert given == json.loads(cfai("run", *arguments, "New York").stdout)
    with_system = json.loads(cfai("run", *arguments, "New York", "--system", "hello").stdout)
    assert with_system["usage"]["prompt_tokens"] > given["usage"]["prompt_tokens"]


def test_run_gives_the_same_answer_for_a_seed(llama: Path) -> None:
    arguments = ["run", MODEL, "New York", "--max-tokens", "20", "--model", f"{MODEL}={llama}", "--seed"]
    assert cfai(*arguments, "7").stdout == cfai(*arguments, "7").stdout != cfai(*arguments, "8").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([MODEL, "hi"], 3, "are not on this machine"),
        (["@cf/meta/llama-2-7b-chat", "hi"], 3, "did you mean @cf/meta/llama-2-7b-chat-int8?"),
        (["@cfai/demo/tiny-chat", ""], 2, "Length of '/prompt' must be >= 1 not met"),
        (["@cfai/demo/tiny-chat", "hi", "--temperature", "9"], 2, "'/temperature' must be <= 5"),
        (["@cfai/demo/tiny-chat", "hi", "--as-of", "soon"], 2, "YYYY-MM-DD"),
        (["@cfai/demo/tiny-chat", "hi", "--model", "nonsense"], 2, "ID=FOLDER"),
        (["@cfai/demo/tiny-chat", "hi", "--device", "gpu"], 2, "device must be cpu, mps, cuda"),
        (["@cfai/demo/tiny-chat", "hi", "--dtype", "int4"], 2, "dtype must be float32"),
        (["@cfai/demo/tiny-chat", "hi", "--model", "@cf/x/y=/no/such/folder"], 2, "there is no folder"),
        (["not a model", "hi"], 2, "3042"),
    ],
)
def test_run_says_what_is_wrong_and_ends_with_its_code(arguments: list[str], code: int, told: str) -> None:
    result = cfai("run", *arguments)
    assert result.exit_code == code
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_models_lists_what_is_known_and_what_is_here(llama: Path) -> None:
    listed = json.loads(cfai("models", "--json", "--model", f"{MODEL}={llama}").stdout)
    rows = {row["id"]: row for row in listed}
    assert len(rows) > 100
    assert rows[MODEL]["folder"] == str(llama)
    assert rows[MODEL]["bytes"] > 10_000
    assert rows[MODEL]["retired"]
    assert rows["@cfai/demo/tiny-chat"]["folder"]
    assert rows["@cf/meta/llama-2-7b-chat-fp16"]["folder"] is None
    then = json.loads(cfai("models", "--json", "--as-of", "2023-11-14").stdout)
    row = next(row for row in then if row["id"] == MODEL)
    assert (row["max_output_tokens"], row["retired"]) == (1800, False)


def test_weights_in_the_hubs_cache_are_found_and_used_offline(llama: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--meta-llama--Llama-2-7b-chat-hf"
    shutil.copytree(llama, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cfai", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    rows = {row["id"]: row for row in json.loads(run("models", "--json").stdout)}
    assert rows["@cf/meta/llama-2-7b-chat-fp16"]["folder"].endswith("snapshots/abc")
    assert run("run", "@cf/meta/llama-2-7b-chat-fp16", "New York", *GREEDY).returncode == 0
    named = "@cf/my/own=meta-llama/Llama-2-7b-chat-hf"
    assert run("run", "@cf/my/own", "New York", *GREEDY, "--model", named).returncode == 0
    missing = run("run", "@cf/my/own", "hi", "--model", "@cf/my/own=org/no-such-model")
    assert missing.returncode == 3
    assert "The hub repository org/no-such-model is not on this machine" in missing.stderr


def test_models_prints_a_table_for_people(llama: Path) -> None:
    result = cfai("models", "--here", "--model", f"@cf/my/own={llama}", "--model", "@cf/my/hub=org/name")
    assert "@cf/my/own" in result.stdout
    assert "@cf/my/hub" not in result.stdout
    assert MODEL not in result.stdout
    assert "2 of 2 here" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["serve", "--host", "0.0.0.0"], 2, "lets other machines in"),
        (["dev", "no/such/place"], 2, "there is no such file or folder"),
        (["serve", "--port", "99999"], 2, "65535"),
    ],
)
def test_servers_refuse_what_they_cannot_do(arguments: list[str], code: int, told: str) -> None:
    result = cfai(*arguments)
    assert result.exit_code == code
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_ctrl_c_stops_a_run_at_once(endless_llama: Path) -> None:
    arguments = ["run", MODEL, "New", "--max-tokens", "4000", "--json", "--model", f"{MODEL}={endless_llama}"]
    with Process(*arguments) as process:
        process.read_until('{"response":')
        assert process.end(signal.SIGINT) == 130
        assert "Traceback" not in process.rest
        assert "[DONE]" not in process.rest


def test_a_reader_who_has_seen_enough_ends_a_run_quietly(endless_llama: Path) -> None:
    own = "@cf/my/own"
    command = f"{sys.executable} -m cfai run {own} New --max-tokens 4000 --model {own}={endless_llama} --json"
    out = subprocess.run(f"{command} | head -c 19", shell=True, capture_output=True, text=True, check=False)
    assert out.stdout == 'data: {"response":"'
    assert out.stderr == ""


def test_serve_tells_where_it_listens_and_ends_when_told(llama: Path) -> None:
    with Process(
        "serve", "--port", "0", "--model", f"{MODEL}={llama}", environment={"CFAI_TOKEN": "s3cret"}
    ) as process:
        address = process.read_until("cfai listens on").split()[-1]
        url = f"{address}/client/v4/accounts/a/ai/run/{MODEL}"
        assert httpx2.post(url, json={"prompt": "hi"}, timeout=60).status_code == 401
        body = {"prompt": "New", "max_tokens": 2}
        answer = httpx2.post(url, json=body, headers={"authorization": "Bearer s3cret"}, timeout=60)
        assert answer.json()["success"]
        port = address.rpartition(":")[2]
        second = cfai("serve", "--port", port)
        assert second.exit_code == 5
        assert "cannot listen on" in second.stderr
        assert process.end(signal.SIGTERM) == 0
        assert "s3cret" not in process.rest


def listens(address: str) -> bool:
    try:
        socket.create_connection((httpx2.URL(address).host, httpx2.URL(address).port or 80)).close()
    except ConnectionRefusedError:
        return False
    except ConnectionError:  # it is being closed
        return True
    return True


def test_serve_gives_running_streams_their_last_event(endless_llama: Path) -> None:
    with Process("serve", "--port", "0", "--model", f"{MODEL}={endless_llama}") as process:
        address = process.read_until("cfai listens on").split()[-1]
        url = f"{address}/client/v4/accounts/a/ai/run/{MODEL}"
        body = {"prompt": "New", "max_tokens": 4000, "stream": True}
        with httpx2.stream("POST", url, json=body, timeout=60) as response:
            chunks = response.iter_raw()
            received = next(chunks)
            process.tell(signal.SIGINT)
            wait_for(lambda: not listens(address))  # two signals at once may come as one
            process.tell(signal.SIGINT)  # the second one does not wait for streams
            received += b"".join(chunks)
        assert received.endswith(b'"errors":[{"code":3008,"message":"Request was aborted"}]}\n\ndata: [DONE]\n\n')
        assert process.end(signal.SIGINT) == 0
