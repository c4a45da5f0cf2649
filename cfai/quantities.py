"""Sizes of memory and spans of time, as people write them."""

from __future__ import annotations

import math
import re

__all__ = ["FOREVER", "parse_duration", "parse_size", "shown_size"]

FOREVER = -1.0
"""A span of time without an end, as Ollama writes it too."""

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kmgt]i?)?b?", re.ASCII | re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


def parse_size(size: str | int) -> int:
    """Bytes: of a number, or of a text with a unit, GB for 10^9 and GiB for 2^30; a ValueError for anything else.

    ```python
    parse_size("8GB"), parse_size("1.5GiB")  # (8000000000, 1610612736)
    ```
    """
    found = _SIZE.fullmatch(str(size).strip())
    if found is None or isinstance(size, bool) or not (size_in_bytes := _bytes(found)):
        raise ValueError(f"a size is a number and a unit, such as 8GB or 512MiB, not {str(size)[:40]!r}")
    return size_in_bytes


def _bytes(found: re.Match[str]) -> int:
    return round(float(found[1]) * _BYTES[(found[2] or "").lower()]) if len(found[1]) < 30 else 0


def shown_size(size: int) -> str:
    """Bytes in the largest unit that leaves a whole number before the point.

    ```python
    shown_size(8_000_000_000), shown_size(1_550_000)  # ('8 GB', '1.6 MB')
    ```
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= unit:
            return f"{round(size / unit, 1):g} {name}"
    return f"{size} bytes"


def parse_duration(duration: str | float) -> float:
    """Seconds: of a number, or of a text such as `10m` or `1h30m`; what is negative is `FOREVER`.

    ```python
    parse_duration("10m"), parse_duration("300"), parse_duration(-1)  # (600.0, 300.0, -1.0)
    ```

    A ValueError for anything else.
    """
    text = str(duration).strip()
    if _NUMBER.fullmatch(text) and not isinstance(duration, bool):
        seconds = float(text)
    elif text and not _PART.sub("", text):
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))
    else:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"a time is seconds, or a text such as 10m or 1h30m, or -1 for ever, not {text[:40]!r}")
    return FOREVER if seconds < 0 else seconds
