"""Tiny random checkpoints of many architectures, whose texts say which tokens they are, and an engine that runs one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from cfai.engine import EngineSettings, LocalEngine, Sampling, TextStream

__all__ = ["ARCHITECTURES", "ENDS", "VOCABULARY", "WINDOW", "at_once", "make_checkpoint", "read", "running"]

VOCABULARY = 320

WINDOW = 24
"""Tokens that a layer with a sliding window sees."""

ENDS = frozenset(range(5, VOCABULARY, 32))
"""The tokens that end an answer, in those checkpoints that have some."""

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
_GEMMA = _SIZES | {"head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 2}
_ALTERNATING = ["sliding_attention", "full_attention"]
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_hidden_size": 64, "bias": False}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_SIZES},
    "llama-scaled": {
        "model_type": "llama",
        **_SIZES,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
    "mistral": {"model_type": "mistral", **_SIZES, "sliding_window": WINDOW},
    "qwen2": {"model_type": "qwen2", **_SIZES},
    "qwen2.5": {"model_type": "qwen2", **_SIZES, "tie_word_embeddings": True},
    "qwen2-sliding": {
        "model_type": "qwen2",
        **_SIZES,
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", **_SIZES, "head_dim": 16},
    "gemma2": {
        "model_type": "gemma2",
        **_GEMMA,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 10.0,
    },
    "gemma3": {"model_type": "gemma3_text", **_GEMMA, "layer_types": _ALTERNATING},
    "phi3": {"model_type": "phi3", **_SIZES, "pad_token_id": None},
    "gpt2": {"model_type": "gpt2", **_GPT2},
    "granite": {
        "model_type": "granite",
        **_SIZES,
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.7,
        "logits_scaling": 0.5,
    },
    "starcoder2": {"model_type": "starcoder2", **_SIZES, "sliding_window": WINDOW},
    "falcon-rotary": {"model_type": "falcon", **_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-multi-query": {"model_type": "falcon", **_FALCON, "multi_query": True, "parallel_attn": True},
    "falcon-alibi": {"model_type": "falcon", **_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True},
    "gpt-neox": {"model_type": "gpt_neox", **_SIZES},
    "olmo2": {"model_type": "olmo2", **_SIZES},
    "cohere": {"model_type": "cohere", **_SIZES, "logit_scale": 1.0},
    "mixtral": {"model_type": "mixtral", **_SIZES, "num_local_experts": 4},
    "qwen2-moe": {"model_type": "qwen2_moe", **_SIZES, **_EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3-moe": {"model_type": "qwen3_moe", **_SIZES, **_EXPERTS, "head_dim": 16},
    "olmoe": {"model_type": "olmoe", **_SIZES, "num_experts": 4, "num_experts_per_tok": 2},
    "gpt-oss": {
        "model_type": "gpt_oss",
        **_SIZES,
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": WINDOW,
    },
    "olmo3": {"model_type": "olmo3", **_SIZES, "sliding_window": WINDOW, "layer_types": _ALTERNATING},
    "phi": {"model_type": "phi", **_SIZES},
    "opt": {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
    },
    "deepseek-v3": {
        "model_type": "deepseek_v3",
        **_SIZES,
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 32,
    },
    "llama4": {
        "model_type": "llama4_text",
        **_SIZES,
        "head_dim": 16,
        "intermediate_size_mlp": 64,
        "num_local_experts": 4,
        "attention_chunk_size": WINDOW,
        "no_rope_layers": [1, 0],
    },
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4, "tie_word_embeddings": False},
    "mamba": {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "lfm2": {
        "model_type": "lfm2",
        **_SIZES,
        "num_hidden_layers": 3,
        "layer_types": ["conv", "full_attention", "conv"],
        "block_multiple_of": 16,
    },
    "qwen3-next": {
        "model_type": "qwen3_next",
        **_SIZES,
        **_EXPERTS,
        "head_dim": 16,
        "shared_expert_intermediate_size": 32,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"],
    },
}
"""What the configuration of each says beyond its architecture's defaults."""


def make_checkpoint(
    folder: Path,
    name: str,
    *,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    spread: float = 0.4,
    ends: bool = False,
) -> Path:
    """Write a checkpoint of the architecture `name` into `folder` and return it.

    vocabulary  how many tokens there are
    spread      the standard deviation of the weights; large enough for answers that vary
    ends        the tokens of `ENDS` end an answer; else none does
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder, vocabulary)
    settings = {"vocab_size": vocabulary, "initializer_range": spread, "bos_token_id": None, "eos_token_id": None}
    config = AutoConfig.for_model(**{**settings, **ARCHITECTURES[name]})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, weights in model.named_parameters():
            if weights.dim() == 1 and not key.endswith("A_log"):  # biases are made as zeros, norms as ones
                weights += 0.2 * torch.randn_like(weights)
        if config.tie_word_embeddings:  # else every token is the likeliest to follow itself
            model.get_input_embeddings().weight *= 0.25
    model.generation_config = GenerationConfig(eos_token_id=sorted(ENDS) if ends else None)
    model.save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Token 17 reads "<17>", so that a text tells its tokens."""
    tokenizer = Tokenizer(models.WordLevel({f"<{token}>": token for token in range(vocabulary)}, unk_token="<0>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({}), "utf-8")


@contextlib.asynccontextmanager
async def running(folder: Path, *, slots: int = 8) -> AsyncIterator[LocalEngine]:
    """An engine with the checkpoint in `folder`, exact as the CPU is in float32."""
    engine = LocalEngine(folder, EngineSettings(device="cpu", dtype="float32", slots=slots, queue_limit=1000))
    try:
        await engine.ready.wait()
        yield engine
    finally:
        engine.close()


async def read(stream: TextStream) -> list[int]:
    """The tokens of an answer; the one that ends it has no text."""
    text = "".join([piece async for piece in stream])
    ids = [int(number) for number in re.findall(r"<(\d+)>", text)]
    assert text == "".join(f"<{token}>" for token in ids), f"{text!r} is not made of whole tokens"
    return ids


async def at_once(engine: LocalEngine, jobs: Sequence[tuple[list[int], Sampling]]) -> list[list[int]]:
    """The answers to prompts that are submitted together, in the order of the prompts."""
    answers: dict[int, list[int]] = {}

    async def keep(at: int, stream: TextStream) -> None:
        answers[at] = await read(stream)

    async with anyio.create_task_group() as tasks:
        for at, (prompt, sampling) in enumerate(jobs):
            tasks.start_soon(keep, at, engine.submit(prompt, sampling))
    return [answers[at] for at in range(len(jobs))]
