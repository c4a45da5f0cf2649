"""Where the files of a repository go: into the hub's own cache, or into a folder that the user names."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from cfai.weights.home import hub_cache
from cfai.weights.listing import HubFile, Listing
from cfai.weights.records import write_whole

__all__ = ["Cache", "Folder", "Store"]


class Store(Protocol):
    """The places of a repository's files while they come, and when all are there."""

    root: Path
    """What must have room for them."""

    def place(self, file: HubFile) -> Path: ...

    def partial(self, file: HubFile) -> Path: ...

    @property
    def lock(self) -> Path:
        """Held by the one process that fetches."""

    def finish(self, listing: Listing, files: Iterable[HubFile]) -> Path:
        """Make a checkpoint folder of files that are in their places."""


class Cache:
    """The hub's cache, laid out as https://huggingface.co/docs/huggingface_hub/guides/manage-cache says.

    ```python
    Cache("org/name").place(file)  # .../hub/models--org--name/blobs/9f86d081884c7d65...
    Cache("org/name").folder  # .../hub/models--org--name, with all revisions
    ```
    """

    def __init__(self, repo: str, root: Path | None = None) -> None:
        name = f"models--{repo.replace('/', '--')}"
        self.root = root or hub_cache()
        self.folder = self.root / name
        self.lock = self.root / ".locks" / name / "cfai-pull.lock"

    def place(self, file: HubFile) -> Path:
        return self.folder / "blobs" / file.digest.value

    def partial(self, file: HubFile) -> Path:
        # The ending by which the hub's own tools know what is left over.
        return self.folder / "blobs" / f"{file.digest.value}.cfai.incomplete"

    def finish(self, listing: Listing, files: Iterable[HubFile]) -> Path:
        snapshot = self.folder / "snapshots" / listing.commit
        snapshot.mkdir(parents=True, exist_ok=True)
        # The config last: where it is, all is.
        for file in sorted(files, key=lambda file: file.name == "config.json"):
            _point(snapshot / file.name, self.place(file))
        if listing.revision != listing.commit:
            write_whole(self.folder / "refs" / listing.revision, listing.commit.encode())
        return snapshot


class Folder:
    """A folder of the user's own.

    ```python
    Folder(Path("llama")).place(file)  # PosixPath('llama/config.json')
    ```
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.lock = folder / ".cfai" / "pull.lock"

    def place(self, file: HubFile) -> Path:
        return self.root / file.name

    def partial(self, file: HubFile) -> Path:
        return self.root / ".cfai" / f"{file.name}.incomplete"

    def finish(self, listing: Listing, files: Iterable[HubFile]) -> Path:
        return self.root


def _point(link: Path, blob: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if link.samefile(blob):
            return
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        partial.symlink_to(os.path.relpath(blob, link.parent))
    except OSError:  # Windows asks for a privilege
        try:
            partial.hardlink_to(blob)
        except OSError:
            shutil.copyfile(blob, partial)
    partial.replace(link)
