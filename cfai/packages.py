"""The packages that cfai builds on, and what to say where one is not installed: a light install leaves most out."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

__all__ = ["COMMAND_LINE", "MODELS", "WORKER", "WORKER_IN_TESTS", "absent", "install", "problem_of"]

WORKER_IN_TESTS = ("ada_url", "anyio", "greenlet", "httpx2")
"""Of a Worker in the process of its tests."""

WORKER = (*WORKER_IN_TESTS, "uvicorn", "websockets")
"""Of a process that runs a Worker."""

COMMAND_LINE = (*WORKER, "prometheus_client", "rich", "starlette", "typer", "watchfiles")
"""Of the commands, with models or without."""

MODELS = (
    *(
        "filelock",
        "huggingface_hub",
        "jinja2",
        "llguidance",
        "numpy",
        "safetensors",
        "sentencepiece",
        "tokenizers",
        "torch",
    ),
    "transformers",
)
"""Of models that answer on this machine."""


def absent(modules: Iterable[str]) -> list[str]:
    """Those that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def install(modules: Iterable[str]) -> str:
    """The command that installs them.

    ```python
    install(["ada_url", "anyio"])  # 'pip install ada-url anyio'
    ```
    """
    return f"pip install {' '.join(name.replace('_', '-') for name in modules)}"


def problem_of(error: ModuleNotFoundError) -> tuple[str, str] | None:
    """What to say of the error, and what helps; None where the module is none that cfai builds on.

    The command installs all that is absent of the same kind, so that it is needed once.
    """
    name = (error.name or "").partition(".")[0]
    kind = next((kind for kind in (COMMAND_LINE, MODELS) if name in kind), None)
    if kind is None:
        return None
    return f"this needs {name.replace('_', '-')}, which is not installed", install(absent(kind) or [name])
