"""Small models for tests, made on the fly: a random Llama with a sentencepiece tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["CHAT_TEMPLATE", "make_llama"]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_WORDS = "New York is located in the north of a city where rivers and streets meet 北京 東京 Zürich São 🙂 hello world".split()


def make_llama(folder: Path, *, seed: int = 0, layers: int = 2, positions: int = 4096) -> Path:
    """Write a checkpoint of a few ten thousand random weights into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    _train_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    return folder


def _train_tokenizer(folder: Path) -> None:
    rng = random.Random(0)
    corpus = [" ".join(rng.choices(_WORDS, k=12)) for _ in range(200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        hard_vocab_limit=False,
        user_defined_symbols=["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"],
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
