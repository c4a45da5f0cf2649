"""What the doctor says of one place in a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Finding", "Level"]

Level = Literal["error", "warning", "note"]
"""It fails on Cloudflare or here; it may; it is good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that would break, where, why, and what to do about it."""

    level: Level
    file: Path | None
    line: int | None
    what: str
    why: str = ""
    fix: str = ""
