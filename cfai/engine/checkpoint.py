"""A checkpoint folder into memory: checked first, then loaded on the device that fits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from cfai.engine.devices import device_of
from cfai.engine.grammar import GrammarConstraint, GrammarTokens
from cfai.engine.int8 import Int8Matrix, quantise
from cfai.engine.memory import free_memory
from cfai.engine.prompt import PromptRenderer, load_chat_template
from cfai.engine.tokenizer import Tokenizer, load_tokenizer
from cfai.errors import EngineFailure
from cfai.weights.layout import read_header, weight_files

__all__ = ["Checkpoint", "Progress", "load_checkpoint"]

_one_at_a_time = threading.Lock()
"""transformers keeps its progress hook, and torch its default dtype while a model is built, for the whole process."""

Progress = Callable[[int, int], None]
"""Called while weights load, with the tensors done and the tensors in all."""


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
        is_int8 = any(isinstance(module, Int8Matrix) for module in self.model.modules())
        return "int8" if is_int8 else _name(self.model.dtype)

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
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        kind = _loading_dtype(dtype, files, place, config)
        with _one_at_a_time, _loading_progress(progress):
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=kind,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise EngineFailure(f"{folder} does not load: {error}") from error
    _check_report(folder, report)
    model.eval().requires_grad_(False)
    if dtype == "int8":
        quantise(model, place, torch.float32 if place.type == "cpu" else kind)
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


def _vocabulary(model: PreTrainedModel) -> int:
    embeddings: Any = model.get_output_embeddings()
    return int(embeddings.weight.shape[0])


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
    needed, there = weights * size / 1e9, (free or 0) / 1e9
    raise EngineFailure(
        f"the weights need {needed:.1f} GB as {asked or _name(dtype)}, {device.type} has {there:.1f} GB free",
        hint="choose a smaller model or another dtype",
    )


def _named_dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise EngineFailure(f"there is no dtype {name!r}", hint="use float32, bfloat16, float16 or int8")
    return dtype


def _dtypes_for(device: torch.device, stored: torch.dtype | None) -> list[torch.dtype]:
    """The dtypes to try, best first. Half precision is slow on most CPUs, and all that a GPU needs."""
    half = stored if stored in (torch.float16, torch.bfloat16) else torch.float16
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
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, report.get(kind) or ())):
            raise EngineFailure(f"{folder}: {kind.replace('_', ' ')} {', '.join(keys[:3])} ({len(keys)} in all)")


def _end_tokens(folder: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> frozenset[int]:
    settings: GenerationConfig = model.generation_config
    ids = settings.eos_token_id
    found = {ids} if isinstance(ids, int) else set(ids or ())
    if (eos := tokenizer.specials.get(tokenizer.eos)) is not None:
        found.add(eos)
    return frozenset(found)


@contextlib.contextmanager
def _loading_progress(progress: Progress | None) -> Iterator[None]:
    """Route transformers' own progress bar to `progress`; without one, silence it."""

    def bar(_factory: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
        return _Bar(args[0] if args else kwargs.get("iterable", ()), kwargs.get("total"), progress)

    before = transformers_logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(before)


class _Bar:
    """The part of tqdm's interface that loading uses."""

    def __init__(self, items: Any, total: int | None, progress: Progress | None) -> None:
        self._items = items
        self._total = total or (len(items) if hasattr(items, "__len__") else 0)
        self._progress = progress
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(self._done, self._total)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        # close, refresh, set_postfix, ...: what a bar shows beside its progress is of no use here.
        return lambda *_, **__: None
