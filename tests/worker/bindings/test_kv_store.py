"""The files of KV: what a killed process leaves behind, and what two processes make of them at once."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cfai.worker.bindings.kv_store import KvStore
from cfai.worker.bindings.objects import database_file, file_name

WRITER = """
import sys
from pathlib import Path
from cfai.worker.bindings.kv_store import KvStore

store, name, first = KvStore(Path(sys.argv[1]), "n"), sys.argv[2], int(sys.argv[3])
for number in range(first, first + 100_000):
    store.put(f"{name}{number % 50}", f"{number}:".encode() * 5000)
    print(number, flush=True)
"""


def writer(state: Path, name: str, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(state), name, str(first)], stdout=subprocess.PIPE, text=True
    )


def newest(store: KvStore, name: str) -> dict[int, int]:
    """The number that each key holds, every value checked to be whole."""
    held = {}
    for slot in range(50):
        if (found := store.get(f"{name}{slot}")) is not None:
            number, _, rest = found[1].partition(b":")
            assert found[1] == number + b":" + rest
            assert found[1] == (number + b":") * 5000
            held[slot] = int(number)
    return held


def test_a_killed_writer_leaves_every_acknowledged_value_whole(tmp_path: Path) -> None:
    acknowledged: dict[int, int] = {}
    last = kills = 0
    while kills < 6 or last < 100:
        kills += 1
        process = writer(tmp_path, "k", last + 1)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(random.uniform(0.01, 0.1))  # any moment will do
        process.send_signal(signal.SIGKILL)
        for line in [*lines, *process.stdout]:
            last = int(line)
            acknowledged[last % 50] = last
        process.wait()
        process.stdout.close()
        store = KvStore(tmp_path, "n")
        held = newest(store, "k")
        store.close()
        # One more may have been written than was told of.
        assert all(held[slot] in (number, last + 1) for slot, number in acknowledged.items())
        acknowledged = held
        last = max(last, *held.values())


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    processes = [writer(tmp_path, name, 1) for name in ("a", "b")]
    told = {}
    for name, process in zip("ab", processes, strict=True):
        assert process.stdout is not None
        for _ in range(60):
            told[name] = int(process.stdout.readline())
    store = KvStore(tmp_path, "n")
    while_they_write = [newest(store, name) for name in "ab"]
    for process in processes:
        process.kill()
        process.communicate()
    assert [len(held) for held in while_they_write] == [50, 50]
    assert told == {"a": 60, "b": 60}
    store.close()


def test_a_value_is_never_mixed_with_the_one_that_replaces_it(tmp_path: Path) -> None:
    process = writer(tmp_path, "k", 1)
    assert process.stdout is not None
    process.stdout.readline()
    store = KvStore(tmp_path, "n")
    seen: set[int] = set()
    while len(seen) < 200:
        seen.update(newest(store, "k").values())
    process.kill()
    process.communicate()
    store.close()


def test_replaced_and_deleted_values_leave_no_files(tmp_path: Path) -> None:
    store = KvStore(tmp_path, "n")
    for number in range(20):
        store.put(f"k{number % 2}", b"x")
    store.delete("k0")
    store.close()
    assert len(list((tmp_path / "kv/n/blobs").iterdir())) == 1


@pytest.mark.parametrize("prefix", ["", "a", "a\0b", "\ud7ff", "\U0010ffff", "é\U0010ffff"])
def test_a_prefix_finds_what_begins_with_it(tmp_path: Path, prefix: str) -> None:
    store = KvStore(tmp_path, "n")
    keys = [
        "a",
        "a\0b",
        "a\0bc",
        "a\0c",
        "ab",
        "b",
        "\ud7ff",
        "\ue000",
        "\U0010ffff",
        "\U0010ffffx",
        "é\U0010ffff",
        "ê",
    ]
    for key in keys:
        store.put(key, b"")
    page = store.list(prefix, "", 1000)
    store.close()
    found = [entry.key for entry in page.entries]
    assert found == sorted((key for key in keys if key.startswith(prefix)), key=str.encode)


def test_the_names_of_the_files(tmp_path: Path) -> None:
    # As wrangler 4.86 made it for the same id.
    identity = "37a8bb0618a69eaafcfd5da9edb89be69a4331746158cd93776393df07376af1"
    file = database_file(tmp_path, "kv", "KVNamespaceObject", "test-kv")
    assert file == tmp_path / "kv" / "miniflare-KVNamespaceObject" / f"{identity}.sqlite"
    names = {"my-id": "my-id", "a/b": "a_b", "..": "__", "con": "_", " x ": "_x_", "../../etc": "______etc"}
    assert {name: file_name(name) for name in names} == names
    assert file_name("é" * 300) == "é" * 255
