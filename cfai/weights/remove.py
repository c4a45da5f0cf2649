"""`cfai rm`: weights off this machine, with what cfai made of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cfai.catalog import Catalog
from cfai.errors import WeightsMissing
from cfai.weights.finding import repositories, with_imported
from cfai.weights.home import home, hub_cache
from cfai.weights.lock import alone
from cfai.weights.made import int8_folders
from cfai.weights.records import Record, folder_name
from cfai.weights.source import is_repository_name
from cfai.weights.store import Cache

__all__ = ["Removal", "removal_of"]


@dataclass(frozen=True, slots=True)
class Removal:
    """What will be removed, and who has it.

    ```python
    removal = removal_of("@cf/meta/llama-2-7b-chat-int8")
    removal.size  # 13480000000
    removal.execute()
    ```
    """

    name: str
    """A model id or a repository."""
    models: list[str]
    """The models of the catalog whose weights these are."""
    size: int
    """Bytes that become free."""
    folders: list[Path]
    """What goes with all that is in it, a folder before the one that it is in."""
    files: list[Path]
    """What goes out of a folder of the user's own."""
    locks: list[Path]
    """Held by whoever fetches or imports it."""

    def execute(self) -> None:
        """Remove it. Raises `WeightsMissing` while another process fetches or imports it, and an OSError."""
        with _undisturbed(self.name, self.locks):
            if (record := Record.read(self.name)) is not None:
                record.forget()
            (home() / "weights" / f"{folder_name(self.name)}.begun").unlink(missing_ok=True)
            for file in self.files:
                file.unlink(missing_ok=True)
            for folder in self.folders:
                _remove(folder)


def removal_of(name: str, *, catalog: Catalog | None = None) -> Removal:
    """What `cfai rm` of a model, or of a repository, would remove: all revisions of it, and what is half fetched.

    ```python
    removal_of("org/name").size  # 13480000000
    ```

    Raises `WeightsMissing` if nothing of it is here, and `NoSuchModel`.
    """
    catalog = catalog or with_imported(Catalog.builtin())
    found = [removal for one in _names(name, catalog) if (removal := _removal(one, catalog)) is not None]
    if not found:
        raise WeightsMissing(f"nothing of {name} is on this machine that cfai could remove")
    return found[0]


def _names(name: str, catalog: Catalog) -> list[str]:
    if Record.read(name) is not None or is_repository_name(name) or _own(name).is_dir():
        return [name]
    if name.startswith("@"):
        return repositories(catalog.get(name))
    raise WeightsMissing(f"{name!r} is no name of a repository, such as org/name, and no model id")


def _removal(name: str, catalog: Catalog) -> Removal | None:
    record = Record.read(name)
    is_repository = is_repository_name(name)
    caches = _caches(name, record) if is_repository else []
    own = _own(name)
    if record is None and not caches and not own.is_dir():
        return None
    folders = [cache.folder for cache in caches]
    files: list[Path] = []
    locks = [cache.lock for cache in caches]
    checkpoints = [snapshot for cache in caches for snapshot in (cache.folder / "snapshots").glob("*")]
    if own.is_dir():  # imported, or half of it
        folders.append(own)
        locks.append(own.with_name(f"{own.name}.lock"))
        checkpoints += own.iterdir()
    elif record is not None and Path(record.folder) not in checkpoints:
        mine = Path(record.folder)
        files += [mine / file for file in record.files if (mine / file).is_file()]
        folders.append(mine / ".cfai")
        checkpoints.append(mine)
    folders += [made for folder in checkpoints for made in int8_folders(folder)]
    folders = sorted((folder for folder in folders if folder.is_dir()), key=lambda folder: -len(folder.parts))
    inside = {path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    models = [model.id for model in catalog.models() if name in repositories(model)] if is_repository else [name]
    size = sum(path.stat().st_size for path in inside.union(files))
    return Removal(name, models, size, folders, files, locks)


def _own(name: str) -> Path:
    """Where what is imported under a name is."""
    return home() / "weights" / folder_name(name)


def _caches(repo: str, record: Record | None) -> list[Cache]:
    """The hub's caches that have something of a repository: the one of today, and the one that it was fetched into."""
    roots = [hub_cache()]
    if record is not None:
        roots += Path(record.folder).parents[2:3]
    found = [Cache(repo, root) for root in dict.fromkeys(roots)]
    return [cache for cache in found if (cache.folder / "blobs").is_dir() or (cache.folder / "snapshots").is_dir()]


@contextlib.contextmanager
def _undisturbed(name: str, locks: list[Path]) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        for lock in locks:
            held.enter_context(alone(lock, on_wait=lambda: _refuse(name)))
        yield


def _refuse(name: str) -> NoReturn:
    raise WeightsMissing(f"another process fetches or imports {name}", hint="end it first")


def _remove(folder: Path) -> None:
    shutil.rmtree(folder.resolve())
    if folder.is_symlink():  # to a disk with more room
        folder.unlink()
    with contextlib.suppress(OSError):  # something else is there
        folder.parent.rmdir()
