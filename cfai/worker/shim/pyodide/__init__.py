"""`import pyodide`, as a Python Worker sees it."""

from typing import Any

from cfai.worker.compat import current


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return current().compat.pyodide
    raise AttributeError(f"module 'pyodide' has no attribute {name!r}", name=name)
