"""The file of a tape: read whole, and replaced whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from cfai.bindings.tape.entries import Tape
from cfai.bindings.tape.errors import BadTape
from cfai.bindings.tape.layout import written
from cfai.bindings.tape.reading import read, version_of

__all__ = ["check_is_tape", "load", "save"]


def load(path: Path) -> Tape | None:
    """The tape in that file; None if there is no such file. Raises `BadTape`."""
    text = _text(path)
    return None if text is None else read(text, path)


def check_is_tape(path: Path) -> None:
    """Raise `BadTape` for a file that is there and no tape of any version, and so is not to be replaced by one."""
    if (text := _text(path)) is not None:
        version_of(text, path)


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadTape(path, line, "this is no UTF-8", "restore it from version control, or delete it") from error
    except OSError as error:
        raise BadTape(path, None, f"it cannot be read: {error.strerror or error}", "name another file") from error


def save(tape: Tape, path: Path) -> None:
    """Write the file, its folder too; whatever happens on the way, the old file stays until the new one is complete."""
    text = written(tape)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # a link stays one
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with fresh.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            fresh.chmod(target.stat().st_mode & 0o777)
        fresh.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    _keep_name(target.parent)


def _keep_name(folder: Path) -> None:
    """Have the new name of the file survive a power cut as well, where a folder can be synchronised."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
