"""A GGUF file into a checkpoint folder, by transformers' own loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from cfai.engine.loading import Progress, loading
from cfai.errors import EngineFailure, WeightsMissing

__all__ = ["convert_gguf"]

_DTYPES = {"F32": torch.float32, "F64": torch.float32, "BF16": torch.bfloat16}
"""How matrices of a kind are kept. All others are at most as exact as float16."""


def convert_gguf(file: Path, folder: Path, *, progress: Progress | None = None) -> None:
    """Write the model in `file` into `folder`: safetensors, config, tokenizer and chat template.

    ```python
    convert_gguf(Path("llama-2-7b-chat.Q4_K_M.gguf"), Path("llama"))
    ```

    progress  called with the tensors done and the tensors in all

    Quantised matrices become the floats that they stand for, rounded to float16. All of them are in memory meanwhile.
    Raises `WeightsMissing` where the package gguf is not installed, and for what transformers cannot read.
    """
    dtype = _DTYPES.get(_kind_of_matrices(file), torch.float16)
    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        with loading(progress):
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
            _space_in_front_once(tokenizer)
            model, report = AutoModelForCausalLM.from_pretrained(
                file.parent,
                dtype=dtype,
                output_loading_info=True,
                **_as_floats(),
                **where,
            )
            if missing := sorted(map(str, report.get("missing_keys") or ())):
                raise EngineFailure(f"{file} lacks {', '.join(missing[:3])} ({len(missing)} in all)")
            # Some transformers take another token for the tokenizer's.
            if isinstance(end := model.config.eos_token_id, int) and (token := tokenizer.convert_ids_to_tokens(end)):
                tokenizer.eos_token = token
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsMissing(f"transformers cannot read {file}: {reason}") from error


def _space_in_front_once(tokenizer: Any) -> None:
    """Have SentencePiece's space stand before the text only, not behind every special token of it too.

    Older transformers convert the file's pieces in the other way, and the file does not say which one was meant.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    steps = (json.loads(backend.to_str()).get("normalizer") or {}).get("normalizers", [])
    if [step["type"] for step in steps] == ["Prepend", "Replace"] and backend.pre_tokenizer is None:
        backend.normalizer = normalizers.Sequence([])
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)


def _as_floats() -> dict[str, Any]:
    # Before there was this config, transformers knew no other way.
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _kind_of_matrices(file: Path) -> str:
    """What most of the weights are kept as: F16, Q4_K, ..."""
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise WeightsMissing(
            f"{file} cannot be read: this needs gguf, which is not installed", hint="pip install gguf"
        ) from error

    try:
        sizes: dict[str, int] = {}
        for tensor in GGUFReader(file).tensors:
            sizes[tensor.tensor_type.name] = sizes.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise WeightsMissing(f"{file} is no whole GGUF file: {error}", hint="fetch it again") from error
    if not sizes:
        raise WeightsMissing(f"{file} has no weights")
    return max(sizes, key=lambda kind: sizes[kind])
