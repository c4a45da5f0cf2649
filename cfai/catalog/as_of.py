"""The day whose models, limits and wire form are meant."""

from __future__ import annotations

import re
from datetime import date

__all__ = ["parse_as_of"]

# date.fromisoformat takes 20231114 and 2023-W46-2 as well; one form is enough, and it is the one that docs use.
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_as_of(text: str) -> date:
    """The date that `text` spells, `YYYY-MM-DD`; a ValueError that says so for anything else.

    ```python
    parse_as_of("2023-11-14")  # date(2023, 11, 14)
    ```
    """
    problem = f"as_of must be a day in the form YYYY-MM-DD, for example 2023-11-14, not {text[:40]!r}"
    if not _FORM.fullmatch(text):
        raise ValueError(problem)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{problem}: the calendar has no such day") from None
