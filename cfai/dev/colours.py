"""wrangler's colours, on terminals only."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ["BLUE", "BOLD", "GREEN", "GREY", "RED", "YELLOW", "has_colours", "in_colour", "on"]

GREEN, YELLOW, RED, BLUE, GREY, BOLD = "32", "33", "31", "34", "90", "1"


def has_colours(stream: TextIO) -> bool:
    # https://no-color.org: set and not empty.
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def in_colour(colour: str, text: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def on(stream: TextIO, colour: str, text: str) -> str:
    """`text`, in `colour` where `stream` is a terminal that shows it.

    ```python
    sys.stderr.write(on(sys.stderr, RED, "Traceback (most recent call last):\\n"))
    ```
    """
    if not has_colours(stream):
        return text
    # Line by line: a terminal paints the rest of a line, too, in what is not ended on it.
    return "\n".join(in_colour(colour, line) if line else "" for line in text.split("\n"))
