"""What JavaScript throws, as Python can raise and catch it."""

from __future__ import annotations

from cfai.worker.web.proxies import JsProxy

__all__ = [
    "JsException",
    "JsRangeError",
    "JsReferenceError",
    "JsSyntaxError",
    "JsTypeError",
    "JsUriError",
    "destroyed_proxy",
]


class JsException(JsProxy, Exception):
    """An error that JavaScript threw: `name`, `message`, and both in `str(error)`."""

    __module__ = "pyodide.ffi"
    js_name = "Error"
    name: str = "Error"
    message: str = ""
    stack: str = ""

    def __init_subclass__(cls) -> None:
        # Pyodide has one class for all of them, and that is what tracebacks and `type(error).__name__` say.
        cls.__module__, cls.__qualname__, cls.__name__ = JsException.__module__, "JsException", "JsException"

    def __init__(self, message: str = "", name: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if name:
            self.name = name
        self.stack = str(self)

    @property
    def js_error(self) -> JsException:
        return self

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    def __repr__(self) -> str:
        return str(self)


class JsTypeError(JsException, TypeError):
    """JavaScript's TypeError, which `except TypeError` catches too."""

    js_name = name = "TypeError"


class JsRangeError(JsException, ValueError):
    js_name = name = "RangeError"


class JsSyntaxError(JsException, ValueError):
    js_name = name = "SyntaxError"


class JsReferenceError(JsException, NameError):
    js_name = name = "ReferenceError"


class JsUriError(JsException, ValueError):
    js_name = name = "URIError"


_HOW_TO_FIND_OUT = "For more information about the cause of this error, use `pyodide.setDebug(true)`"


def destroyed_proxy(when: str) -> JsException:
    """What a script gets that hands JavaScript a Python object for longer than the call: `when` says until when."""
    return JsException(f"This borrowed proxy was automatically destroyed {when}\n{_HOW_TO_FIND_OUT}")
