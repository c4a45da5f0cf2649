"""`cfai import`: a checkpoint that the user has, checked and taken into cfai's home under a model's id.

Files go one by one into a folder `partial`, each under another name until it is whole, and a journal says what has
come; an import that was interrupted goes on behind the last whole file. When all is there the folder is renamed after
what is in it, and the record that `find` reads names it: before that nothing of it is found.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.filesize import decimal

from cfai.errors import EngineFailure, WeightsMissing
from cfai.weights.architecture import check_architecture
from cfai.weights.digest import CHUNK, Digest, digest_of
from cfai.weights.home import home
from cfai.weights.layout import INDEX, PICKLES, SINGLE, is_whole, read_header, weight_files
from cfai.weights.listing import is_small
from cfai.weights.lock import ROOM_LEFT, alone
from cfai.weights.made import int8_folders
from cfai.weights.records import FileRecord, Record, folder_name, write_whole
from cfai.weights.watcher import NobodyWatches, Watcher

__all__ = ["import_weights"]

JOURNAL = ".cfai-import.json"
"""What has come, in the folder where it is collected."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A file that is to come, and its name in the new folder."""

    source: Path
    name: str

    @property
    def size(self) -> int:
        return self.source.stat().st_size


def import_weights(name: str, path: Path, *, link: bool = False, watcher: Watcher | None = None) -> Record:
    """Take the checkpoint at `path` into cfai's home, where `find` finds it as the weights of the model `name`.

    ```python
    import_weights("@cf/my/llama", Path("llama-7b.Q4_K_M.gguf")).folder  # ~/.cache/cfai/weights/@cf%2Fmy%2Fllama/...
    ```

    path  a folder with safetensors, one safetensors file with its config beside it, or a GGUF file, which becomes
          safetensors
    link  make hard links in place of copies: they take no room, and whoever writes into the files of `path` changes the
          model

    What is there under that name is replaced when all of the new is there. Raises `WeightsMissing` with the reason for
    what does not run here: pickles, code, a part of a checkpoint, another task.
    """
    path, watcher = path.expanduser().absolute(), watcher or NobodyWatches()
    place = home() / "weights" / folder_name(name)
    partial = place / "partial"
    try:
        origin = state_of(path)
        waits = f"another process imports {name}; waiting for it"
        with alone(place.with_name(f"{place.name}.lock"), on_wait=lambda: watcher.says(waits)):
            if path.suffix.lower() == ".gguf":
                files = _convert(path, partial, watcher)
            else:
                files = _collect(_parts(path), partial, link=link, watcher=watcher)
            if not is_whole(partial):
                raise WeightsMissing(f"{path} was changed while it was imported", hint="run the same command again")
            return _put_in_place(name, origin, place, files)
    except FileNotFoundError as error:
        raise WeightsMissing(f"there is no {error.filename}") from error
    except OSError as error:
        raise WeightsMissing(
            f"{path} cannot be taken into {place}: {error.strerror or error}", hint="CFAI_HOME names another place"
        ) from error


def state_of(path: Path) -> str:
    """A path with what changes when somebody writes the file that it names.

    ```python
    state_of(Path("/data/llama.gguf"))  # '/data/llama.gguf 4081004224 1700000000000000000'
    ```
    """
    there = path.stat()
    return str(path) if path.is_dir() else f"{path} {there.st_size} {there.st_mtime_ns}"


def _parts(path: Path) -> list[_Part]:
    """The files to take, once there is nothing against any of them."""
    folder, weights = _weights(path)
    config = _config(folder)
    check_architecture(config, str(path))
    if lost := [file for file in sorted(folder.iterdir()) if is_small(file.name) and not file.exists()]:
        raise WeightsMissing(f"{lost[0]} is a link to a file that is not there")
    small = [file for file in sorted(folder.iterdir()) if file.is_file() and is_small(file.name) and file.name != INDEX]
    if not {"tokenizer.json", "tokenizer.model"} & {file.name for file in small}:
        raise WeightsMissing(
            f"{folder} has no tokenizer.json and no tokenizer.model", hint="put one beside the weights"
        )
    if len(weights) == 1 and weights[0].name != SINGLE:
        return [*(_Part(file, file.name) for file in small), _Part(weights[0], SINGLE)]
    index = [folder / INDEX] if path.is_dir() and (folder / INDEX).is_file() else []
    return [_Part(file, file.name) for file in (*small, *index, *weights)]


def _weights(path: Path) -> tuple[Path, list[Path]]:
    """The folder of the config, and the safetensors files."""
    if any(path.match(kind) for kind in PICKLES):
        raise WeightsMissing(
            f"{path} may run any code when it is loaded, and cfai never opens such a file",
            hint="convert it to safetensors where you trust it",
        )
    if path.is_file() and path.suffix != ".safetensors":
        raise WeightsMissing(f"{path} is no folder, no safetensors and no GGUF file")
    if path.is_file() and (path.parent / INDEX).is_file() and path.name != SINGLE:
        raise WeightsMissing(f"{path} is a part of a checkpoint", hint=f"import the folder {path.parent}")
    if path.is_dir() and (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise WeightsMissing(f"{path} is a LoRA adapter, and no model", hint="see docs/lora.md for where it goes")
    try:
        files = [path] if path.is_file() else weight_files(path)
        headers = {file.name: read_header(file) for file in files}
        _check_index(path / INDEX, headers)
    except EngineFailure as error:
        raise WeightsMissing(error.description, hint="fetch it again") from error
    return (path.parent if path.is_file() else path), files


def _check_index(index: Path, headers: Mapping[str, Mapping[str, object]]) -> None:
    if not index.is_file():
        return
    for tensor, file in json.loads(index.read_bytes())["weight_map"].items():
        if tensor not in headers[file]:
            raise WeightsMissing(f"{index.parent} is not whole: {file} has no {tensor}, which its index names")


def _config(folder: Path) -> Mapping[str, object]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise WeightsMissing(f"{folder} has no config.json, which says what the weights are") from error
    except (ValueError, RecursionError) as error:
        raise WeightsMissing(f"{folder / 'config.json'} is not JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def _convert(file: Path, partial: Path, watcher: Watcher) -> dict[str, FileRecord]:
    if not file.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(file))
    if "-of-" in file.name:
        raise WeightsMissing(
            f"{file} is a part of a model", hint="llama.cpp's `gguf-split --merge` makes one file of all"
        )
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise WeightsMissing(f"{file} is no GGUF file")
    # Half a conversion is of no use to the next.
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    watcher.says(f"{file.name} becomes safetensors")
    try:
        from cfai.engine.gguf import convert_gguf
    except ModuleNotFoundError as error:
        raise WeightsMissing(f"{file} cannot be read: this needs {error.name}, which is not installed") from error

    convert_gguf(file, partial)
    made = sorted(path for path in partial.iterdir() if path.is_file())
    return {path.name: FileRecord(path.stat().st_size, str(digest_of(path))) for path in made}


def _collect(parts: list[_Part], partial: Path, *, link: bool, watcher: Watcher) -> dict[str, FileRecord]:
    """Bring all parts into the folder `partial`, but for those that an earlier import has brought."""
    partial.mkdir(parents=True, exist_ok=True)
    journal = _Journal(partial)
    come = {part.name: file for part in parts if (file := journal.file(part)) is not None}
    for path in partial.iterdir():
        if path.name not in (*come, JOURNAL):
            path.unlink()
    size, here = sum(part.size for part in parts), sum(file.size for file in come.values())
    free = shutil.disk_usage(partial).free
    if not link and size - here + ROOM_LEFT > free:
        raise WeightsMissing(
            f"a copy needs {decimal(size - here)} more in {partial.parent}, where {decimal(free)} are free",
            hint="--link takes no room, on the same file system; CFAI_HOME names another place",
        )
    watcher.begins(len(parts), size, here)
    for part in parts:
        if part.name in come:
            watcher.moved(part.name, part.size, part.size)
        else:
            come[part.name] = (_linked if link else _copied)(part, partial / part.name, watcher)
            journal.write(part, come[part.name])
        watcher.done(part.name)
    return come


def _copied(part: _Part, to: Path, watcher: Watcher) -> FileRecord:
    size, come = part.size, to.with_name(f"{to.name}.incomplete")
    hashed = hashlib.sha256()
    with part.source.open("rb") as source, come.open("wb") as out:
        while chunk := source.read(CHUNK):
            out.write(chunk)
            hashed.update(chunk)
            watcher.moved(part.name, len(chunk), size)
        out.flush()
        os.fsync(out.fileno())
    size = come.stat().st_size
    come.replace(to)
    return FileRecord(size, str(Digest("sha256", hashed.hexdigest())))


def _linked(part: _Part, to: Path, watcher: Watcher) -> FileRecord:
    try:
        to.hardlink_to(part.source.resolve())
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise WeightsMissing(
            f"{part.source} is on another file system than {to.parent}, and no link can lead there",
            hint="without --link it is copied",
        ) from error
    size = part.size
    digest = digest_of(to, progress=lambda count: watcher.moved(part.name, count, size))
    return FileRecord(size, str(digest))


class _Journal:
    """What has come into a folder, and the state that its source was in."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / JOURNAL
        self._folder = folder
        try:
            self._rows = dict(json.loads(self._file.read_bytes()))
        except (OSError, ValueError, TypeError):
            self._rows = {}

    def file(self, part: _Part) -> FileRecord | None:
        """What came of a part; None if nothing did, or the source is another one by now."""
        row = self._rows.get(part.name)
        come = self._folder / part.name
        if not isinstance(row, dict) or row.get("state") != state_of(part.source) or not come.is_file():
            return None
        file = FileRecord(int(row["size"]), str(row["digest"]))
        return file if come.stat().st_size == file.size else None

    def write(self, part: _Part, file: FileRecord) -> None:
        self._rows[part.name] = {"state": state_of(part.source), **asdict(file)}
        write_whole(self._file, json.dumps(self._rows).encode())


def _put_in_place(name: str, origin: str, place: Path, files: dict[str, FileRecord]) -> Record:
    partial = place / "partial"
    (partial / JOURNAL).unlink(missing_ok=True)
    content = "\n".join(f"{file} {row.digest}" for file, row in sorted(files.items()))
    folder = place / hashlib.sha256(content.encode()).hexdigest()[:12]
    if folder.is_dir():  # the same once more, perhaps since it is damaged
        shutil.rmtree(folder)
    partial.rename(folder)
    record = Record(name=name, kind="imported", folder=str(folder), origin=origin, files=files)
    record.write()
    for old in place.iterdir():
        if old != folder:
            for made in int8_folders(old):
                shutil.rmtree(made, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    return record
