"""GGUF files for tests, made of a Llama checkpoint as llama.cpp's converter makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from sentencepiece import SentencePieceProcessor

__all__ = ["make_gguf"]

_KINDS = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
}


def make_gguf(checkpoint: Path, file: Path, kind: str = "F32") -> Path:
    """Write the Llama in `checkpoint` into `file`, its matrices as `kind`."""
    config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, checkpoint)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        data = tensor.to(torch.float32).numpy()
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                data = _interleaved(data, config[heads])
        wanted = _KINDS[kind] if data.ndim > 1 else gguf.GGMLQuantizationType.F32
        packed = gguf.quantize(data, wanted) if data.ndim > 1 else data
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), packed, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _interleaved(data: np.ndarray, heads: int) -> np.ndarray:
    """The rows as llama.cpp rotates them."""
    return data.reshape(heads, 2, data.shape[0] // heads // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)


def _add_tokenizer(writer: gguf.GGUFWriter, checkpoint: Path) -> None:
    model = SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    ids = range(model.vocab_size())
    special = {int(id_) for id_ in settings["added_tokens_decoder"]}
    writer.add_tokenizer_model("llama")
    writer.add_token_list([model.id_to_piece(id_).encode() for id_ in ids])
    writer.add_token_scores([model.get_score(id_) for id_ in ids])
    writer.add_token_types([_token_type(model, id_, special) for id_ in ids])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(settings["chat_template"])


def _token_type(model: SentencePieceProcessor, id_: int, special: set[int]) -> gguf.TokenType:
    if model.is_unknown(id_):
        return gguf.TokenType.UNKNOWN
    if model.is_control(id_) or id_ in special:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if model.is_byte(id_) else gguf.TokenType.NORMAL
