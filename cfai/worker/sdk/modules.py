"""What belongs to the module `workers` itself: `env`, `waitUntil`, and the modules of the runtime."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cfai.worker import ctx as contexts
from cfai.worker.web.errors import JsException
from cfai.worker.web.proxies import JsProxy

__all__ = ["import_from_javascript", "patch_env", "waitUntil", "wait_until"]


def waitUntil(work: Awaitable[Any]) -> None:  # noqa: N802  # JavaScript's spelling
    """The `waitUntil` of the request that is being answered."""
    if (ctx := contexts.current.get(None)) is None:
        raise RuntimeError("waitUntil needs a request; there is none while the script is imported")
    ctx.waitUntil(work)


wait_until = waitUntil


def import_from_javascript(module_name: str) -> Any:
    """The modules of the runtime that Python may import."""
    if module_name == "cloudflare:workers":
        return _Workers()
    if module_name == "cloudflare:sockets":
        return _Sockets()
    if module_name == "cloudflare:vectorize":
        from cfai.worker.web.conversion import as_js

        return as_js(_VECTORIZE)
    problem = f'No such module "{module_name}".'
    raise ImportError(f"Failed to import '{module_name}': {JsException(problem)}")


# What workerd's src/cloudflare/vectorize.ts exports.
_VECTORIZE = {
    "KnownModel": {
        name: name
        for name in (
            "openai/text-embedding-ada-002",
            "cohere/embed-multilingual-v2.0",
            "@cf/baai/bge-small-en-v1.5",
            "@cf/baai/bge-base-en-v1.5",
            "@cf/baai/bge-large-en-v1.5",
        )
    },
    "DistanceMetric": {"EUCLIDEAN": "euclidean", "COSINE": "cosine", "DOT_PRODUCT": "dot-product"},
    "MetadataRetrievalLevel": {"ALL": "all", "INDEXED": "indexed", "NONE": "none"},
}


class _Workers(JsProxy):
    """`cloudflare:workers`, which has `env` as JavaScript has it."""

    @property
    def env(self) -> Any:
        return sys.modules["workers"].env._env

    @property
    def waitUntil(self) -> Any:  # noqa: N802
        return waitUntil


class _Sockets(JsProxy):
    """`cloudflare:sockets`, whose sockets are Python's own here."""

    def connect(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError("connect of cloudflare:sockets is not simulated: use Python's asyncio or socket")


@contextmanager
def patch_env(changes: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None, **named: Any) -> Iterator[None]:
    """For a while, `workers.env` has other values.

    ```python
    with patch_env(GREETING="hello"):
        assert workers.env.GREETING == "hello"
    ```
    """
    from cfai.worker.web.conversion import to_js

    given = {name: to_js(value) for name, value in {**dict(changes or {}), **named}.items()}
    seen = sys.modules["workers"].env.__dict__
    env = sys.modules["workers"].env._env.__dict__
    before = {name: env[name] for name in given if name in env}
    _replace(seen, env, given, given)
    try:
        yield
    finally:
        _replace(seen, env, given, before)


def _replace(seen: dict[str, Any], env: dict[str, Any], names: Iterable[str], values: Mapping[str, Any]) -> None:
    for name in names:
        seen.pop(name, None)  # what the wrapper remembers
        env.pop(name, None)
    env.update(values)
