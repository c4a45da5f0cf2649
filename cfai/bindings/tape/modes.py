"""When a tape records, and when it plays."""

from __future__ import annotations

import difflib
from typing import Literal, get_args

__all__ = ["RecordMode", "parse_record_mode"]

RecordMode = Literal["once", "none", "all", "new"]
"""What becomes of a call: `docs/testing.md` has the table."""


def parse_record_mode(text: str) -> RecordMode:
    """The record mode that `text` names; a ValueError names the nearest there is.

    ```python
    parse_record_mode("once")  # "once"
    ```
    """
    known: tuple[RecordMode, ...] = get_args(RecordMode)
    for mode in known:
        if text == mode:
            return mode
    near = difflib.get_close_matches(str(text).lower(), known, n=1, cutoff=0.5)
    meant = f", did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"record must be one of {', '.join(known)}, it is {text!r}{meant}")
