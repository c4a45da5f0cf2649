"""What a checkpoint folder is made of, read without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfai.errors import EngineFailure, WeightsMissing

__all__ = [
    "INDEX",
    "PICKLES",
    "SINGLE",
    "header_length",
    "is_whole",
    "parse_header",
    "read_header",
    "weight_files",
    "weight_names",
]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Names the files of a checkpoint that has several."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the checkpoint in `folder`.

    ```python
    weight_files(Path("llama"))  # [PosixPath('llama/model.safetensors')]
    ```

    Raises `WeightsMissing` if one is not there, and `EngineFailure` if the index cannot be read.
    """
    index = folder / INDEX
    names = weight_names(index.read_bytes(), str(index)) if index.is_file() else [SINGLE]
    files = [folder / name for name in names]
    if missing := [file.name for file in files if not file.is_file()]:
        pickled = sorted(path.name for kind in PICKLES for path in folder.glob(kind)) if folder.is_dir() else []
        hint = f"{', '.join(pickled)} may run code when loaded; convert it to safetensors" if pickled else ""
        raise WeightsMissing(f"{folder} has no {missing[0]}", hint=hint)
    return files


def weight_names(index: bytes, called: str = INDEX) -> list[str]:
    """The names of the files in the text of an index; `called` is what an `EngineFailure` calls it."""
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise EngineFailure(f"{called} is no index of safetensors files", hint="fetch it again") from error
    if odd := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise EngineFailure(f"{called} names {odd[0]!r}, which is no safetensors file beside it")
    if not names:
        raise EngineFailure(f"{called} names no files")
    return names


def read_header(file: Path) -> Mapping[str, Any]:
    """The header of a safetensors file: dtype, shape and place of each tensor, and `__metadata__`.

    ```python
    read_header(Path("model.safetensors"))["lm_head.weight"]["shape"]  # [32000, 4096]
    ```

    Raises `EngineFailure` where it does not fit the file's length, before anything maps the file into memory.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = header_length(stream.read(8), size, str(file))
        return parse_header(stream.read(length), size, str(file))


def header_length(start: bytes, size: int, called: str) -> int:
    """Bytes of the header of a safetensors file, from the first 8 of its `size` bytes.

    ```python
    header_length(b"\\x02\\0\\0\\0\\0\\0\\0\\0", 10, "empty.safetensors")  # 2
    ```

    An `EngineFailure` calls the file `called`.
    """
    length: int = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if 8 + length > size:
        raise EngineFailure(f"{called} is cut short: {size} bytes", hint="fetch it again")
    return length


def parse_header(text: bytes, size: int, called: str) -> Mapping[str, Any]:
    """What the header of a safetensors file of `size` bytes says, all of whose bytes have to be tensors.

    ```python
    parse_header(b"{}", 10, "empty.safetensors")  # {}
    ```

    An `EngineFailure` calls the file `called`.
    """
    try:
        header: dict[str, Any] = json.loads(text)
        end = max((int(t["data_offsets"][1]) for name, t in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise EngineFailure(f"{called} is not a safetensors file", hint="fetch it again") from error
    if (says := 8 + len(text) + end) != size:
        raise EngineFailure(f"{called} has {size} bytes where its header says {says}", hint="fetch it again")
    return header


def is_whole(folder: Path) -> bool:
    """Whether a config and all the files that it takes are there, each as long as its header says."""
    try:
        for file in weight_files(folder):
            read_header(file)
    except (WeightsMissing, EngineFailure, OSError):
        return False
    return (folder / "config.json").is_file()
