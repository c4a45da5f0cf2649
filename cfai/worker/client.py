"""A Worker in this process, and an HTTP client that asks it: for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cfai.binding import Binding
from cfai.config import Config
from cfai.worker.app import worker_app
from cfai.worker.loader import import_path

if TYPE_CHECKING:
    import httpx2

__all__ = ["worker_client"]


@asynccontextmanager
async def worker_client(config: Config, ai: Binding, *, strict: bool = False) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of the Worker of `config`, `env.AI` answered by `ai`, with no socket between them.

    ```python
    async with worker_client(load_config(), FakeBinding({MODEL: "hello"})) as client:
        assert (await client.get("/")).text == "hello"
    ```

    A script that cannot be imported answers 500 with its traceback. `strict` refuses what its date refuses.
    """
    import httpx2

    with import_path(config.root):
        app = worker_app(config, ai, strict=strict)
        transport = httpx2.ASGITransport(app)
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8787") as client:
                yield client
        finally:
            await app.aclose()
