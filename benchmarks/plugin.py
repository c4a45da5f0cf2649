"""The pytest plugin: what a project without cfai pays for it, and a suite of 1,000 tests with the fake. See README.md.

python benchmarks/plugin.py --runs 15
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

TESTS, FILES = 200, 10
PLAIN = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_it(number):
    assert number >= 0
"""
WITH_FAKE = """
import pytest

MODEL = "@cf/meta/llama-2-7b-chat-int8"

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.parametrize("number", range(1000))
async def test_stream({fixture}number):
    {body}

def test_no_model_is_loaded():
    import sys
    assert not {{"torch", "transformers", "numpy"}} & set(sys.modules)
"""
STREAM = """ai.answers[MODEL] = ["New", " York"]
    stream = await ai.run(MODEL, {"prompt": f"where is {number}?", "stream": True})
    assert b"".join([event async for event in stream]).endswith(b"data: [DONE]\\n\\n")"""

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        _without_cfai(Path(folder) / "plain", runs)
        _thousand(Path(folder) / "thousand", max(1, runs // 5))


def _without_cfai(folder: Path, runs: int) -> None:
    folder.mkdir()
    for number in range(FILES):
        (folder / f"test_{number}.py").write_text(PLAIN.format(tests=TESTS // FILES))
    imported = [_import_ms() for _ in range(runs)]
    print(f"import of the plugin          {_told(imported)}")
    collect = [*PYTEST, "--collect-only", str(folder)]
    _compare(
        f"collecting {TESTS} tests, CPU",
        lambda: _cpu_ms(collect, folder),
        lambda: _cpu_ms([*collect, "-p", "cfai.pytest_plugin"], folder),
        runs,
    )


def _thousand(folder: Path, runs: int) -> None:
    folder.mkdir()
    with_fake, plain = folder / "test_fake.py", folder / "test_plain.py"
    with_fake.write_text(WITH_FAKE.format(fixture="ai, ", body=STREAM))
    plain.write_text(WITH_FAKE.format(fixture="", body="assert number >= 0"))
    plugins = ["-p", "anyio.pytest_plugin", "-p", "cfai.pytest_plugin", "-o", "anyio_mode=auto"]
    _compare(
        "1,000 async tests, CPU",
        lambda: _cpu_ms([*PYTEST, *plugins, str(plain)], folder),
        lambda: _cpu_ms([*PYTEST, *plugins, str(with_fake)], folder),
        runs,
    )


def _compare(what: str, without: Callable[[], float], with_it: Callable[[], float], runs: int) -> None:
    before, after = [], []
    for _ in range(runs):  # in turns, since a machine is not equally fast all day
        before.append(without())
        after.append(with_it())
    more = [two - one for one, two in zip(before, after, strict=True)]
    print(f"{what}: without {_told(before)}, with {_told(after)}, more {_told(more)}")


def _told(figures: Sequence[float]) -> str:
    return f"{statistics.median(figures):.1f} ms (of {len(figures)}: {min(figures):.1f} to {max(figures):.1f})"


def _import_ms() -> float:
    """The plugin and what it imports that pytest has not, by `-X importtime`."""
    command = [sys.executable, "-X", "importtime", "-c", "import pytest; import cfai.pytest_plugin"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    rows = [re.match(r"import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)", line) for line in told.splitlines()]
    top = {row[4]: int(row[2]) for row in rows if row is not None and len(row[3]) == 1}
    return (top.get("cfai", 0) + top["cfai.pytest_plugin"]) / 1000


def _cpu_ms(command: Sequence[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env={**os.environ, **ALONE}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
