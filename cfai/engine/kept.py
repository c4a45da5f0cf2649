"""Int8 weights on disk: made once from the weights beside them, read by every later load.

They stand in `cfai-int8/model.safetensors` in the weights' folder, or below cfai's own folder where that is not to be
written to: the same tensors by the same names, a matrix in int8 with a float32 tensor `NAME_scale`, [rows], beside it.
The header says of which files they were made, and the check sum of every tensor. What has this name is always whole: it
is written under another name and renamed when all of it is on the disk. One process at a time does that for a folder;
others that want the same meanwhile make the weights for themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import cfai
from cfai.engine.tensors import TensorFiles, bytes_of
from cfai.errors import EngineFailure
from cfai.weights.layout import read_header
from cfai.weights.made import int8_folders

__all__ = ["DamagedInt8", "Keeper", "KeptInt8", "find_kept", "keeper_for"]

log = logging.getLogger(__name__)

FILE = "model.safetensors"
SCALE = "_scale"
FORMAT = 1
"""Of this file; a file of another one is made anew."""

ALIGNED = 64
"""Tensors begin at multiples of so many bytes."""


class DamagedInt8(Exception):
    """A kept file has other bytes than were written."""


class KeptInt8:
    """The int8 weights in `file`. `find_kept` opens those that fit."""

    def __init__(self, file: Path, files: TensorFiles, sums: Mapping[str, int]) -> None:
        self._file = file
        self._files = files
        self._sums = sums

    def rows(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows and scales of a matrix. Raises `DamagedInt8`."""
        return self.tensor(name), self.tensor(name + SCALE)

    def tensor(self, name: str) -> torch.Tensor:
        """Any other tensor, as it was stored. Raises `DamagedInt8`."""
        tensor = self._files.tensor(name)
        if zlib.crc32(bytes_of(tensor)) != self._sums.get(name):
            raise DamagedInt8(f"{self._file}: {name} is not what was written")
        return tensor


class Keeper:
    """Writes int8 weights while they are made. Use as a context manager; what is not whole at the end is dropped.

    with keeper_for(folder, files, shapes) as keeper:
        keeper.put("lm_head.weight", rows)
    """

    def __init__(self, file: Path, header: dict[str, Any]) -> None:
        self._file = file
        self._begun = file.with_name(f"{file.name}.begun")
        self._header = header
        self._sums: dict[str, int] = {}
        encoded = _encoded(header, dict.fromkeys(_names(header), 0))
        self._data = len(encoded)
        self._stream = self._begun.open("wb")
        self._is_sound = True

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Write one tensor. Never raises: a full disk only means that nothing is kept."""
        if not self._is_sound:
            return
        data = bytes_of(tensor.cpu())
        start, stop = self._header[name]["data_offsets"]
        assert len(data) == stop - start, f"{name} has {len(data)} bytes where {stop - start} were announced"
        with self._failing_softly():
            self._stream.seek(self._data + start)
            self._stream.write(data)
            self._sums[name] = zlib.crc32(data)

    def put_rows(self, name: str, rows: torch.Tensor, scales: torch.Tensor) -> None:
        """Write a matrix."""
        self.put(name, rows)
        self.put(name + SCALE, scales)

    @contextlib.contextmanager
    def _failing_softly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._is_sound = False
            log.warning("int8 weights are not kept, they will be made again at the next start: %s", error)

    def finish(self) -> None:
        """Give the file its name, once every tensor is on the disk."""
        with self._failing_softly():
            if self._is_sound and self._sums.keys() == set(_names(self._header)):
                self._stream.seek(0)
                self._stream.write(_encoded(self._header, self._sums))
                self._stream.truncate(self._data + _end(self._header))
                self._stream.flush()
                os.fsync(self._stream.fileno())
                self._stream.close()
                self._begun.replace(self._file)
                _sync_folder(self._file.parent)

    def drop(self) -> None:
        """Remove what is not whole."""
        with self._failing_softly():
            self._stream.close()
            self._begun.unlink(missing_ok=True)


def find_kept(
    folder: Path, files: list[Path], tensors: TensorFiles, matrices: Mapping[str, tuple[int, int]]
) -> KeptInt8 | None:
    """The int8 weights that were made of just these `files` and have the rows of `matrices`, if there are any.

    matrices  the shapes of the rows, [outputs, inputs], by the names of their tensors

    A file that is cut short, of another version or made of other weights is none.
    """
    wanted = _layout(files, tensors, matrices)
    for place in _places(folder):
        file = place / FILE
        if not file.is_file():
            continue
        try:
            header = dict(read_header(file))
            about = json.loads(header["__metadata__"]["cfai"])
            sums = {name: int(value, 16) for name, value in about.pop("crc32").items()}
            header["__metadata__"] = about
            if header == wanted:
                return KeptInt8(file, TensorFiles([file]), sums)
        except (EngineFailure, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            log.info("%s is not used: %s", file, error)
    return None


@contextlib.contextmanager
def keeper_for(
    folder: Path, files: list[Path], tensors: TensorFiles, matrices: Mapping[str, tuple[int, int]]
) -> Iterator[Keeper | None]:
    """What keeps the int8 weights of `folder`; None where there is no room, no right, or somebody who is at it.

    A body that raises leaves nothing behind, and one that is killed a file that the next one removes.
    """
    header = _layout(files, tensors, matrices)
    with contextlib.ExitStack() as stack:
        keeper = None
        try:
            if (place := _writable(folder, _end(header))) is not None:
                stack.enter_context(FileLock(place / ".lock", timeout=0))
                keeper = Keeper(place / FILE, header)
                stack.callback(keeper.drop)
        except Timeout:
            log.info("another process makes the int8 weights of %s", folder)
        except OSError as error:
            log.warning("the int8 weights of %s are not kept: %s", folder, error)
        yield keeper
        if keeper is not None:
            keeper.finish()


def _places(folder: Path) -> list[Path]:
    beside, own = int8_folders(folder)
    # An installed package stays as it was installed.
    return [own] if Path(cfai.__file__).parent in folder.resolve().parents else [beside, own]


def _writable(folder: Path, size: int) -> Path | None:
    """The first folder that takes a file of `size` bytes, made if need be."""
    problems = []
    for place in _places(folder):
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not os.access(place, os.W_OK):
                problems.append(f"{place} is not to be written to")
            elif (free := shutil.disk_usage(place).free) < size:
                problems.append(f"{place} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} are needed")
            else:
                return place
        except OSError as error:
            problems.append(str(error))
    log.warning("int8 weights are not kept, they will be made again at the next start: %s", "; ".join(problems))
    return None


def _layout(files: list[Path], tensors: TensorFiles, matrices: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """The header of the file that is made of `files`, without check sums."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "made_from": [_fingerprint(file) for file in files]}}
    at = 0

    def add(name: str, dtype: str, shape: tuple[int, ...], size: int) -> None:
        nonlocal at
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size

    # Large numbers first: behind them, small ones are aligned as well.
    rest = sorted((name for name in tensors if name not in matrices), key=lambda name: (tensors.dtype(name), name))
    for name, shape in matrices.items():
        add(name + SCALE, "F32", shape[:1], 4 * shape[0])
    for name in sorted(rest, key=lambda name: -_itemsize(tensors, name)):
        add(name, tensors.dtype(name), tensors.shape(name), tensors.size(name))
    for name, shape in matrices.items():
        add(name, "I8", shape, shape[0] * shape[1])
    return header


def _itemsize(tensors: TensorFiles, name: str) -> int:
    count = torch.Size(tensors.shape(name)).numel()
    return tensors.size(name) // count if count else 0


def _fingerprint(file: Path) -> list[Any]:
    """Tells a file from another one and from itself before a change, without reading all of it."""
    about = file.stat()
    with file.open("rb") as stream:
        header = stream.read(int.from_bytes(stream.read(8), "little"))
    return [file.name, about.st_size, about.st_mtime_ns, hashlib.sha256(header).hexdigest()]


def _encoded(header: Mapping[str, Any], sums: Mapping[str, int]) -> bytes:
    """The first bytes of the file: as many whatever the check sums are."""
    about = {**header["__metadata__"], "crc32": {name: f"{sums[name]:08x}" for name in _names(header)}}
    text = json.dumps({**header, "__metadata__": {"format": "pt", "cfai": json.dumps(about)}}).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    return len(text).to_bytes(8, "little") + text


def _names(header: Mapping[str, Any]) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def _end(header: Mapping[str, Any]) -> int:
    return max((header[name]["data_offsets"][1] for name in _names(header)), default=0)


def _sync_folder(folder: Path) -> None:
    """The new name itself is on the disk."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
