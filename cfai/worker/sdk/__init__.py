"""What `workers` gives a script: Cloudflare's Python SDK in our words, over the web classes.

requests, responses      `Request`, `Response`, `fetch`
headers                  their headers as Python's own mappings
blobs, forms             `Blob`, `File`, `FormData`
entrypoints              the classes that a script derives from, and `handler`
rpc                      between Python's values and JavaScript's
modules                  `env`, `waitUntil`, `import_from_javascript`
"""

from cfai.worker.sdk.blobs import Blob, BlobEnding, File
from cfai.worker.sdk.entrypoints import DurableObject, WorkerEntrypoint, WorkflowEntrypoint, handler
from cfai.worker.sdk.fetching import fetch
from cfai.worker.sdk.forms import FormData
from cfai.worker.sdk.modules import import_from_javascript, patch_env, wait_until, waitUntil
from cfai.worker.sdk.requests import Request
from cfai.worker.sdk.responses import FetchResponse, Response
from cfai.worker.sdk.rpc import python_from_rpc, python_to_rpc

__all__ = [
    "Blob",
    "BlobEnding",
    "DurableObject",
    "FetchResponse",
    "File",
    "FormData",
    "Request",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
]
