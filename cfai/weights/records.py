"""What was fetched or imported: one small file each in cfai's home, written when everything else is there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from cfai.weights.digest import Digest
from cfai.weights.home import home

__all__ = ["FileRecord", "Record", "folder_name", "write_whole"]

LONGEST = 200
"""Characters of a file's name here."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Length and checksum of a file."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Record:
    """Weights that are on this machine, and what they were when they came.

    ```python
    Record.read("NousResearch/Llama-2-7b-chat-hf").commit  # '351844e75ed0bcbbe3f10671b3c808d2b83894ee'
    ```
    """

    name: str
    """A repository for what was fetched, a model id for what was imported."""
    kind: Literal["pulled", "imported"]
    folder: str
    origin: str
    """The address of the hub, or the path of what was imported."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    """By name in the folder."""
    revision: str | None = None
    """What was asked for, a branch or a tag."""
    commit: str | None = None
    """What it was when it was asked for."""
    damaged: bool = False
    """Whether `verify` found other bytes than those that came."""

    @classmethod
    def read(cls, name: str) -> Record | None:
        """The record of that name; None if there is none, or none that can be read."""
        return _read(_path(name))

    @classmethod
    def all(cls) -> list[Record]:
        """Every record, in the order of the names."""
        found = map(_read, (home() / "weights").glob("*.json"))
        return sorted((record for record in found if record is not None), key=lambda record: record.name)

    @property
    def is_there(self) -> bool:
        """Whether the folder has all the files, at their length, and nobody found them damaged."""
        try:
            return not self.damaged and all(
                (Path(self.folder) / name).stat().st_size == file.size for name, file in self.files.items()
            )
        except OSError:
            return False

    def digest(self, name: str) -> Digest:
        return Digest.parse(self.files[name].digest)

    def write(self) -> None:
        write_whole(_path(self.name), json.dumps(asdict(self), indent=1).encode())

    def forget(self) -> None:
        """Remove the record, and nothing else."""
        _path(self.name).unlink(missing_ok=True)


def folder_name(name: str) -> str:
    """A model id or a repository as the name of a file, which no other one has.

    ```python
    folder_name("@cf/meta/llama")  # '@cf%2Fmeta%2Fllama'
    ```
    """
    quoted = quote(name, safe="@")
    # File systems take 255 bytes, and a path may have more.
    return quoted if len(quoted) < LONGEST else f"{quoted[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def write_whole(file: Path, data: bytes) -> None:
    """Write a file that others find whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def _path(name: str) -> Path:
    return home() / "weights" / f"{folder_name(name)}.json"


def _read(path: Path) -> Record | None:
    try:
        row: dict[str, Any] = json.loads(path.read_bytes())
        return Record(**{**row, "files": {name: FileRecord(**file) for name, file in row["files"].items()}})
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
