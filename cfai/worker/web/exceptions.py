"""`DOMException`: an error that is told by its name."""

from __future__ import annotations

from cfai.worker.web.values import JsClass, JsException

__all__ = ["DOMException", "dom_exception"]

# https://webidl.spec.whatwg.org/#dfn-error-names-table
_CODES = {
    "IndexSizeError": 1,
    "InvalidCharacterError": 5,
    "NotFoundError": 8,
    "NotSupportedError": 9,
    "InvalidStateError": 11,
    "SyntaxError": 12,
    "InvalidAccessError": 15,
    "NetworkError": 19,
    "AbortError": 20,
    "QuotaExceededError": 22,
    "TimeoutError": 23,
    "DataCloneError": 25,
}


class DOMException(JsException, metaclass=JsClass):
    """`DOMException.new("no time left", "TimeoutError")`; `str(error)` is its name and its message."""

    def __init__(self, message: str = "", name: str = "Error") -> None:
        super().__init__(message, name)

    @property
    def code(self) -> int:
        return _CODES.get(self.name, 0)


def dom_exception(name: str, message: str) -> DOMException:
    return DOMException.new(message, name)
