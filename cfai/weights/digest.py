"""Checksums of files, as the hub has them: sha256 for what it keeps as large files, git's own for the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["Digest", "Hash", "digest_of"]

CHUNK = 1 << 20


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum and its kind.

    ```python
    Digest("git", "557db03de997c86a4a028e1ebd3a1ceb225be238").matches(Path("hello"))  # True for "Hello World\\n"
    ```
    """

    kind: Literal["sha256", "git"]
    """`git` is the sha1 that git gives a file: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects"""
    value: str

    def begin(self, size: int) -> Hash:
        """A hash to feed a file of `size` bytes into."""
        return hashlib.sha256() if self.kind == "sha256" else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def matches(self, file: Path, progress: Callable[[int], None] | None = None) -> bool:
        """Whether `file` has this checksum; `progress` is called with the bytes of each chunk that is read."""
        return digest_of(file, self.kind, progress) == self

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """What `str` made of one; a ValueError for anything else."""
        kind, _, value = text.partition(":")
        if kind not in ("sha256", "git"):
            raise ValueError(f"{text!r} is no checksum")
        return cls("sha256" if kind == "sha256" else "git", value)


def digest_of(
    file: Path, kind: Literal["sha256", "git"] = "sha256", progress: Callable[[int], None] | None = None
) -> Digest:
    """The checksum of `file`.

    ```python
    digest_of(Path("model.safetensors")).value  # '9f86d081884c7d65...'
    ```
    """
    hashed = Digest(kind, "").begin(file.stat().st_size)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            hashed.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return Digest(kind, hashed.hexdigest())
