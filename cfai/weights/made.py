"""What cfai makes of weights and keeps beside them."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path

from cfai.errors import EngineFailure
from cfai.weights.home import home
from cfai.weights.layout import read_header

__all__ = ["int8_folders", "problem_of_int8"]


def int8_folders(folder: Path) -> list[Path]:
    """Where int8 weights made of those in `folder` may be kept: beside them, or in cfai's home.

    ```python
    int8_folders(Path("llama"))[0]  # PosixPath('llama/cfai-int8')
    ```
    """
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return [folder / "cfai-int8", home() / "int8" / key]


def problem_of_int8(file: Path) -> str | None:
    """What is wrong with a file of int8 weights, whose header has the check sum of every tensor; None if nothing is.

    ```python
    problem_of_int8(Path("llama/cfai-int8/model.safetensors"))  # None
    ```
    """
    called = "/".join(file.parts[-2:])
    try:
        header = read_header(file)
        sums = json.loads(header["__metadata__"]["cfai"])["crc32"]
        with file.open("rb") as stream:
            begin = 8 + int.from_bytes(stream.read(8), "little")
            for name, value in sums.items():
                start, stop = header[name]["data_offsets"]
                stream.seek(begin + start)
                if zlib.crc32(stream.read(stop - start)) != int(value, 16):
                    return f"{called} has other bytes than were written"
    except EngineFailure as error:
        return f"{called}: {error.description}"
    except (OSError, LookupError, TypeError, ValueError):
        return f"{called} cannot be read"
    return None
