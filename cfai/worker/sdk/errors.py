"""JavaScript's errors as the SDK raises them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cfai.worker.web.errors import JsException

__all__ = ["as_pythons"]

_PYTHONS = {"RangeError": ValueError, "TypeError": TypeError}


@contextmanager
def as_pythons() -> Iterator[None]:
    """A RangeError is a ValueError and a TypeError a TypeError, of Python alone."""
    try:
        yield
    except JsException as error:
        if (kind := _PYTHONS.get(error.name)) is None:
            raise
        raise kind(error.message) from error
