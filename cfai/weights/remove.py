"""`cfai rm`: weights off this machine, with what cfai made of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cfai.catalog import Catalog
from cfai.errors import WeightsMissing
from cfai.weights.finding import repositories, with_imported
from cfai.weights.home import home, hub_cache
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
    """What goes with all that is in it."""
    files: list[Path]
    """What goes out of a folder of the user's own."""
    repo: str | None
    """What goes out of the hub's cache."""

    def execute(self) -> None:
        """Remove it. Raises `WeightsMissing` while another process fetches it, and an OSError."""
        with _undisturbed(self.repo):
            if (record := Record.read(self.name)) is not None:
                record.forget()
            (home() / "weights" / f"{folder_name(self.name)}.begun").unlink(missing_ok=True)
            for file in self.files:
                file.unlink(missing_ok=True)
            for folder in self.folders:
                shutil.rmtree(folder)
                with contextlib.suppress(OSError):  # something else is there
                    folder.parent.rmdir()
            if self.repo is not None:
                _remove_from_cache(self.repo)


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
    if Record.read(name) is not None or is_repository_name(name):
        return [name]
    if name.startswith("@"):
        return repositories(catalog.get(name))
    raise WeightsMissing(f"{name!r} is no name of a repository, such as org/name, and no model id")


def _removal(name: str, catalog: Catalog) -> Removal | None:
    record = Record.read(name)
    is_repository = is_repository_name(name)
    cached = Cache(name).folder if is_repository else None
    repo = name if cached is not None and cached.is_dir() else None
    folders: list[Path] = []
    files: list[Path] = []
    snapshots = list((cached / "snapshots").glob("*")) if cached is not None else []
    if record is not None and record.kind == "imported":
        folders.append(home() / "weights" / folder_name(name))
        snapshots.append(Path(record.folder))
    elif record is not None and hub_cache() not in Path(record.folder).parents:
        own = Path(record.folder)
        files += [own / file for file in record.files if (own / file).is_file()]
        folders.append(own / ".cfai")
        snapshots.append(own)
    folders += [made for folder in snapshots for made in int8_folders(folder)]
    folders = [folder for folder in folders if folder.is_dir()]
    if record is None and repo is None:
        return None
    all_of = [*folders, *([cached] if repo is not None and cached is not None else [])]
    inside = {path for folder in all_of for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    models = [model.id for model in catalog.models() if name in repositories(model)] if is_repository else [name]
    size = sum(path.stat().st_size for path in inside.union(files))
    return Removal(name, models, size, folders, files, repo)


@contextlib.contextmanager
def _undisturbed(repo: str | None) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        if repo is not None:
            from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # no list of what it exports

            lock = Cache(repo).lock
            lock.parent.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(WeakFileLock(lock, timeout=0.05))
            except TimeoutError as error:
                raise WeightsMissing(f"another process fetches {repo}", hint="end it first") from error
        yield


def _remove_from_cache(repo: str) -> None:
    from huggingface_hub import scan_cache_dir

    cache = scan_cache_dir(hub_cache())
    revisions = [
        revision.commit_hash
        for cached in cache.repos
        if cached.repo_id == repo and cached.repo_type == "model"
        for revision in cached.revisions
    ]
    if revisions:
        cache.delete_revisions(*revisions).execute()
    # Of what was never whole the hub's own tools know nothing.
    shutil.rmtree(Cache(repo).folder, ignore_errors=True)
