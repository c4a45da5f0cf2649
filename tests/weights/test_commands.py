"""`cfai pull`, `import`, `verify`, `rm`, and what they leave behind when they are killed, interrupted, or several."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai import weights
from cfai.catalog import Model
from cfai.catalog.model import Weights
from cfai.cli import app
from cfai.weights.home import home, hub_cache
from cfai.weights.records import Record
from cfai.weights.verify import verify
from tests.hub import CHUNK, Fault, Hub
from tests.processes import Process

WEIGHTS = "model.safetensors"
INT8 = "@cf/meta/llama-2-7b-chat-int8"
OPEN = "NousResearch/Llama-2-7b-chat-hf"
IMPORTED = "@cf/my/llama"
KILLS = range(20 if os.environ.get("CFAI_LONG") else 3)


def cfai(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def started(*arguments: str, program: Sequence[str] = ("-m", "cfai"), **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=100)[1]
    return process.returncode, said


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.001)


def begun() -> int:
    """Bytes of the longest file that is here in part."""
    most = 0
    for file in hub_cache().rglob("*.incomplete"):
        with contextlib.suppress(FileNotFoundError):  # it is whole by now
            most = max(most, file.stat().st_size)
    return most


def sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}


def test_from_pull_to_rm(llama: Path, look_alike: Hub) -> None:
    repository = look_alike.add(OPEN, llama)
    pulled = cfai("pull", OPEN)
    assert pulled.exit_code == 0
    assert pulled.stdout.splitlines()[0] == f"{OPEN}: {OPEN} at {repository.commit}, fetched and verified"
    said = pulled.stderr.splitlines()
    assert said[:2] == [f"{OPEN}: main is {repository.commit}", "5 files, 192.0 kB, of which 716 bytes are here"]
    assert said[-1] == "100%  192.0 kB of 192.0 kB"
    assert "\x1b" not in pulled.stderr

    listed = json.loads(cfai("models", "--here", "--json").stdout)
    assert INT8 in [row["id"] for row in listed]

    verified = cfai("verify")
    assert (verified.exit_code, verified.stdout.split()[:4]) == (0, ["model", "commit", "files", "size"])
    assert re.search(rf"{OPEN} +{repository.commit[:12]} +5 +192\.0 kB +good", verified.stdout)
    asked = cfai("rm", INT8)
    assert asked.exit_code == 2
    assert re.search(
        rf"remove {OPEN}, 192\.\d kB, which .*{INT8}.* too\? Nobody is there", asked.stderr, re.DOTALL
    ) or ("--yes" in asked.stderr)
    removed = cfai("rm", INT8, "--yes")
    assert (removed.exit_code, removed.stdout.splitlines()[0]) == (0, f"removed {OPEN}")
    assert cfai("verify", INT8).exit_code == 3
    assert cfai("verify").stdout == "no weights are here; `cfai pull MODEL` fetches some\n"


def test_damage_is_an_exit_code(llama: Path, look_alike: Hub) -> None:
    look_alike.add(OPEN, llama)
    assert cfai("pull", OPEN).exit_code == 0
    file = next((hub_cache()).rglob(WEIGHTS))
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    result = cfai("verify", OPEN, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["problems"] == [f"{WEIGHTS} has other bytes than it came with"]
    assert "DAMAGED" in cfai("verify").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["pull", "org/none"], 3, "has no repository org/none"),
        (["pull", "@cf/meta/lama-2-7b-chat-int8"], 3, "did you mean @cf/meta/llama-2-7b-chat-int8?"),
        (["pull", "a/b", "c/d", "--local-dir", "x"], 2, "takes the files of one model, and several are named"),
        (["pull", "a/b", "--offline"], 3, "connections are switched off"),
        (["import", "no id", "."], 2, "an id is of the form @cf/my/llama"),
        (["import", IMPORTED, "./none"], 3, "there is no"),
        (["rm", "org/none", "--yes"], 3, "nothing of org/none is on this machine"),
        (["verify", "org/none"], 3, "org/none is not on this machine"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(arguments: list[str], code: int, says: str, look_alike: Hub) -> None:
    result = cfai(*arguments)
    assert result.exit_code == code
    assert says in " ".join(result.stderr.split())


def test_settings_name_a_repository_for_an_id(llama: Path, look_alike: Hub, tmp_path: Path) -> None:
    commit = look_alike.add("org/llama", llama).commit
    settings = tmp_path / "cfai.toml"
    settings.write_text(f'[models."@cf/my/one"]\nweights = "org/llama"\nrevision = "{commit}"\n')
    result = cfai("pull", "@cf/my/one", "--settings", str(settings))
    assert result.stdout.startswith(f"@cf/my/one: org/llama at {commit}, fetched")


def test_settings_name_a_folder_that_can_be_verified(llama: Path, look_alike: Hub, tmp_path: Path) -> None:
    settings = tmp_path / "cfai.toml"
    settings.write_text(f'[models."@cf/my/one"]\nweights = "{llama}"\n')
    result = cfai("verify", "@cf/my/one", "--settings", str(settings))
    assert "sound, without checksums" in result.stdout, result.stderr


def test_a_proxy_and_a_mirror_are_taken(llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    # The look-alike is its own proxy: it is asked for whole addresses, of a host that is nowhere.
    proxy = {"HF_ENDPOINT": "http://mirror.invalid", "HTTP_PROXY": look_alike.address, "NO_PROXY": "localhost"}
    assert ended(started("pull", "org/llama", **proxy))[0] == 0
    record = Record.read("org/llama")
    assert record is not None
    assert record.origin == "http://mirror.invalid"


NO_SOCKETS = """
import sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        print("OPENED", event, arguments, file=sys.stderr)

sys.addaudithook(watch)
sys.argv = ["cfai", *sys.argv[1:]]
from cfai.cli import main
main()
"""


def test_offline_no_socket_is_opened(llama: Path, look_alike: Hub) -> None:
    look_alike.add(OPEN, llama)
    assert cfai("pull", OPEN).exit_code == 0
    asked = len(look_alike.requests)
    for arguments, code in (
        (["pull", OPEN, INT8, "--revision", "main"], 0),
        (["pull", "org/none"], 3),
        (["run", IMPORTED, "hi", "--model", f"{IMPORTED}=org/none"], 3),
        (["run", IMPORTED, "hi", "--max-tokens", "1", "--model", f"{IMPORTED}={OPEN}"], 0),
    ):
        status, said = ended(started(*arguments, program=("-c", NO_SOCKETS), CFAI_OFFLINE="1"))
        assert (status, "OPENED" in said) == (code, False), said
    assert len(look_alike.requests) == asked


def test_the_watch_for_sockets_sees_one() -> None:
    process = started("pull", "a/b", program=("-c", NO_SOCKETS), HF_ENDPOINT="http://127.0.0.1:9")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("OPENED socket.")
    killed(process)


def test_two_pulls_at_once_cost_one_download(llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    second_waits = threading.Event()
    look_alike.faults[WEIGHTS] += [Fault(holds=lambda: not second_waits.is_set())]
    with Process("pull", "org/llama") as first:
        until(lambda: look_alike.sent[WEIGHTS] > 0)
        with Process("pull", "org/llama") as second:
            second.read_until("another process fetches org/llama; waiting for it")
            second_waits.set()
            first.read_until("fetched and verified")
            second.read_until("here, pinned")
    assert dict(look_alike.sent) == sizes(llama)
    assert verify("org/llama").is_good


def test_ctrl_c_ends_a_pull_that_goes_on_later(llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults[WEIGHTS] += [Fault(pause=0.5)]
    with Process("pull", "org/llama") as process:
        until(lambda: begun() >= 2 * CHUNK)
        assert process.end(signal.SIGINT) == 130
    assert process.rest.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in process.rest
    before = look_alike.sent[WEIGHTS]
    result = cfai("pull", "org/llama")
    assert result.exit_code == 0
    # What was on the way when the process ended comes again.
    assert look_alike.sent[WEIGHTS] - before <= (llama / WEIGHTS).stat().st_size - CHUNK
    assert verify("org/llama").is_good


def shards(llama: Path, folder: Path) -> Path:
    """The checkpoint in several files, so that there are points between them."""
    from transformers import LlamaForCausalLM

    LlamaForCausalLM.from_pretrained(llama).save_pretrained(folder, max_shard_size="30KB")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(llama / name, folder / name)
    return folder


@pytest.mark.parametrize("seed", KILLS)
@pytest.mark.timeout(300)
def test_a_pull_that_is_killed_goes_on(seed: int, llama: Path, look_alike: Hub, tmp_path: Path) -> None:
    chance = random.Random(seed)
    folder = shards(llama, tmp_path / "shards")
    look_alike.add("org/llama", folder)
    whole = sum(sizes(folder).values())
    for file in folder.iterdir():
        look_alike.faults[file.name] += [Fault(pause=0.01)]
    # Beyond the last byte there are the moves, the links and the record.
    point, later = chance.randrange(int(1.2 * whole)), chance.random() * 0.05
    process = started("pull", "org/llama")
    until(lambda: sum(look_alike.sent.values()) >= min(point, whole) or process.poll() is not None)
    if point >= whole:
        time.sleep(later)
    killed(process)

    model = Model(id="@cf/test/x", weights=Weights("org/llama"))
    if weights.are_here(model):
        assert sizes(weights.find(model)) == sizes(folder), "what is found is whole"
    look_alike.faults.clear()
    here = sum(file.stat().st_size for file in hub_cache().rglob("blobs/*") if file.is_file())
    sent = sum(look_alike.sent.values())
    assert cfai("pull", "org/llama").exit_code == 0
    assert verify("org/llama").is_good
    assert sizes(weights.find(model)) == sizes(folder)
    # Beside what is missing, what was on its way when the process was killed.
    assert sum(look_alike.sent.values()) - sent <= max(0, whole - here) + 8 * CHUNK
    assert not list(hub_cache().rglob("*.incomplete"))


@pytest.mark.parametrize("seed", KILLS[: None if len(KILLS) > 3 else 2])
@pytest.mark.timeout(300)
def test_an_import_that_is_killed_goes_on(seed: int, llama: Path, tmp_path: Path) -> None:
    chance = random.Random(seed)
    folder = shards(llama, tmp_path / "shards")
    (folder / "padding.json").write_bytes(b" " * 50_000_000 + b"{}")  # so that there is time in between
    options = ["import", IMPORTED, str(folder), *(["--link"] if seed % 2 else [])]
    place = home() / "weights" / "@cf%2Fmy%2Fllama"
    process = started(*options)
    until(lambda: place.is_dir() or process.poll() is not None)
    time.sleep(chance.random() * 0.4)
    killed(process)

    model = Model(id=IMPORTED)
    if weights.are_here(model):
        assert sizes(weights.find(model)) == sizes(folder), "what is found is whole"
    assert cfai(*options).exit_code == 0
    assert verify(IMPORTED).is_good
    assert sizes(weights.find(model)) == sizes(folder)
    assert [path.name for path in place.iterdir()] == [weights.find(model).name]


def test_weights_that_a_server_has_loaded_stay(llama: Path, tmp_path: Path) -> None:
    assert cfai("import", IMPORTED, str(llama)).exit_code == 0
    (tmp_path / "cfai-x").mkdir(mode=0o700)  # where `cfai dev` has its sockets
    mine = {"TMPDIR": str(tmp_path)}
    with Process("serve", "--socket", str(tmp_path / "cfai-x/ai.sock"), "--pin", IMPORTED, environment=mine) as server:
        server.read_until(f"loaded {IMPORTED}")
        status, said = ended(started("rm", IMPORTED, "--yes", **mine))
    assert (status, f"{IMPORTED} is loaded by a server" in said) == (1, True)
    assert verify(IMPORTED).is_good


def test_a_run_without_weights_offers_to_fetch_them(llama: Path, look_alike: Hub) -> None:
    look_alike.add("meta-llama/Llama-2-7b-chat-hf", llama)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cfai", "run", INT8, "hi", "--max-tokens", "1"]
    process = subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    said = ""
    while "[y/N]" not in said:
        said += os.read(ours, 4096).decode()
    assert f"The weights of {INT8} are not on this machine" in said
    os.write(ours, b"y\n")
    try:
        while data := os.read(ours, 4096):
            said += data.decode()
    except OSError:  # Linux: the other side is closed
        pass
    os.close(ours)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0, said
    assert "fetched and verified" in said


def test_nobody_is_asked_where_nobody_sits(look_alike: Hub) -> None:
    result = cfai("run", INT8, "hi")
    assert result.exit_code == 3
    assert f"fetch them with `cfai pull {INT8}`" in " ".join(result.stderr.split())
