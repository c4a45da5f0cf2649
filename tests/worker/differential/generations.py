"""Cloudflare's side: the generations of Python Workers as far as Node runs them.

Pyodide is npm's. The SDK of the newer generations is PyPI's workers-runtime-sdk; the older one exists only inside
workerd, whose binary carries its sources as text under their module names, and they are cut out of it here.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.node import installed
from tests.worker.differential.case import ANSWERS, VARS, Case

__all__ = ["GENERATIONS", "Generation", "on_cloudflare"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Generation:
    """One compatibility date, with what workerd has for it."""

    date: datetime.date
    package: str
    version: str
    """What `pyodide.__version__` says there."""
    has_external_sdk: bool = False
    flags: tuple[str, ...] = ()

    @property
    def has_class_handlers(self) -> bool:
        return self.date >= datetime.date(2025, 8, 14)

    def __str__(self) -> str:
        return "+".join([str(self.date), *self.flags])


GENERATIONS = (
    Generation(datetime.date(2025, 1, 1), "pyodide-0.26", "0.26.0a2"),
    Generation(datetime.date(2025, 11, 2), "pyodide-0.28", "0.28.2"),
    Generation(datetime.date(2026, 6, 1), "pyodide-0.28", "0.28.2", has_external_sdk=True),
    Generation(
        datetime.date(2026, 6, 1), "pyodide-314", "314.0.5", has_external_sdk=True, flags=("python_workers_20260610",)
    ),
)


def on_cloudflare(generation: Generation, cases: Sequence[Case], folder: Path) -> dict[str, Any]:
    """What each of `cases` answers there, by its name."""
    packages = installed(HERE)
    sdk = folder / "sdk"
    sdk.mkdir()
    if generation.has_external_sdk:
        _lay_out_external_sdk(sdk)
    else:
        _lay_out_built_in_sdk(packages, sdk)
    told = {
        "pyodide": str(packages / generation.package),
        "version": generation.version,
        "sdk": str(sdk),
        "has_class_handlers": generation.has_class_handlers,
        "flags": {
            "python_request_headers_preserve_commas": generation.date >= datetime.date(2026, 2, 17),
            "python_workflows_implicit_dependencies": generation.date >= datetime.date(2026, 2, 25),
        },
        "answers": ANSWERS,
        "vars": VARS,
        "cases": [case.told(generation.has_class_handlers) for case in cases],
    }
    ran = subprocess.run(
        ["node", str(HERE / "pyodide.mjs")], input=json.dumps(told), capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {answer["name"]: answer for answer in map(json.loads, ran.stdout.splitlines())}


def _lay_out_external_sdk(folder: Path) -> None:
    for file in importlib.metadata.files("workers-runtime-sdk") or ():
        if file.parts[0] in ("workers", "asgi.py") and file.suffix != ".pyc":
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


_MODULES = ("asgi", "workers/__init__", "workers/_workers", "workers/workflows")


def _lay_out_built_in_sdk(packages: Path, folder: Path) -> None:
    (binary,) = packages.glob("@cloudflare/workerd-*/bin/workerd")
    data = binary.read_bytes()
    for module in _MODULES:
        # A Cap'n Proto text (the name, ended and padded by zeros), then the data, up to the next module's name.
        entry = re.compile(
            re.escape(f"pyodide-internal:workers-api/src/{module}.py".encode())
            + rb"\0+([^\0]+?)(?:\0|pyodide-internal:)"
        )
        found = entry.search(data)
        assert found is not None, f"{binary} has no {module}.py"
        target = folder / f"{module}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(found[1])
