"""`json.dumps`, which knows JavaScript's values in a Worker: `jsnull` is null, as in Pyodide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current

__all__ = ["json_of_proxies"]


@contextmanager
def json_of_proxies() -> Iterator[None]:
    """While it lasts, `json.dumps` writes objects and arrays of JavaScript, with a note that Cloudflare refuses to."""
    from cfai.worker.web.values import JsArray, JsMap, JsObject, jsnull

    original = json.JSONEncoder.default

    def default(self: json.JSONEncoder, o: Any) -> Any:
        value = o
        if value is jsnull:
            return None
        if isinstance(value, JsObject | JsArray | JsMap):
            problem = "Object of type JsProxy is not JSON serializable"
            current().lenient("json.dumps(object)", lambda: TypeError(problem), instead=instead.a_text_of("object"))
            return value.to_py(depth=1)
        return original(self, value)

    # json has no registry of types; a script calls json.dumps itself and gives no encoder of ours.
    json.JSONEncoder.default = default  # type: ignore[method-assign]
    try:
        yield
    finally:
        json.JSONEncoder.default = original  # type: ignore[method-assign]
