"""`from workers import asgi`, as a Python Worker sees it."""

from typing import Any

from cfai.worker.asgi import (
    DEFAULT_OPTIONS,
    Options,
    entrypoint,
    env_dependency,
    fetch,
    request_to_scope,
    run_in_background,
    websocket,
)
from cfai.worker.web.headers import Headers
from cfai.worker.web.values import missing

__all__ = ["DEFAULT_OPTIONS", "Options", "entrypoint", "fetch", "request_to_scope", "run_in_background", "websocket"]

_to_js_headers = Headers.new


def __getattr__(name: str) -> Any:
    if name == "env":  # made when it is asked for, because it needs FastAPI
        return env_dependency()
    raise missing("asgi", name)
