"""Small models for tests, made on the fly: a random Llama with a sentencepiece tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["CHAT_TEMPLATE", "corpus", "make_json_tokenizer", "make_llama"]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
_WORDS = ["New", "York", "is", "located", "in", "the", "north", "of", "a", "city", "where", "rivers", "and", "streets"]
_WORDS += ["meet", "北京", "東京", "Zürich", "São", "🙂", "hello", "world"]


def make_llama(folder: Path, *, seed: int = 0, positions: int = 4096, endless: bool = False) -> Path:
    """Write a checkpoint of a few ten thousand random weights into `folder` and return it.

    positions  the longest prompt and answer together, in tokens
    endless    no token ends an answer
    """
    folder.mkdir(parents=True, exist_ok=True)
    _train_tokenizer(folder, eos="<none>" if endless else "</s>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=1,
        eos_token_id=None if endless else 2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _train_tokenizer(folder: Path, eos: str) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        user_defined_symbols=_ROLES,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    roles = {str(id_): {"content": text, "special": True} for id_, text in enumerate(_ROLES, start=3)}
    settings = {"bos_token": "<s>", "eos_token": eos, "added_tokens_decoder": roles, "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def make_json_tokenizer(folder: Path) -> Path:
    """Write a byte-level `tokenizer.json` into `folder`, the kind that most checkpoints since Llama 3 have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>", *_ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder


def corpus() -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(_WORDS, k=12)) for _ in range(200)]
