"""What to say of a value that is none of those there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["not_among"]


def not_among(known: Sequence[str], what: str, value: object) -> str:
    """The sentence about `value`, with the nearest that there is.

    ```python
    not_among(("once", "none"), "record", "onse")  # "record must be one of once, none, it is 'onse', did you mean ..."
    ```
    """
    near = difflib.get_close_matches(str(value).lower(), known, n=1)
    meant = f", did you mean {near[0]!r}?" if near else ""
    return f"{what} must be one of {', '.join(known)}, it is {value!r}{meant}"
