"""Which lines a failure shows: those of the user, not those of cfai between them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

__all__ = ["hide_our_frames", "is_the_users"]

_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_NOBODYS = (f"{Path(os.__file__).parent}{os.sep}", "<")


def hide_our_frames(error: BaseException) -> None:
    """Have pytest leave cfai's files, and what they call, out of a traceback in which lines of the user's remain.

    As with all that pytest hides, `--full-trace` shows them.
    """
    tracebacks = [_frames(each) for each in _chain(error)]
    if not any(is_the_users(frame.f_code.co_filename) for frames in tracebacks for frame in frames):
        return
    for frames in tracebacks:
        ours = list(_ours(frames))
        if ours and not any(is_the_users(frame.f_code.co_filename) for frame in frames):
            ours.pop()  # of a cause without a line of the user's the last one: pytest shows one at least
        for frame in ours:
            frame.f_locals["__tracebackhide__"] = True


def _ours(frames: Sequence[FrameType]) -> Iterator[FrameType]:
    within = False
    for frame in frames:
        within = frame.f_code.co_filename.startswith(_OURS) or (within and not is_the_users(frame.f_code.co_filename))
        if within:
            yield frame


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those before it that a report shows."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _frames(error: BaseException) -> list[FrameType]:
    frames = []
    at = error.__traceback__
    while at is not None:
        frames.append(at.tb_frame)
        at = at.tb_next
    return frames


def is_the_users(file: str) -> bool:
    """Whether a line in that file is the test's or the program's: not cfai's, not Python's, not of a package."""
    return not file.startswith((_OURS, *_NOBODYS)) and f"{os.sep}site-packages{os.sep}" not in file
