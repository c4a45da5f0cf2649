"""The files of an assets directory: which of them are served, their types, their tags, and their bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from cfai.worker.bindings.ignore_rules import IgnoreRules
from cfai.worker.bindings.media_types import content_type_of

__all__ = ["File", "Folder", "read"]

_CHUNK = 256 << 10

# Wrangler's own files in the folder, which it does not serve either.
_ITS_OWN = ("/.assetsignore", "/_headers", "/_redirects")
# Cloudflare would serve these. A project whose folder is its assets directory must not show its secrets.
_SECRET = (".dev.vars", ".env", ".git", ".wrangler")


@dataclass(frozen=True, slots=True)
class File:
    """One file that may be served."""

    path: Path
    size: int
    tag: str
    """A hash of what is in it."""
    content_type: str | None


class Folder:
    """The files under `directory`, by their path from there: `/img/a.png`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._tags: dict[Path, tuple[tuple[int, int, int], str]] = {}
        rules = self._text(".assetsignore")
        self._ignored = IgnoreRules(rules) if rules else None

    def has(self, name: str) -> bool:
        """Whether there is such a file, and it is to be served."""
        return self._found(name) is not None

    def file(self, name: str) -> File:
        """The file; FileNotFoundError if it is gone, or is not one that is served."""
        path = self._found(name)
        if path is None:
            raise FileNotFoundError(name)
        with path.open("rb") as opened:
            about = os.fstat(opened.fileno())
            state = (about.st_mtime_ns, about.st_size, about.st_ino)
            known = self._tags.get(path)
            if known is None or known[0] != state:
                known = (state, hashlib.file_digest(opened, "sha256").hexdigest()[:32])
                self._tags[path] = known
        return File(path, about.st_size, known[1], content_type_of(name))

    def _found(self, name: str) -> Path | None:
        parts = name.split("/")[1:]
        if not name.startswith("/") or not all(map(_is_plain, parts)) or name in _ITS_OWN:
            return None
        if self._ignored is not None and self._ignored.ignores(name):
            return None
        path = self.directory.joinpath(*parts)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                return None
            # A link may lead out of the folder: what counts is where the file really is.
            inside = path.resolve(strict=True).is_relative_to(self.directory)
        except (OSError, ValueError):
            return None
        return path if inside else None

    @property
    def header_rules(self) -> str:
        """The text of `_headers`, empty if there is no such file."""
        return self._text("_headers")

    @property
    def redirect_rules(self) -> str:
        """The text of `_redirects`, empty if there is no such file."""
        return self._text("_redirects")

    def _text(self, name: str) -> str:
        try:
            return (self.directory / name).read_text("utf-8-sig", "replace")
        except OSError:
            return ""


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and not any(c in part for c in "\0\\") and not part.startswith(_SECRET)


async def read(file: File, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of `file` from `start` up to `end`, some at a time."""
    async with await anyio.open_file(file.path, "rb") as opened:
        await opened.seek(start)
        left = end - start
        while left > 0:
            chunk = await opened.read(min(_CHUNK, left))
            if not chunk:
                raise OSError(f"{file.path} became shorter while it was sent")
            left -= len(chunk)
            yield chunk
