"""`asgi`: a FastAPI, Starlette, Django or other ASGI application as a Worker.

The names, the scope and what happens when are those of `workers/asgi.py` in Cloudflare's workers-runtime-sdk 1.9 and,
for Workers from before it, of `asgi.py` in workerd's `src/pyodide/internal/workers-api`.
"""

from __future__ import annotations

from typing import Any

from cfai.worker import sdk
from cfai.worker.asgi.dependency import env_dependency
from cfai.worker.asgi.http import DEFAULT_OPTIONS, Options, fetch
from cfai.worker.asgi.scope import App, request_to_scope
from cfai.worker.asgi.tasks import run_in_background
from cfai.worker.asgi.websocket import websocket

__all__ = [
    "DEFAULT_OPTIONS",
    "Options",
    "entrypoint",
    "env_dependency",
    "fetch",
    "request_to_scope",
    "run_in_background",
    "websocket",
]


def entrypoint(app: App, *, options: Options | None = None) -> type[sdk.WorkerEntrypoint]:
    """A Worker that is nothing but `app`.

    ```python
    Default = asgi.entrypoint(app)
    ```
    """

    class Default(sdk.WorkerEntrypoint):
        async def fetch(self, request: sdk.Request) -> Any:
            if (request.js_object.headers.find("upgrade") or "").lower() == "websocket":
                return await websocket(app, request, self.env)
            return await fetch(app, request, self.env, self.ctx, options=options)

    return Default
