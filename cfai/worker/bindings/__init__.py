"""What `env` has beside AI and vars, kept on this machine.

assets     static files
kv         KV namespaces
d1         D1 databases
vectorize  Vectorize indexes
"""

from __future__ import annotations

import datetime
import uuid
from pathlib import Path
from typing import Any

from cfai.config import Config
from cfai.worker.web.values import as_js

__all__ = ["Bindings", "open_bindings"]


class Bindings:
    """The bindings of one Worker by their name in `env`, and the files that they keep open."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}
        self._opened: list[Any] = []

    def add(self, name: str, binding: Any, *, opened: Any = None) -> None:
        """Put `binding` into `env`. `opened` has a `close()`, which is called when the Worker ends."""
        self.by_name[name] = binding
        if opened is not None:
            self._opened.append(opened)

    def close(self) -> None:
        """Close the files, the last opened first."""
        while self._opened:
            self._opened.pop().close()


def open_bindings(config: Config, state: Path) -> Bindings:
    """The bindings that `config` declares, their data under `state`.

    ```python
    bindings = open_bindings(config, config.state)
    bindings.by_name["KV"]
    ```
    """
    # Nothing is read or made on disk before a script uses a binding, and no module is imported that no binding needs.
    bindings = Bindings()
    if config.kv_namespaces:
        from cfai.worker.bindings.kv import KvNamespace

        for one in config.kv_namespaces:
            namespace = KvNamespace(state, one.id)
            bindings.add(one.binding, namespace, opened=namespace)
    if config.d1_databases:
        from cfai.worker.bindings.d1 import D1Database

        for declared in config.d1_databases:
            database = D1Database(state, declared.id, declared.name)
            bindings.add(declared.binding, database, opened=database)
    if config.vectorize:
        from cfai.worker.bindings.vectorize import VectorizeIndex

        for named in config.vectorize:
            index = VectorizeIndex(state, named.index_name)
            bindings.add(named.binding, index, opened=index)
    if config.version_metadata is not None:
        bindings.add(config.version_metadata, as_js(_version()))
    return bindings


def _version() -> dict[str, str]:
    # What miniflare makes up for a Worker that was never uploaded (plugins/version-metadata).
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return {"id": str(uuid.uuid4()), "tag": "", "timestamp": now.replace("+00:00", "Z")}
