"""LoRA adapters as PEFT writes them: which files, what their config may say, and what stands in the way of one.

An adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`
(https://huggingface.co/docs/peft/main/en/developer_guides/checkpoint). Nothing here needs torch: an adapter is looked
at when it is uploaded or named, long before a model runs.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfai.errors import EngineFailure
from cfai.weights import layout
from cfai.wording import shortened

__all__ = [
    "CONFIG_FILE",
    "FILES",
    "WEIGHTS_FILE",
    "Adapter",
    "AdapterConfig",
    "AdapterProblem",
    "place_of",
    "read_header",
]

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)

_PREFIX = "base_model.model."

LONGEST_CONFIG = 1 << 20
LONGEST_HEADER = 8 << 20
"""Bytes. The names of a thousand layers' tensors take a tenth of it."""

DTYPES = {"F32": 4, "F16": 2, "BF16": 2}
"""What an adapter's numbers may be, by safetensors' names, and how many bytes one takes."""


class AdapterProblem(ValueError):
    """What is wrong with an adapter, in a sentence without the adapter's name."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in `folder`, as a request picks it. Two are the same if their folder and its files are.

    ```python
    adapter = Adapter.at(Path("./my-lora"), name="my-lora")
    adapter.missing  # [], or the names of files that are not there
    ```
    """

    name: str
    folder: Path
    version: tuple[int, ...]
    """Sizes and times of the files: an adapter that is trained anew is another one."""

    @classmethod
    def at(cls, folder: Path, *, name: str = "") -> Adapter:
        """The adapter in `folder`, whatever is there."""
        version: list[int] = []
        for file in FILES:
            try:
                stat = (folder / file).stat()
            except OSError:
                continue
            version += (stat.st_size, stat.st_mtime_ns)
        return cls(name or folder.name, folder, tuple(version))

    @property
    def missing(self) -> list[str]:
        """Files that are not there."""
        return [file for file in FILES if not (self.folder / file).is_file()]


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What `adapter_config.json` says, as far as answers depend on it.

    rank, alpha    of every layer that a pattern does not name
    use_rslora     the scale is `alpha / sqrt(rank)`, not `alpha / rank`
    targets        names that layers end with; None if the config has an expression in their place
    rank_pattern   ranks of single layers, by the end of their names
    alpha_pattern  the same for alphas
    model_type     "llama" for one; Cloudflare wants it in what is uploaded
    """

    rank: int
    alpha: float
    use_rslora: bool = False
    targets: tuple[str, ...] | None = None
    rank_pattern: tuple[tuple[str, int], ...] = ()
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    model_type: str | None = None

    @classmethod
    def parse(cls, text: bytes) -> AdapterConfig:
        """The config that `text` is. Raises `AdapterProblem`.

        ```python
        AdapterConfig.parse(b'{"peft_type": "LORA", "r": 8, "lora_alpha": 16}').scale_of("model.layers.0.mlp.up_proj")
        ```
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise AdapterProblem(f"{CONFIG_FILE} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise AdapterProblem(f"{CONFIG_FILE} must be a JSON object, it is {_shown(value)}")
        for key, (is_plain, reason) in _REFUSED.items():
            if not is_plain(given := value.get(key)):
                raise AdapterProblem(f"{CONFIG_FILE}: {key} is {_shown(given)}, {reason}")
        targets = value.get("target_modules")
        return cls(
            rank=int(_positive(value, "r", int)),
            alpha=_positive(value, "lora_alpha", int, float, usual=8),
            use_rslora=value.get("use_rslora") is True,
            targets=tuple(map(str, targets)) if isinstance(targets, list) else None,
            rank_pattern=tuple((name, int(rank)) for name, rank in _pattern(value, "rank_pattern", int)),
            alpha_pattern=tuple(_pattern(value, "alpha_pattern", int, float)),
            model_type=str(value["model_type"]) if value.get("model_type") is not None else None,
        )

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """The config in `folder`. Raises `AdapterProblem`, also for one that is no longer there."""
        try:
            with (folder / CONFIG_FILE).open("rb") as file:
                text = file.read(LONGEST_CONFIG + 1)
        except OSError as error:
            raise AdapterProblem(f"{CONFIG_FILE} cannot be read: {error.strerror}") from error
        if len(text) > LONGEST_CONFIG:
            raise AdapterProblem(f"{CONFIG_FILE} has more than {LONGEST_CONFIG} bytes")
        return cls.parse(text)

    @property
    def largest_rank(self) -> int:
        return max(self.rank, *(rank for _, rank in self.rank_pattern), 0)

    def rank_of(self, layer: str) -> int:
        """The rank of the layer with this name."""
        return next((rank for name, rank in self.rank_pattern if _ends_with(layer, name)), self.rank)

    def scale_of(self, layer: str) -> float:
        """What the adapter's product is multiplied by, for the layer with this name."""
        alpha = next((alpha for name, alpha in self.alpha_pattern if _ends_with(layer, name)), self.alpha)
        rank = self.rank_of(layer)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def is_target(self, layer: str) -> bool:
        """Whether the adapter is for the layer with this name, as far as the config says."""
        return self.targets is None or any(_ends_with(layer, name) for name in self.targets)


def _ends_with(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")


def _is_off(value: Any) -> bool:
    return not value


_CHANGES_THE_BASE = re.compile("pissa|olora|corda|loftq|lora_ga", re.IGNORECASE)

_REFUSED: Mapping[str, tuple[Any, str]] = {
    "peft_type": (lambda given: given == "LORA", "and only LORA adapters run here"),
    "bias": (lambda given: given in (None, "none"), "and an adapter with biases is not supported; train it with none"),
    "lora_bias": (_is_off, "and an adapter with biases is not supported"),
    "modules_to_save": (_is_off, "and whole modules would take the place of the base model's, for other answers too"),
    "use_dora": (_is_off, "and DoRA scales the base model's own weights"),
    "use_qalora": (_is_off, "and QA-LoRA is not supported"),
    "layer_replication": (_is_off, "and the base model has its layers once"),
    "target_parameters": (_is_off, "and only layers can be adapted, not parameters"),
    "trainable_token_indices": (_is_off, "and embeddings cannot be adapted"),
    "alora_invocation_tokens": (_is_off, "and activated LoRA is not supported"),
    "init_lora_weights": (
        lambda given: not isinstance(given, str) or _CHANGES_THE_BASE.match(given) is None,
        "which changes the base model's weights; have PEFT convert it to a plain LoRA when it saves it",
    ),
}
"""What an adapter must not say, and why."""


def _positive(value: Mapping[str, Any], key: str, *kinds: type, usual: float | None = None) -> float:
    given: Any = value.get(key, usual)
    if type(given) not in kinds or not 0 < given < 1 << 20:
        raise AdapterProblem(f"{CONFIG_FILE}: {key} must be a number above 0, it is {_shown(given)}")
    return float(given)


def _pattern(value: Mapping[str, Any], key: str, *kinds: type) -> list[tuple[str, float]]:
    given = value.get(key) or {}
    if not isinstance(given, dict):
        raise AdapterProblem(f"{CONFIG_FILE}: {key} must be an object, it is {_shown(given)}")
    found = []
    for name, number in given.items():
        plain = name.removeprefix("^").replace("\\.", ".")
        # PEFT takes expressions. One that somebody uploads could keep the model's thread busy for hours.
        if re.fullmatch(r"[\w.-]+", plain) is None:
            raise AdapterProblem(f"{CONFIG_FILE}: {key} has {_shown(name)}, and only plain names of layers are taken")
        found.append((plain, _positive({f"{key}.{name}": number}, f"{key}.{name}", *kinds)))
    return found


def _shown(value: Any) -> str:
    return shortened(json.dumps(value), 60)


def read_header(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors in a safetensors file, by name: their dtypes and shapes. Raises `AdapterProblem`.

    The format: https://huggingface.co/docs/safetensors/index#format

    ```python
    read_header(Path("adapter_model.safetensors"))  # {"base_model.model...lora_A.weight": ("F32", (8, 4096))}
    ```
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
        if len(start) == 8 and struct.unpack("<Q", start)[0] > LONGEST_HEADER:
            raise AdapterProblem(f"{file.name} has a header of more than {LONGEST_HEADER} bytes")
        header = layout.read_header(file)
        tensors = {name: _tensor(value) for name, value in header.items() if name != "__metadata__"}
    except OSError as error:
        raise AdapterProblem(f"{file.name} cannot be read: {error.strerror}") from error
    except EngineFailure as error:
        raise AdapterProblem(error.description.replace(str(file), file.name)) from error
    except (ValueError, TypeError, LookupError) as error:
        if isinstance(error, AdapterProblem):
            raise
        raise AdapterProblem(f"{file.name} is not a safetensors file") from error
    end = 0
    for name, (dtype, shape, begin, stop) in sorted(tensors.items(), key=lambda item: item[1][2]):
        if dtype not in DTYPES:
            raise AdapterProblem(f"{file.name}: {name} is {dtype}, and {', '.join(DTYPES)} are supported")
        if begin != end or stop - begin != math.prod(shape) * DTYPES[dtype]:
            raise AdapterProblem(f"{file.name}: the place of {name} does not fit its shape {[*shape]}")
        end = stop
    return {name: (dtype, shape) for name, (dtype, shape, _, _) in tensors.items()}


def place_of(key: str) -> tuple[str, str]:
    """The layer and the half, A or B, that the name of an adapter's tensor means. Raises `AdapterProblem`.

    ```python
    place_of("base_model.model.lm.q_proj.lora_A.weight")  # ("lm.q_proj", "A")
    ```
    """
    plain = key.replace(".default.weight", ".weight")
    for half in ("A", "B"):
        if plain.startswith(_PREFIX) and plain.endswith(f".lora_{half}.weight"):
            return plain.removeprefix(_PREFIX).removesuffix(f".lora_{half}.weight"), half
    raise AdapterProblem(f"{key} is no matrix of a LoRA adapter as PEFT writes it, {_PREFIX}LAYER.lora_A.weight")


def _tensor(value: Mapping[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    begin, stop = value["data_offsets"]
    shape = tuple(value["shape"])
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, stop)):
        raise ValueError("sizes are whole numbers")
    return str(value["dtype"]), shape, begin, stop
