"""Where wrangler keeps what its local bindings store, so that both find the same data."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

__all__ = ["database_file", "file_name"]


def database_file(state: Path, plugin: str, object_class: str, name: str) -> Path:
    """The SQLite file of one local resource.

    ```python
    database_file(config.state, "kv", "KVNamespaceObject", "my-id")  # .../kv/miniflare-KVNamespaceObject/37a8….sqlite
    ```
    """
    # Miniflare keeps each in a Durable Object, and workerd names the file of one by its id: a MAC of the object's name,
    # and a MAC of that (`idFromName` in workerd's src/workerd/server/actor-id-impl.c++).
    namespace = f"miniflare-{object_class}"
    key = hashlib.sha256(namespace.encode()).digest()
    base = hmac.digest(key, name.encode(), "sha256")[:16]
    identity = base + hmac.digest(key, base, "sha256")[:16]
    return state / plugin / namespace / f"{identity.hex()}.sqlite"


_DOTS = re.compile(r"(^|[/\\])(\.+)(?=[/\\]|$)")
_ILLEGAL = re.compile(r"""[?<>*"'^/\\:|\x00-\x1f\x80-\x9f]""")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_EDGES = re.compile(r"^ +| +$")


def file_name(name: str) -> str:
    """`name` as the name of a folder, changed in the way in which miniflare changes it (its `sanitisePath`)."""
    name = _DOTS.sub(lambda found: found[1] + "_" * len(found[2]), name)
    name = _ILLEGAL.sub("_", name)
    name = "_" if _RESERVED.fullmatch(name) else name
    return _EDGES.sub(lambda found: "_" * len(found[0]), name)[:255]
