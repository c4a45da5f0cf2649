"""A checkpoint folder into memory: checked first, then loaded on the device that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from cfai.engine.devices import device_of
from cfai.engine.grammar import GrammarConstraint, GrammarTokens
from cfai.engine.int8 import quantise
from cfai.engine.int8_checkpoint import load_int8, plan_int8
from cfai.engine.int8_matrices import Int8Matrix
from cfai.engine.loading import Progress, loading
from cfai.engine.matrices import MatrixLinear
from cfai.engine.memory import free_memory
from cfai.engine.prompt import PromptRenderer, load_chat_template
from cfai.engine.tensors import half_of
from cfai.engine.tokenizer import Tokenizer, load_tokenizer
from cfai.errors import EngineFailure, NotEnoughMemory
from cfai.weights.layout import read_header, weight_files

__all__ = ["Checkpoint", "Progress", "load_checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that is ready to run, with what belongs to it."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    prompts: PromptRenderer
    end_tokens: frozenset[int]
    max_positions: int | None
    """How many tokens, prompt and answer together, the model was built for; None if its config does not say."""
    grammar_tokens: GrammarTokens

    @property
    def vocabulary(self) -> int:
        """Tokens that the model has scores for; a tokenizer may have fewer, or more."""
        return _vocabulary(self.model)

    def token_bytes(self, token: int) -> bytes:
        """What a token adds in the middle of a text; the text of a special token."""
        return self.tokenizer.token_bytes(token)

    def constraint(self, grammar: str, *, max_tokens: int) -> GrammarConstraint:
        """What keeps an answer of so many tokens to a grammar (see `tasks/grammars.py`).

        Takes seconds for the first one of a large vocabulary: call it outside the event loop. A `BadInput` says that
        no answer fits.
        """
        return GrammarConstraint(self.grammar_tokens, grammar, max_tokens=max_tokens)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> str:
        """What the weights are: "int8", or the name of the dtype that everything is in."""
        return "int8" if _is_int8(self.model) else _name(self.model.dtype)

    @property
    def memory(self) -> int:
        """Bytes that the weights take."""
        return int(self.model.get_memory_footprint())


def load_checkpoint(
    folder: Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Checkpoint:
    """Load the model in `folder`.

    device   "cuda", "cuda:1", "mps" or "cpu"; None takes the first that is there, in this order
    dtype    "float32", "bfloat16" or "float16"; None takes float32 on the CPU if it fits into memory, else, and on a
             GPU, the one that the weights are stored in. "int8" makes the matrices int8 and leaves the rest float32 on
             the CPU, and half precision on a GPU

    Only safetensors are read, and no code from the folder is run. Raises `WeightsMissing` if there are no weights,
    `EngineFailure` if they are damaged, do not fit the architecture or do not fit into memory.
    """
    files = weight_files(folder)
    for file in files:
        read_header(file)
    place = device_of(device)
    config = None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        kind = _loading_dtype(dtype, files, place, config)
        model = _int8(folder, files, config, place, kind, progress) if dtype == "int8" else None
        model = model or _whole(folder, config, kind, progress)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise EngineFailure(f"{folder} does not load: {error}", hint=_advice(config)) from error
    model.eval().requires_grad_(False)
    if dtype == "int8":
        if not _is_int8(model):
            quantise(model, place, _floats_beside_int8(place, kind))
    elif place.type != "cpu":
        model.to(place)
    tokenizer = load_tokenizer(folder)
    end_tokens = _end_tokens(folder, model, tokenizer)
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        prompts=PromptRenderer(tokenizer, load_chat_template(folder)),
        end_tokens=end_tokens,
        max_positions=getattr(config.get_text_config(), "max_position_embeddings", None),
        grammar_tokens=GrammarTokens(tokenizer, _vocabulary(model), end_tokens),
    )


def _whole(folder: Path, config: Any, dtype: torch.dtype, progress: Progress | None) -> PreTrainedModel:
    with loading(progress):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # else the error does not name them
        )
    _check_report(folder, report)
    return model


def _int8(
    folder: Path,
    files: list[Path],
    config: Any,
    device: torch.device,
    stored: torch.dtype,
    progress: Progress | None,
) -> PreTrainedModel | None:
    """The model made int8 while it is read; None if that cannot be done with its files."""
    if (plan := plan_int8(files, config)) is None:
        return None
    dtype = _floats_beside_int8(device, stored)
    _check_memory(plan.memory(dtype), device, "int8")
    loaded = load_int8(folder, plan, config, device=device, dtype=dtype, progress=progress)
    if loaded is None:
        return None
    model, report = loaded
    _check_report(folder, report)
    return model


def _floats_beside_int8(device: torch.device, half: torch.dtype) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else half


def _is_int8(model: PreTrainedModel) -> bool:
    return any(isinstance(module, Int8Matrix) for module in model.modules())


def _advice(config: Any) -> str:
    if getattr(config, "quantization_config", None) is None:
        return ""
    return (
        "it is quantised already: name the checkpoint in full precision, which is made int8 here where the id says so"
    )


def _vocabulary(model: PreTrainedModel) -> int:
    layer: Any = model.get_output_embeddings()
    return int(layer.out_features if isinstance(layer, MatrixLinear) else layer.weight.shape[0])


def _loading_dtype(asked: str | None, files: list[Path], device: torch.device, config: Any) -> torch.dtype:
    """The dtype to load with; refuses a model that cannot fit, rather than have the system kill the process."""
    weights, free = sum(map(_count_weights, files)), free_memory(device)
    sizes = {dtype: dtype.itemsize for dtype in _dtypes_for(device, config.dtype)}
    if asked == "int8":
        # Weights that are loaded as they are stored stay in the file until they are looked at.
        sizes = {(config.dtype or torch.float32) if device.type == "cpu" else list(sizes)[-1]: torch.int8.itemsize}
    elif asked is not None:
        sizes = {(dtype := _named_dtype(asked)): dtype.itemsize}
    for dtype, size in sizes.items():
        if free is None or weights * size <= free:
            return dtype
    raise _too_large(weights * size, free or 0, device, asked or _name(dtype))


def _check_memory(needed: int, device: torch.device, dtype: str) -> None:
    free = free_memory(device)
    if free is not None and needed > free:
        raise _too_large(needed, free, device, dtype)


def _too_large(needed: int, free: int, device: torch.device, dtype: str) -> NotEnoughMemory:
    return NotEnoughMemory(
        f"the weights need {needed / 1e9:.1f} GB as {dtype}, {device.type} has {free / 1e9:.1f} GB free",
        hint="choose a smaller model or another dtype",
    )


def _named_dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise EngineFailure(f"there is no dtype {name!r}", hint="use float32, bfloat16, float16 or int8")
    return dtype


def _dtypes_for(device: torch.device, stored: torch.dtype | None) -> list[torch.dtype]:
    """The dtypes to try, best first. Half precision is slow on most CPUs, and all that a GPU needs."""
    half = half_of(stored)
    return [torch.float32, half] if device.type == "cpu" else [half]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _count_weights(file: Path) -> int:
    tensors = read_header(file).items()
    return sum(_elements(tensor["shape"]) for name, tensor in tensors if name != "__metadata__")


def _elements(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _check_report(folder: Path, report: Mapping[str, Any]) -> None:
    # from_pretrained fills what it does not find with random numbers and goes on.
    if others := sorted(report.get("mismatched_keys") or ()):
        name, stored, wanted = others[0]
        raise EngineFailure(
            f"{folder}: {name} is {[*stored]}, and config.json makes it {[*wanted]} ({len(others)} such in all)",
            hint="is config.json that of these weights?",
        )
    for kind in ("missing_keys", "unexpected_keys"):
        if keys := sorted(map(str, report.get(kind) or ())):
            raise EngineFailure(f"{folder}: {kind.replace('_', ' ')} {', '.join(keys[:3])} ({len(keys)} in all)")


def _end_tokens(folder: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> frozenset[int]:
    settings: GenerationConfig = model.generation_config
    ids = settings.eos_token_id
    found = {ids} if isinstance(ids, int) else set(ids or ())
    if (eos := tokenizer.specials.get(tokenizer.eos)) is not None:
        found.add(eos)
    return frozenset(found)
