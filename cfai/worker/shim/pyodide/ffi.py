"""`pyodide.ffi`: between Python and JavaScript, which here are the same side."""

from collections.abc import Callable
from typing import Any

from cfai.worker.compat import current
from cfai.worker.stack_switching import can_run_sync, run_sync
from cfai.worker.web.conversion import ConversionError, PyProxy, to_js
from cfai.worker.web.kinds import KINDS, SINCE_JSNULL
from cfai.worker.web.values import JsException, JsProxy
from cfai.worker.web.values import jsnull as _jsnull

__all__ = [
    "ConversionError",
    "JsException",
    "JsProxy",
    "can_run_sync",
    "create_once_callable",
    "create_proxy",
    "destroy_proxies",
    "register_js_module",
    "run_sync",
    "to_js",
    "unregister_js_module",
]


class InternalError(Exception):
    """What Pyodide raises when it has a fault of its own."""


def create_proxy(obj: Any, /, *, capture_this: bool = False, roundtrip: bool = True) -> Any:
    """`obj` for JavaScript to keep, until `destroy()`."""
    return obj if isinstance(obj, JsProxy) else PyProxy(obj)


def create_once_callable(obj: Callable[..., Any], /) -> Any:
    """`obj` for JavaScript to call once."""
    return PyProxy(obj, once=True)


def destroy_proxies(proxies: Any, /) -> None:
    """Destroy what `to_js(..., pyproxies=...)` collected."""
    for proxy in proxies:
        if isinstance(proxy, PyProxy):
            proxy.destroy()


def register_js_module(name: str, jsproxy: Any) -> None:
    """Make `jsproxy` the module `name`."""
    import sys
    from types import ModuleType

    module = ModuleType(name)
    module.__getattr__ = lambda attribute: getattr(jsproxy, attribute)  # type: ignore[method-assign]
    sys.modules[name] = module


def unregister_js_module(name: str) -> None:
    """Take back `register_js_module`."""
    import sys

    if name not in sys.modules:
        raise ValueError(f"Cannot unregister {name!r}: no Javascript module with that name is registered")
    del sys.modules[name]


def _has_kind(name: str) -> bool:
    compat = current().compat
    return compat.has_py_json if name == "JsBigInt" else name not in SINCE_JSNULL or compat.has_jsnull


def __getattr__(name: str) -> Any:
    if name in KINDS and _has_kind(name):
        return KINDS[name]
    if name == ("IN_PYODIDE" if current().compat.has_py_json else "IN_BROWSER"):
        return True
    if name == "jsnull" and current().compat.has_jsnull:
        return _jsnull
    if name == "JsNull" and current().compat.has_jsnull:
        return type(_jsnull)
    raise AttributeError(f"module 'pyodide.ffi' has no attribute {name!r}", name=name)
