"""`Error` and its kin: `js.Error.new("what happened")` makes a `JsException`, to be raised or looked at."""

from __future__ import annotations

from typing import Any

from cfai.worker.web.conversion import options_of
from cfai.worker.web.errors import (
    JsException,
    JsRangeError,
    JsReferenceError,
    JsSyntaxError,
    JsTypeError,
    JsUriError,
)
from cfai.worker.web.primitives import text_of
from cfai.worker.web.proxies import Shown

__all__ = [
    "AggregateError",
    "Error",
    "EvalError",
    "RangeError",
    "ReferenceError",
    "SyntaxError",
    "TypeError",
    "URIError",
]


class Error(Shown):
    """A class of errors. Called without `new` it makes one too."""

    js_name = "Error"
    made: type[JsException] = JsException

    def __new__(cls, message: Any = "", options: Any = None) -> Any:
        return cls.new(message, options)

    @classmethod
    def new(cls, message: Any = "", options: Any = None) -> JsException:
        error = cls.made("" if message is None else text_of(message), cls.js_name)
        if "cause" in (given := options_of(options)):
            error.cause = given["cause"]  # type: ignore[attr-defined]  # JavaScript's, on errors that have one
        return error


class TypeError(Error):  # noqa: A001  # JavaScript's name
    js_name, made = "TypeError", JsTypeError


class RangeError(Error):
    js_name, made = "RangeError", JsRangeError


class SyntaxError(Error):  # noqa: A001
    js_name, made = "SyntaxError", JsSyntaxError


class ReferenceError(Error):  # noqa: A001
    js_name, made = "ReferenceError", JsReferenceError


class URIError(Error):
    js_name, made = "URIError", JsUriError


class EvalError(Error):
    js_name = "EvalError"


class AggregateError(Error):
    js_name = "AggregateError"

    @classmethod
    def new(cls, errors: Any = (), message: Any = "") -> JsException:  # type: ignore[override]  # as in JavaScript
        error = JsException(text_of(message), "AggregateError")
        error.errors = errors  # type: ignore[attr-defined]  # JavaScript's
        return error
