"""What a tape complains of. All of it concerns the test, not the model, so that none of it is an `AiError`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BadTape", "NotOnTape", "TapeEnds", "TapeError", "UntrueTape"]


class TapeError(Exception):
    """Something is wrong with a tape, or with what is asked of it."""


class BadTape(TapeError, ValueError):
    """The file is no tape that can be read. It is left as it is."""

    def __init__(self, path: Path, line: int | None, problem: str, remedy: str) -> None:
        where = f"{path}, line {line}" if line else f"{path}"
        super().__init__(f"{where}: {problem}; {remedy}")
        self.path = path
        self.line = line


class NotOnTape(TapeError, AssertionError):
    """A call that no entry answers, and that the record mode does not record."""


class TapeEnds(TapeError, AssertionError):
    """A stream is read further than it was when it was recorded, or was recorded without a single byte."""


class UntrueTape(TapeError, AssertionError):
    """Entries that nothing asked for, or that could not be recorded like this any more."""
