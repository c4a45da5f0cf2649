"""`cfai verify`: whether weights are what they were when they came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cfai.catalog import Catalog
from cfai.errors import EngineFailure, WeightsMissing
from cfai.weights.digest import Digest
from cfai.weights.finding import find, repositories, repository_folder, with_imported
from cfai.weights.layout import read_header, weight_files
from cfai.weights.made import int8_folders, problem_of_int8
from cfai.weights.records import Record
from cfai.weights.source import Source

__all__ = ["Verdict", "here", "verify"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the weights of one name."""

    name: str
    folder: Path
    files: int
    """With a checksum that was looked at."""
    size: int
    """Bytes of them."""
    commit: str | None = None
    problems: list[str] = field(default_factory=list)
    """What is wrong with them, and with what was made of them."""
    is_damaged: bool = False
    """Whether they are wrong themselves: what was made of them is made again by the next load."""

    @property
    def is_good(self) -> bool:
        return not self.problems


def here(catalog: Catalog | None = None) -> list[str]:
    """The names of what was fetched or imported, by cfai or by others.

    ```python
    here()  # ['@cf/my/llama', 'NousResearch/Llama-2-7b-chat-hf']
    ```
    """
    names = {record.name for record in Record.all()}
    for model in (catalog or Catalog.builtin()).models():
        names.update(repo for repo in repositories(model) if repository_folder(repo) is not None)
    return sorted(names)


def verify(
    name: str,
    *,
    catalog: Catalog | None = None,
    source: Source | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Verdict:
    """Read all files of a model, or of a repository, and compare their checksums, and int8 weights made of them.

    ```python
    verify("@cf/meta/llama-2-7b-chat-int8").problems  # ['model.safetensors has other bytes than it came with']
    ```

    source    what the user named for the model, as `find` takes it
    progress  called with a file's name and the bytes of each chunk that was read

    What `pull` or `import` brought has the checksums of that day, what other programs put into the hub's cache has them
    in the names of its files, and of a folder without any only the headers are looked at. Damaged weights that `pull`
    brought are not found any more until they are pulled again. Raises `WeightsMissing` for a name that nothing has.
    """
    record, folder = _located(name, catalog or with_imported(Catalog.builtin()), source)
    files = dict(_of_record(record) if record is not None else _of_cache(folder))
    problems = [problem for file, digest in files.items() if (problem := _problem(folder, file, digest, progress))]
    problems += _unsound(folder)
    is_damaged = bool(problems)
    if record is not None and is_damaged != record.damaged:
        replace(record, damaged=is_damaged).write()
    made = [file for each in int8_folders(folder) for file in sorted(each.glob("*.safetensors"))]
    problems += [problem for file in made if (problem := problem_of_int8(file)) is not None]
    size = sum((folder / file).stat().st_size for file in files if (folder / file).is_file())
    commit = record.commit if record is not None else None
    return Verdict(name, folder, len(files), size, commit, problems, is_damaged)


def _located(name: str, catalog: Catalog, source: Source | None) -> tuple[Record | None, Path]:
    if source is not None:
        record = Record.read(source.place) if source.is_repository else None
        if record is not None:
            return record, Path(record.folder)
        return None, find(catalog.get(name), source, offline=True)
    if (record := Record.read(name)) is not None:
        return record, Path(record.folder)
    if name.startswith("@"):
        model = catalog.get(name)
        for repo in repositories(model):
            if (record := Record.read(repo)) is not None:
                return record, Path(record.folder)
        return None, find(model)
    if (folder := repository_folder(name)) is not None:
        return None, folder
    raise WeightsMissing(f"{name} is not on this machine", hint=f"fetch it with `cfai pull {name}`")


def _of_record(record: Record) -> Iterator[tuple[str, Digest]]:
    for name in record.files:
        yield name, record.digest(name)


def _of_cache(folder: Path) -> Iterator[tuple[str, Digest]]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink():  # to a file that is named after its checksum
            value = path.resolve().name
            if len(value) in (40, 64):
                yield path.name, Digest("git" if len(value) == 40 else "sha256", value)


def _problem(folder: Path, name: str, digest: Digest, progress: Callable[[str, int], None] | None) -> str | None:
    try:
        if digest.matches(folder / name, None if progress is None else lambda count: progress(name, count)):
            return None
    except FileNotFoundError:
        return f"{name} is not there"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return f"{name} has other bytes than it came with"


def _unsound(folder: Path) -> Iterable[str]:
    try:
        for file in weight_files(folder):
            read_header(file)
    except (EngineFailure, WeightsMissing) as error:
        yield error.description
    except OSError as error:
        yield str(error)
