"""`cfai pull`: weights from the hub, checked before they are fetched, while they come, and when they are there."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from cfai.catalog import Catalog, Model
from cfai.errors import EngineFailure, WeightsMissing
from cfai.weights.architecture import check_architecture
from cfai.weights.download import download
from cfai.weights.finding import repositories
from cfai.weights.home import home, is_offline
from cfai.weights.hub import Hub, HubUnreachable
from cfai.weights.layout import INDEX, SINGLE, weight_names
from cfai.weights.listing import HubFile, Listing
from cfai.weights.lock import ROOM_LEFT, alone
from cfai.weights.records import FileRecord, Record, folder_name, write_whole
from cfai.weights.source import is_repository_name
from cfai.weights.store import Cache, Folder, Store
from cfai.weights.watcher import NobodyWatches, Watcher

__all__ = ["Pulled", "pull"]

AT_ONCE = 4
"""Files that are fetched at the same time."""

MUCH = 256 * 1024 * 1024
"""Bytes of weights that take longer to fetch than it takes to ask transformers whether they can be loaded."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What `pull` found or fetched."""

    record: Record
    missing: int
    """Bytes that were not here, and with `dry_run` still are not."""

    @property
    def folder(self) -> Path:
        return Path(self.record.folder)


def pull(
    name: str,
    *,
    catalog: Catalog | None = None,
    revision: str | None = None,
    local_dir: Path | None = None,
    offline: bool | None = None,
    dry_run: bool = False,
    watcher: Watcher | None = None,
    hub: Hub | None = None,
) -> Pulled:
    """Fetch the weights of a model, or of a repository, unless they are here.

    ```python
    pull("@cf/meta/llama-2-7b-chat-int8").folder  # .../models--meta-llama--Llama-2-7b-chat-hf/snapshots/f5db02db...
    ```

    name       a model id of the catalog, or a repository: `org/name`
    revision   a branch, a tag or a commit; by default what was fetched before, else what the catalog names, else the
               main branch. It is looked up once, and what it was is recorded
    local_dir  a folder for the files in place of the hub's cache
    offline    open no connection; default what `is_offline` says
    dry_run    fetch nothing but what has to be looked at

    One process fetches a repository, the others wait for it. Raises `NoSuchModel`, `WeightsMissing` with what to do
    where there are none, or none that run here, and `HubUnreachable`, after which the same call goes on where this one
    ended.
    """
    watcher = watcher or NobodyWatches()
    local_dir = None if local_dir is None else local_dir.expanduser().resolve()
    model = (catalog or Catalog.builtin()).get(name) if name.startswith("@") else None
    repo = name if model is None else _repository(model)
    if revision is None and model is not None and model.weights is not None and repo == model.weights.repo:
        revision = model.weights.revision
    if not is_repository_name(repo):
        raise WeightsMissing(f"{repo!r} is no name of a repository, such as org/name, and no model id, such as @cf/...")
    if (record := _here(repo, revision, local_dir)) is not None:
        return Pulled(record, 0)
    if is_offline() if offline is None else offline:
        if (record := _here(repo, None, local_dir)) is not None and record.revision == revision:
            return Pulled(record, 0)
        raise WeightsMissing(
            f"{repo} is not on this machine, and connections are switched off",
            hint="run it without --offline, CFAI_OFFLINE and HF_HUB_OFFLINE where there is a network",
        )
    store: Store = Cache(repo) if local_dir is None else Folder(local_dir)
    try:
        waits = f"another process fetches {repo}; waiting for it"
        with alone(store.lock, on_wait=lambda: watcher.says(waits)):
            # The one that was waited for may have fetched it.
            if (record := _here(repo, revision, local_dir)) is not None:
                return Pulled(record, 0)
            return _fetch(hub or Hub(), store, repo, revision, watcher, local_dir=local_dir, dry_run=dry_run)
    except WeightsMissing as problem:
        copy = model.weights.ungated_repo if model is not None and model.weights is not None else None
        if copy is not None and "is gated" in str(problem):
            problem.hint += f"; or take the same weights from where nothing is asked: `cfai pull {copy}`"
        raise
    except OSError as error:
        raise WeightsMissing(
            f"{repo} cannot be kept in {store.root}: {error.strerror or error}",
            hint="HF_HUB_CACHE and --local-dir name another place",
        ) from error


def _repository(model: Model) -> str:
    if not model.generates_text:
        raise WeightsMissing(f"{model.id} does not run here: its task is {model.task}")
    if model.bundled is not None:
        raise WeightsMissing(f"{model.id} is part of the package: nothing has to be fetched")
    if model.weights is None:
        raise WeightsMissing(
            f"no public weights are known for {model.id}",
            hint=f"`cfai import {model.id} FOLDER` gives it those that you have",
        )
    return next((repo for repo in repositories(model) if _here(repo, None, None)), model.weights.repo)


def _here(repo: str, revision: str | None, local_dir: Path | None) -> Record | None:
    record = Record.read(repo)
    if record is None or not record.is_there or revision not in (None, record.commit):
        return None
    return record if local_dir is None or Path(record.folder) == local_dir else None


def _fetch(
    hub: Hub,
    store: Store,
    repo: str,
    revision: str | None,
    watcher: Watcher,
    *,
    local_dir: Path | None,
    dry_run: bool,
) -> Pulled:
    begun = home() / "weights" / f"{folder_name(repo)}.begun"
    listing = _look(hub, repo, revision, begun)
    watcher.says(f"{repo}: {listing.revision} is {listing.commit}")
    if (record := _here(repo, listing.commit, local_dir)) is not None:
        return Pulled(record, 0)
    listing.check()
    if local_dir is not None:
        _check_others(store, listing)
    write_whole(begun, f"{listing.revision} {listing.commit}".encode())
    parts = _Parts(hub, store, listing)
    parts.fetch([file for file in listing.small if file.name in ("config.json", INDEX)], NobodyWatches())
    weights = listing.weights(_names(store, listing))
    check_architecture(_config(store, listing), repo, thoroughly=sum(file.size for file in weights) > MUCH)
    files = [*listing.small, *weights]
    record = Record(
        name=repo,
        kind="pulled",
        folder=str(store.root),
        origin=hub.endpoint,
        files={file.name: FileRecord(file.size, str(file.digest)) for file in files},
        revision=listing.revision,
        commit=listing.commit,
    )
    size, missing = sum(file.size for file in files), sum(map(parts.missing, files))
    _check_room(store.root, missing, repo)
    if dry_run:
        return Pulled(record, missing)
    watcher.begins(len(files), size, size - missing)
    parts.fetch(files, watcher)
    record = replace(record, folder=str(store.finish(listing, files)))
    record.write()
    begun.unlink(missing_ok=True)
    return Pulled(record, missing)


def _look(hub: Hub, repo: str, revision: str | None, begun: Path) -> Listing:
    """The listing of what was asked for, or of what an earlier pull has begun, whose branch may have moved since."""
    damaged = Record.read(repo)
    if revision is None and damaged is not None and damaged.damaged and damaged.commit:
        return replace(hub.look(repo, damaged.commit), revision=damaged.revision or damaged.commit)
    if revision is None and begun.is_file():
        asked, _, commit = begun.read_text().partition(" ")
        try:
            return replace(hub.look(repo, commit), revision=asked)
        except HubUnreachable:
            raise
        except WeightsMissing:  # a branch that was rewritten
            begun.unlink()
    return hub.look(repo, revision)


def _check_others(store: Store, listing: Listing) -> None:
    """Raise `WeightsMissing` rather than write over a file of the user's own."""
    record = Record.read(listing.repo)
    if record is not None and Path(record.folder) == store.root:
        return
    for file in listing.files:
        place = store.place(file)
        if "/" not in file.name and place.is_file() and not file.digest.matches(place):
            raise WeightsMissing(
                f"{place} is another file than that of {listing.repo}, and nothing is written over it",
                hint="let --local-dir name an empty folder, or move the file away",
            )


def _config(store: Store, listing: Listing) -> Mapping[str, Any]:
    file = listing.file("config.json")
    assert file is not None
    try:
        config = json.loads(store.place(file).read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsMissing(f"{listing.repo} is damaged: its config.json is not JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def _names(store: Store, listing: Listing) -> list[str]:
    if (index := listing.file(INDEX)) is None:
        return [SINGLE]
    try:
        return weight_names(store.place(index).read_bytes())
    except EngineFailure as error:
        raise WeightsMissing(f"{listing.repo} is damaged: {error.description}") from error


def _check_room(folder: Path, missing: int, repo: str) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if missing + ROOM_LEFT > free:
        raise WeightsMissing(
            f"{repo} needs {decimal(missing)} more in {folder}, where {decimal(free)} are free",
            hint=f"make {decimal(missing + ROOM_LEFT - free)} free (`cfai rm MODEL` removes other weights), or name "
            "another place with --local-dir or HF_HUB_CACHE",
        )


class _Parts:
    """The files of one listing on their way into a store."""

    def __init__(self, hub: Hub, store: Store, listing: Listing) -> None:
        self._hub = hub
        self._store = store
        self._listing = listing
        self._stop = threading.Event()

    def missing(self, file: HubFile) -> int:
        """Bytes that are not on this machine."""
        for path in (self._store.place(file), self._store.partial(file)):
            if path.is_file():
                return max(file.size - path.stat().st_size, 0)
        return file.size

    def fetch(self, files: Sequence[HubFile], watcher: Watcher) -> None:
        """Bring them all to their places, several at the same time."""
        blobs = {self._store.place(file): file for file in files}  # two names may have the same bytes
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="cfai-pull")
        try:
            running = [pool.submit(self._bring, file, watcher) for file in blobs.values()]
            for one in as_completed(running):
                one.result()
        except BaseException as error:
            self._stop.set()
            # Somebody at the keyboard does not wait for a connection that brings nothing.
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        pool.shutdown()

    def _bring(self, file: HubFile, watcher: Watcher) -> None:
        to, partial = self._store.place(file), self._store.partial(file)
        download(self._hub, self._listing, file, to=to, partial=partial, watcher=watcher, stop=self._stop)
