"""What a model id says about precision, and what a device makes of it. The reasons are in docs/precision.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from cfai.catalog import Precision
from cfai.engine.devices import device_of

__all__ = ["RunsAs", "precision_for"]

_Place = Literal["cpu with bfloat16", "cpu", "cuda", "mps"]


@dataclass(frozen=True, slots=True)
class RunsAs:
    """How a model is loaded.

    dtype  as `EngineSettings` takes it; None leaves it to the device
    note   what the user should know where that is another precision than the id says, else empty
    """

    dtype: str | None
    note: str = ""


_DTYPES: dict[Precision, dict[_Place, str | None]] = {
    "int8": {"cpu with bfloat16": "int8", "cpu": "int8", "cuda": "int8", "mps": "int8"},
    "fp16": {"cpu with bfloat16": "bfloat16", "cpu": None, "cuda": "float16", "mps": "float16"},
    "bf16": {"cpu with bfloat16": "bfloat16", "cpu": None, "cuda": "bfloat16", "mps": "bfloat16"},
    "fp8": {"cpu with bfloat16": "int8", "cpu": "int8", "cuda": "int8", "mps": None},
    "awq": {"cpu with bfloat16": "int8", "cpu": "int8", "cuda": "int8", "mps": None},
    "gguf": {"cpu with bfloat16": "int8", "cpu": "int8", "cuda": "int8", "mps": None},
}
"""What is loaded for a model whose id says so, on each kind of device."""

_OWN_NAMES: dict[Precision, str] = {"int8": "int8", "fp16": "float16", "bf16": "bfloat16"}
"""torch's word for what the id says."""

_FEWEST = ("int8", "the fewest bytes that a weight has here")
_INSTEAD: dict[tuple[_Place, str | None], tuple[str, str]] = {
    ("cpu with bfloat16", "bfloat16"): ("bfloat16", "this processor multiplies it fast, and float16 slowly"),
    ("cpu with bfloat16", "int8"): _FEWEST,
    ("cpu", None): ("float32, or half precision if that does not fit,", "this processor multiplies halves slowly"),
    ("cpu", "int8"): _FEWEST,
    ("cuda", "int8"): _FEWEST,
    ("mps", None): ("half precision", "int8 is unpacked for every product here"),
}
"""What is said of it where the id says something else, and why."""


def precision_for(named: Precision | None, device: str | None = None, *, asked: str | None = None) -> RunsAs:
    """What a model runs as whose id says `named` (`Model.precision`), on `device` or the best one that is there.

    What the user `asked` for goes before what the id says.

        precision_for("fp8", "cpu").dtype  # "int8"
        precision_for("int8", asked="float32").note  # "float32 in place of int8, as the settings say"
    """
    if named is None:
        return RunsAs(asked)
    own = _OWN_NAMES.get(named)
    if asked is not None:
        return RunsAs(asked, "" if asked == own else f"{asked} in place of {named}, as the settings say")
    place = _place_of(torch.device(device) if device else device_of(None))
    dtype = _DTYPES[named][place]
    if dtype is not None and dtype == own:
        return RunsAs(dtype)
    instead, why = _INSTEAD[place, dtype]
    return RunsAs(dtype, f"{instead} in place of {named}: {why}")


def _place_of(device: torch.device) -> _Place:
    if device.type == "cpu":
        return "cpu with bfloat16" if torch.cpu._is_avx512_bf16_supported() else "cpu"
    return "mps" if device.type == "mps" else "cuda"
