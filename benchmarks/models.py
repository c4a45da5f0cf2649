"""Checkpoints to measure with: Llama's architecture, random weights, a tokenizer trained on the spot.

python benchmarks/models.py 125m --cache ~/.cache/cfai-benchmarks --gguf
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # else `benchmarks/http.py` hides the library's http

VOCABULARY = 32000
POSITIONS = 4096
BYTE_TOKENS = 259
"""Special tokens and bytes, the first of the vocabulary."""
SHARD = 4 << 30
"""Bytes of a file if its numbers were float32, at most."""
CACHE = Path("~/.cache/cfai-benchmarks").expanduser()

GGUF_KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "Q8_0"}


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    tied: bool = False
    """The output matrix is the embedding."""
    dtype: str = "float32"
    """How the weights are stored."""

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @property
    def matrices(self) -> int:
        """The weights that every step reads: all but the embedding, of which it reads a row."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate) + VOCABULARY * self.hidden

    def bytes_per_step(self, *, weight: int, cached: int, tokens: int) -> int:
        """What a decode step has to read: the matrices once, and the keys and values of all `tokens` in the cache.

        weight, cached  bytes of one weight and of one number in the cache
        """
        return self.matrices * weight + tokens * 2 * self.layers * self.kv_heads * self.head_size * cached


SHAPES = {
    "15m": Shape(288, 768, 6, 6, 6, tied=True),
    "125m": Shape(768, 2048, 12, 12, 12, tied=True),
    "1b": Shape(2048, 5632, 22, 32, 4),
    "7b": Shape(4096, 11008, 32, 32, 32, dtype="bfloat16"),
}


def checkpoint(name: str, cache: Path = CACHE) -> Path:
    """The folder with the model `name` of `SHAPES`, made under `cache` if it is not there yet."""
    folder = cache / name
    if not folder.is_dir():
        begun = cache / f"{name}.begun"
        begun.mkdir(parents=True, exist_ok=True)
        _write_tokenizer(begun)
        _write_weights(begun, SHAPES[name])
        begun.replace(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """The same byte-pair tokenizer twice: for sentencepiece and for tokenizers."""
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, normalizers

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_babble(),
        model_writer=model,
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    pieces = _pieces(folder)
    ids = {piece: at for at, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces[BYTE_TOKENS:]
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _babble() -> Iterator[str]:
    """Lines of made-up words: enough different ones for a whole vocabulary of pieces."""
    chance = random.Random(0)
    syllables = [a + b + c for a in "bcdfghjklmnprstvwz" for b in "aeiou" for c in ("", "n", "r", "s", "l")]
    for _ in range(10_000):
        yield " ".join("".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(12))


def _pieces(folder: Path) -> list[str]:
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return [model.id_to_piece(at) for at in range(model.vocab_size())]


def _write_weights(folder: Path, shape: Shape) -> None:
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=shape.tied,
        rms_norm_eps=1e-6,
        bos_token_id=1,
        eos_token_id=None,
        dtype=shape.dtype,
    )
    with torch.device("meta"):
        shapes = LlamaForCausalLM(config).state_dict()
    if shape.tied:
        del shapes["lm_head.weight"]
    torch.manual_seed(0)
    # Drawing billions of numbers takes minutes. Four million of them, over and over, do as well: no row of a matrix is
    # like another, since their count is prime.
    drawn = (torch.randn(4_000_037) * 0.02).to(getattr(torch, shape.dtype))
    # File by file: a checkpoint may be larger than memory.
    split = split_torch_state_dict_into_shards(shapes, max_shard_size=SHARD)
    numbers = {name: number for number, name in enumerate(shapes)}
    output = "model.embed_tokens.weight" if shape.tied else "lm_head.weight"
    for file, names in split.filename_to_tensors.items():
        weights = {name: _made_up(drawn, numbers[name], name, shapes[name].shape) for name in names}
        if output in weights:  # special tokens and bytes are never the likeliest, so every token is a piece of text
            weights[output][:BYTE_TOKENS] = 0
        save_file(weights, folder / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": {}, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)


def _made_up(drawn: Any, number: int, name: str, shape: tuple[int, ...]) -> Any:
    """The tensor with this number, out of the numbers `drawn`."""
    if name.endswith("norm.weight"):
        return drawn.new_ones(shape)
    count = math.prod(shape)
    times = -(-count // drawn.numel())
    return drawn.roll(7919 * number).repeat(times)[:count].reshape(shape)


def prompt_ids(count: int, tokens: int, *, seed: int = 0) -> list[list[int]]:
    """`count` prompts of `tokens` ids each, all different from the first token on."""
    chance = random.Random(seed)
    return [chance.choices(range(BYTE_TOKENS, VOCABULARY - 100), k=tokens) for _ in range(count)]


def prompt_texts(folder: Path, count: int, tokens: int, *, seed: int = 0) -> list[str]:
    """`count` texts that have `tokens` tokens each, the one for the beginning included."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    whole = [piece[1:] for piece in _pieces(folder)[BYTE_TOKENS:] if piece.startswith("▁") and len(piece) > 4]
    words = [word for word in whole if len(model.encode(word)) == 1]
    chance = random.Random(seed)
    return [" ".join(chance.choices(words, k=tokens - 1)) for _ in range(count)]


def gguf(name: str, cache: Path = CACHE, *, dtype: str) -> Path:
    """The same weights for llama.cpp, with matrices of `dtype`: float32, float16, bfloat16, or int8 (its Q8_0)."""
    folder = checkpoint(name, cache)
    file = cache / f"{name}-{GGUF_KINDS[dtype]}.gguf"
    if not file.is_file():
        begun = file.with_suffix(".begun")
        _write_gguf(folder, begun, SHAPES[name], dtype)
        begun.replace(file)
    return file


def _write_gguf(folder: Path, file: Path, shape: Shape, dtype: str) -> None:
    from gguf import (  # type: ignore[import-not-found]
        GGMLQuantizationType,
        GGUFWriter,
        LlamaFileType,
        TokenType,
    )
    from gguf.quants import quantize  # type: ignore[import-not-found]
    from safetensors import safe_open
    from sentencepiece import SentencePieceProcessor

    kind = getattr(GGMLQuantizationType, GGUF_KINDS[dtype])
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(
        {"F32": LlamaFileType.ALL_F32, "F16": LlamaFileType.MOSTLY_F16, "BF16": LlamaFileType.MOSTLY_BF16}.get(
            kind.name, LlamaFileType.MOSTLY_Q8_0
        )
    )
    model = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    types = [TokenType.UNKNOWN, *[TokenType.CONTROL] * 2, *[TokenType.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(_pieces(folder))
    writer.add_token_scores([model.get_score(at) for at in range(VOCABULARY)])
    writer.add_token_types([*types, *[TokenType.NORMAL] * (VOCABULARY - len(types))])
    writer.add_bos_token_id(1)
    writer.add_add_bos_token(True)
    for part in sorted(folder.glob("*.safetensors")):
        with safe_open(part, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118  # it is no dict
                weights = tensors.get_tensor(key).float().numpy()
                for matrix, heads in (("q_proj", shape.heads), ("k_proj", shape.kv_heads)):
                    if matrix in key:  # llama.cpp rotates neighbours, transformers the halves of a head
                        halves = weights.reshape(heads, 2, shape.head_size // 2, shape.hidden)
                        weights = halves.swapaxes(1, 2).reshape(weights.shape)
                to = kind if weights.ndim == 2 else GGMLQuantizationType.F32
                writer.add_tensor(_gguf_name(key), quantize(weights, to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(key: str) -> str:
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "model.layers.": "blk.",
    }
    for theirs, ours in names.items():
        key = key.replace(theirs, ours)
    return key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="+", choices=SHAPES)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--gguf", action="store_true", help="for llama.cpp too, in float32 and int8")
    given = parser.parse_args()
    for name in given.names:
        print(checkpoint(name, given.cache))
        for dtype in ("float32", "int8") if given.gguf else ():
            print(gguf(name, given.cache, dtype=dtype))


if __name__ == "__main__":
    main()
