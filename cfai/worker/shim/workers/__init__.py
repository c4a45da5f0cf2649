"""`import workers`, as a Python Worker sees it. `env` is set by the loader, before the script is imported."""

from typing import Any

from cfai.worker.compat import current
from cfai.worker.sdk import (
    Blob,
    BlobEnding,
    DurableObject,
    FetchResponse,
    File,
    FormData,
    Request,
    Response,
    WorkerEntrypoint,
    WorkflowEntrypoint,
    fetch,
    handler,
    import_from_javascript,
    patch_env,
    python_from_rpc,
    python_to_rpc,
    waitUntil,
)
from cfai.worker.sdk.modules import wait_until as _wait_until
from workers import workflows as workflows

# The names that the SDK exports for annotations.
BlobValue = Body = Context = FetchKwargs = FormDataValue = Headers = JSBody = RequestInitCfProperties = Any

env: Any

__all__ = [  # in the order of the SDK
    "Blob",
    "BlobEnding",
    "BlobValue",
    "Body",
    "Context",
    "DurableObject",
    "FetchKwargs",
    "FetchResponse",
    "File",
    "FormData",
    "FormDataValue",
    "Headers",
    "JSBody",
    "Request",
    "RequestInitCfProperties",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
]
if current().compat.has_external_sdk:
    __all__ += ["wait_until"]


def __getattr__(name: str) -> Any:
    refusal = AttributeError(f"module 'workers' has no attribute {name!r}", name=name)
    refusal.add_note(f"workers has no {name!r}, or cfai does not have it yet (docs/python-workers-api.md lists names)")
    if name == "wait_until":
        if not current().compat.has_external_sdk:
            current().lenient("workers.wait_until", lambda: refusal, instead="workers.waitUntil(...)")
        return _wait_until
    raise refusal
