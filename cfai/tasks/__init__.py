"""Per task: inputs checked with Cloudflare's wording, outputs shaped."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfai.tasks.task import Task, task_for

__all__ = ["Task", "task_for"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module("cfai.tasks.task"), name)
    globals()[name] = found
    return found
