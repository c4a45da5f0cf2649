"""The rooms of the code: what imports what, and what importing costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import cfai

PACKAGE = Path(cfai.__file__).parent

# From the top floor down. A room imports rooms of the floors below, and of its own floor.
FLOORS = [
    {"cli", "__main__", "pytest_plugin"},
    {"dev", "doctor", "server", "testing", "worker"},
    {"serving", "http_writes", "__init__"},
    {"bindings"},
    {"adapters", "config", "engine", "tasks", "weights"},
    {"catalog"},
    {
        *("addresses", "ai", "binding", "blocking", "clock", "cost", "devices", "errors", "event_loops", "lazy"),
        *("metrics", "packages", "quantities", "ready", "request_id", "results", "sse", "wording"),
    },
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {"torch", "transformers", "sentencepiece", "tokenizers", "safetensors"}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found += [f"{node.module}.{name.name}" for name in node.names]
    return found


FILES = sorted(file for file in PACKAGE.rglob("*.py") if "shim" not in file.parts)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file: Path) -> None:
    room = room_of(file)
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "cfai" and len(parts) > 1:
            target = parts[1] if parts[1] in FLOOR else "__init__"
            assert FLOOR[room] <= FLOOR[target], f"{room} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_engine_knows_torch(file: Path) -> None:
    if room_of(file) != "engine":
        assert not HEAVY & {name.split(".")[0] for name in imports(file)}


def test_only_the_local_binding_and_the_weights_open_the_engine() -> None:
    """The weights ask it whether it can load them, before they are fetched, and what a GGUF file holds."""
    openers = {
        str(file.relative_to(PACKAGE))
        for file in FILES
        if room_of(file) != "engine" and any(name.startswith("cfai.engine") for name in imports(file))
    }
    assert openers == {
        *("bindings/generation.py", "bindings/loader.py", "bindings/local.py"),
        *("weights/architecture.py", "weights/importing.py"),
    }


def test_importing_cfai_is_light() -> None:
    code = f"import json, sys; from cfai import {', '.join(cfai.__all__)}; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(out.stdout)}
    assert not loaded & (HEAVY | {"asyncio", "trio", "httpx2", "starlette", "uvicorn", "huggingface_hub", "jinja2"})


def test_importing_cfai_runs_few_modules() -> None:
    """Time is not asserted, work is: 100 ms on a slow machine is some hundred small modules."""
    code = (
        "import sys; before = len(sys.modules); import cfai; light = len(sys.modules) - before;"
        f"from cfai import {', '.join(cfai.__all__)}; print(light, len(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light, whole = map(int, out.stdout.split())
    assert light < 50
    assert whole < 300


def test_every_public_name_is_there() -> None:
    for name in cfai.__all__:
        assert hasattr(cfai, name)
