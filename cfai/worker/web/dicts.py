"""What bindings return in the generation of the external SDK: dicts whose keys are attributes, and lists.

`workers-runtime-sdk` calls its class JsDict, and error messages say so (its `rpc.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.proxies import is_spelled_out

__all__ = ["JsDict", "as_dict"]


class JsDict(dict[str, Any]):
    """A dict whose keys are attributes, where dict itself has no such name."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in _OF_PROXIES and is_spelled_out():
            kind, remedy = "a proxy's methods on a result", instead.as_it_is("result")
            current().lenient(f"result.{name}", lambda: AttributeError(name), kind=kind, instead=remedy)
            return _OF_PROXIES[name](self)
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> Any:
        return JsDict, (dict(self),)


def as_dict(value: Any) -> Any:
    """A JSON value as JsDicts and lists, null as None."""
    if value is jsnull:
        return None
    if isinstance(value, Mapping):
        return JsDict({key: as_dict(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return [as_dict(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _array(items: Any) -> Any:
    from cfai.worker.web.conversion import as_js

    return as_js(list(items))


_OF_PROXIES: dict[str, Callable[[JsDict], Any]] = {
    "to_py": lambda value: lambda **options: _plain(value),
    "object_keys": lambda value: lambda: _array(value),
    "object_values": lambda value: lambda: _array(value.values()),
    "object_entries": lambda value: lambda: _array(value.items()),
}
