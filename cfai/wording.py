"""How messages put things: the name that was meant, how many there are, a value that is not too long, what differs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["choose", "count", "first_difference", "meant", "nearest", "shortened"]


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `wanted` was likely to be; None where none is near.

    ```python
    nearest("capasity", ["capacity", "drop"])  # 'capacity'
    ```
    """
    found = difflib.get_close_matches(wanted.lower(), known, n=1, cutoff=0.5)
    return found[0] if found else None


def meant(wanted: str, known: Iterable[str]) -> str:
    """What to put behind a complaint about `wanted`: a question with the nearest of `known`, or nothing.

    ```python
    meant("onse", ["once", "none"])  # "; did you mean 'once'?"
    ```
    """
    near = nearest(wanted, known)
    return "" if near is None else f"; did you mean {near!r}?"


def choose(what: str, given: str, known: Iterable[str]) -> None:
    """Raise a `ValueError` that teaches unless `given` is one of `known`.

    ```python
    choose("record", "onse", ["once", "none"])  # record must be one of once, none; it is 'onse'; did you mean 'once'?
    ```
    """
    names = list(known)
    if given not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}; it is {given!r}{meant(str(given), names)}")


def count(number: int, noun: str) -> str:
    """`1 chunk`, `2 chunks`, `no chunks`.

    ```python
    count(0, "chunk")  # 'no chunks'
    ```
    """
    return f"1 {noun}" if number == 1 else f"{number or 'no'} {noun}s"


def shortened(text: str, longest: int) -> str:
    """`text`, its end left out if it is longer than that.

    ```python
    shortened("New York", 3)  # 'New...'
    ```
    """
    return text if len(text) <= longest else f"{text[:longest]}..."


def first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    """Where two texts or lists are no longer the same.

    ```python
    first_difference("New York", "New Jersey")  # 4
    ```
    """
    differs = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differs, min(len(one), len(other)))
