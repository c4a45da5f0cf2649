"""The tensors of safetensors files, each mapped into memory by itself and only while it is used."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from cfai.errors import EngineFailure
from cfai.weights.layout import read_header

__all__ = ["DTYPES", "TensorFiles", "bytes_of", "half_of"]

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By the names of https://github.com/huggingface/safetensors#format, those that have been there from the start."""


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class TensorFiles:
    """Several safetensors files as one.

        weights = TensorFiles([Path("model.safetensors")])
        weights.tensor("lm_head.weight").shape

    Raises `EngineFailure` where a header does not fit its file.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._places: dict[str, _Place] = {}
        for file in files:
            for name, entry in read_header(file).items():
                if name != "__metadata__":
                    self._places[name] = _place(file, name, entry)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._places[name].shape

    def dtype(self, name: str) -> str:
        """In the words of the file, such as "BF16"."""
        return self._places[name].dtype

    def size(self, name: str) -> int:
        """In bytes."""
        place = self._places[name]
        return place.stop - place.start

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor itself. Writing to it does not reach the file. Its memory is given back with the tensor."""
        place = self._places[name]
        dtype = DTYPES[place.dtype]
        if place.start == place.stop:
            return torch.empty(place.shape, dtype=dtype)
        begin = place.start - place.start % mmap.ALLOCATIONGRANULARITY
        with place.file.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), place.stop - begin, offset=begin, access=mmap.ACCESS_COPY)
        count = (place.stop - place.start) // dtype.itemsize
        return torch.frombuffer(mapped, dtype=dtype, count=count, offset=place.start - begin).view(place.shape)


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The numbers of a tensor on the CPU as they stand in a file."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data


def half_of(dtype: torch.dtype | None) -> torch.dtype:
    """The half precision of what is stored in `dtype`."""
    return dtype if dtype in (torch.float16, torch.bfloat16) else torch.float16


def _place(file: Path, name: str, entry: object) -> _Place:
    try:
        assert isinstance(entry, dict)
        dtype, shape, (start, stop) = entry["dtype"], tuple(map(int, entry["shape"])), entry["data_offsets"]
        length = stop - start
        if dtype in DTYPES and length != torch.Size(shape).numel() * DTYPES[dtype].itemsize:
            raise ValueError("its shape does not fit its bytes")
        if start < 0 or length < 0:
            raise ValueError("its bytes are outside the file")
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise EngineFailure(f"{file}: the place of {name} is damaged", hint="fetch it again") from error
    with file.open("rb") as stream:
        data = 8 + int.from_bytes(stream.read(8), "little")
    return _Place(file, dtype, shape, data + start, data + stop)
