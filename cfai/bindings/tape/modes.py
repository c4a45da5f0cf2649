"""When a tape records, and when it plays."""

from __future__ import annotations

from typing import Literal, cast, get_args

from cfai.wording import choose

__all__ = ["RecordMode", "parse_record_mode"]

RecordMode = Literal["once", "none", "all", "new"]
"""What becomes of a call: `docs/testing.md` has the table."""


def parse_record_mode(text: str) -> RecordMode:
    """The record mode that `text` names; a ValueError names the nearest there is.

    ```python
    parse_record_mode("once")  # "once"
    ```
    """
    choose("record", text, get_args(RecordMode))
    return cast("RecordMode", text)  # which mypy does not learn from that
