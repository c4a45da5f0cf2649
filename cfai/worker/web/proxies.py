"""`JsProxy`: what every JavaScript value that is no number, string or the like has in common for Python.

How leniency works here. Python can do less with a JavaScript object than with a dict, and scripts that were written
against another generation, or against the documentation of JavaScript, do more. What Pyodide refuses is allowed after
`compat.current().lenient(..)`, which says so once, or refuses under `--strict-compat`.

Names need care: `hasattr(result, "to_py")` is how scripts find out what they were given, and must answer as it does on
Cloudflare. So a name that only cfai has is there for code that spells it out (`result.get("response")`), and is not
there for code that asks (`hasattr`, `getattr`): `is_spelled_out` looks at the instruction that wants it.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Callable
from opcode import opmap
from typing import Any, TypeVar

from cfai.worker import instead
from cfai.worker.compat import current

__all__ = [
    "JsClass",
    "JsProxy",
    "is_ours",
    "is_spelled_out",
    "js_name",
    "missing",
    "refused",
    "shown_as",
    "shown_as_proxy",
]

T = TypeVar("T")


def missing(owner: str, name: str) -> AttributeError:
    """What is raised where a script asks for a name that is not there."""
    error = AttributeError(name, name=name)
    error.add_note(f"{owner} has no {name!r}, or cfai does not have it yet (docs/python-workers-api.md lists names)")
    return error


_NAMED_BY_THE_CODE = {opmap[name] for name in ("LOAD_ATTR", "LOAD_METHOD") if name in opmap}


def is_spelled_out(depth: int = 1) -> bool:
    """Whether the code that made the caller's caller look up an attribute has its name written out."""
    frame = sys._getframe(depth + 1)
    return frame.f_code.co_code[frame.f_lasti] in _NAMED_BY_THE_CODE


def is_ours(depth: int = 1) -> bool:
    """Whether cfai itself, and no script, called the caller's caller: its use of a value is no idiom of a script."""
    frame = sys._getframe(depth + 1)
    return str(frame.f_globals.get("__name__", "")).startswith("cfai.")


def js_name(name: str) -> str:
    """JavaScript's spelling of a name that Python has to write with an underscore: `from_`, `finally_`."""
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


def refused(what: str) -> Callable[[], TypeError]:
    """Python's TypeError about a proxy: `refused("object is not subscriptable")`."""
    return lambda: TypeError(f"'pyodide.ffi.JsProxy' {what}")


class _ProxyType(type):
    @property
    def name(cls) -> str:
        # `value.constructor.name`, which is how scripts ask for the kind of an object.
        found: str = cls.__dict__.get("js_name", "") or type.__dict__["__name__"].__get__(cls)
        return found


class JsProxy(metaclass=_ProxyType):
    """The base of what Python sees of JavaScript."""

    __slots__ = ()

    @property
    def constructor(self) -> Any:
        return type(self)

    @property
    def typeof(self) -> str:
        return "object"

    @property
    def js_id(self) -> int:
        return id(self) & 0x7FFFFFFF

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> Any:
        return self if default_converter is None else default_converter(self, lambda value: value, lambda *_: None)

    def toString(self) -> str:  # noqa: N802  # JavaScript's spelling
        return str(self)

    def __str__(self) -> str:
        return f"[object {type(self).name}]"


class JsClass(_ProxyType):
    """A JavaScript class: `X.new(...)` makes one, calling it does not.

    Keyword arguments become one trailing object, as in every call from Python to JavaScript.
    """

    def __call__(cls: type[T], *args: Any, **options: Any) -> T:
        if not is_ours():
            from cfai.worker.web.errors import JsTypeError

            problem = cls._problem_without_new()  # type: ignore[attr-defined]  # this metaclass's own
            name = f"js.{cls.name}"  # type: ignore[attr-defined]
            remedy = instead.with_new(name)
            current().lenient(f"{name}(...) without .new", lambda: JsTypeError(problem), instead=remedy)
        made: T = cls.new(*args, **options)  # type: ignore[attr-defined]
        return made

    def _problem_without_new(cls) -> str:
        return f"Class constructor {cls.name} cannot be invoked without 'new'"

    def new(cls: type[T], *args: Any, **options: Any) -> T:
        if any(type(one) is dict for one in args[1:]) and not is_ours():
            from cfai.worker.web.conversion import given_by_script

            args = (args[0], *map(given_by_script, args[1:]))
        if options:
            from cfai.worker.web.objects import JsObject

            args = (*args, JsObject(options))
        made: T = type.__call__(cls, *args)
        return made


class _ShownType(_ProxyType):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        return "JsProxy"


class Shown(JsProxy, metaclass=_ShownType):
    """A proxy that errors call `'pyodide.ffi.JsProxy'` and whose type is called JsProxy, as in Pyodide."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        shown_as_proxy(cls)


def shown_as(kind: type, name: str) -> None:
    """Have tracebacks call `kind` by the name that Pyodide has for it."""
    kind.__name__ = kind.__qualname__ = name
    kind.__module__ = "pyodide.ffi"


def shown_as_proxy(kind: type) -> None:
    # CPython's own messages take the name from the C side of the type, `type(x).__name__` asks the metaclass.
    type.__dict__["__name__"].__set__(kind, "pyodide.ffi.JsProxy")
    kind.__qualname__ = "JsProxy"
    kind.__module__ = "pyodide.ffi"
