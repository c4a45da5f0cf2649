"""`pyodide.ffi`: between Python and JavaScript, which here are the same side."""

from collections.abc import Callable
from typing import Any

from cfai.worker.stack_switching import can_run_sync, run_sync
from cfai.worker.web.values import JsArray, JsException, JsMap, JsObject, JsProxy, jsnull, to_js

__all__ = [
    "JsArray",
    "JsException",
    "JsMap",
    "JsObject",
    "JsProxy",
    "can_run_sync",
    "create_once_callable",
    "create_proxy",
    "destroy_proxies",
    "jsnull",
    "run_sync",
    "to_js",
]


class _PyProxy:
    """A Python object as JavaScript would hold it: itself, with a `destroy` that has nothing to do."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._held(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def destroy(self) -> None:
        """Nothing is held on another side."""


def create_proxy(obj: Any, /, *, capture_this: bool = False, roundtrip: bool = True) -> Any:
    return _PyProxy(obj)


def create_once_callable(obj: Callable[..., Any], /) -> Any:
    return _PyProxy(obj)


def destroy_proxies(proxies: Any, /) -> None:
    """Nothing is held on another side."""
