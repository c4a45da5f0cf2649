"""`import workers`, as a Python Worker sees it. `env` is set by the loader, before the script is imported."""

from typing import Any

from cfai.worker.sdk import (
    DurableObject,
    Request,
    Response,
    WorkerEntrypoint,
    WorkflowEntrypoint,
    fetch,
    handler,
    import_from_javascript,
    python_from_rpc,
    python_to_rpc,
    wait_until,
    waitUntil,
)
from cfai.worker.web.values import missing

env: Any

__all__ = [
    "DurableObject",
    "Request",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
]


def __getattr__(name: str) -> Any:
    raise missing("workers", name)
