"""`asgi.env`, for FastAPI."""

# FastAPI reads the annotation below, so it must not be a string.
from typing import Any

__all__ = ["env_dependency"]


def env_dependency() -> Any:
    """What `asgi.env` is: the `env` of a request or a WebSocket, as a default of a route's parameter.

    ```python
    async def ask(question: str, env=asgi.env): ...
    ```
    """
    from fastapi import Depends
    from fastapi.requests import HTTPConnection

    async def env(connection: HTTPConnection) -> Any:
        return connection.scope["env"]

    return Depends(env)
