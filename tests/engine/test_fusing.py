"""A fused model computes what the model computes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812  # everybody's name for it
from torch.overrides import handle_torch_function, has_torch_function
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OlmoeConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)

from cfai.engine.fusing import Forward, fuse
from cfai.engine.int8 import quantise

SHAPE: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}
GRANITE = {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2, "logits_scaling": 3.0}
STRETCHED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama-3": LlamaConfig(**SHAPE, rope_parameters={**STRETCHED, "original_max_position_embeddings": 64}),
    "mistral": MistralConfig(**SHAPE, sliding_window=8),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "gemma2": Gemma2Config(**SHAPE, **GEMMA),
    "gemma3": Gemma3TextConfig(**SHAPE, **GEMMA),
    "phi": PhiConfig(**SHAPE),
    "phi3": Phi3Config(**SHAPE),
    "cohere": CohereConfig(**SHAPE),
    "gpt2": GPT2Config(vocab_size=160, n_embd=64, n_layer=2, n_head=4),
    "granite": GraniteConfig(**SHAPE, **GRANITE),
    "starcoder2": Starcoder2Config(**SHAPE),
    "mixtral": MixtralConfig(**SHAPE, num_local_experts=4),
    "olmoe": OlmoeConfig(**SHAPE, num_experts=4, num_experts_per_tok=2),
}


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """Attention within one row, which tells `seen`, if it is there, what it was asked for."""
    if (seen := options.pop("seen", None)) is not None:
        asked = sorted((name, option) for name, option in options.items() if not isinstance(option, torch.Tensor))
        seen.append((module.layer_idx, mask, query.shape, key.shape, asked))
    grouped = key.shape[1] != query.shape[1]
    scale = options.get("scaling")
    out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous(), None


def build(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of random weights, those of the norms included."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.dim() == 1:
            weight.add_(torch.randn_like(weight), alpha=0.1)
    AttentionInterface.register("attend_in_a_test", attend)
    model.set_attn_implementation("attend_in_a_test")
    return model


def row(length: int, kept: int = 3) -> dict[str, torch.Tensor]:
    ids = torch.randint(160, (1, length), generator=torch.Generator().manual_seed(length))
    keep = torch.arange(length).flip(0)[:kept]
    return {"input_ids": ids, "position_ids": torch.arange(100, 100 + length)[None], "logits_to_keep": keep}


def logits(model: PreTrainedModel, inputs: dict[str, torch.Tensor], **context: Any) -> torch.Tensor:
    made: torch.Tensor = model(**inputs, use_cache=False, **context).logits
    return made


def assert_same(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def greedy(forward: Any, count: int = 12) -> list[int]:
    ids = row(5)["input_ids"]
    for _ in range(count):
        length = ids.shape[1]
        last = torch.tensor([length - 1])
        made = forward({"input_ids": ids, "position_ids": torch.arange(length)[None], "logits_to_keep": last})
        ids = torch.cat((ids, made[:, -1].argmax(-1, keepdim=True)), dim=1)
    return [int(token) for token in ids[0]]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_fused_model_computes_the_same(name: str) -> None:
    model = build(CONFIGS[name])
    forward = fuse(model)
    assert forward.is_fused
    with torch.inference_mode():
        for length in (1, 3, 4, 16, 70):
            asked: list[Any] = []
            asked_of_fused: list[Any] = []
            expected = logits(model, row(length), seen=asked)
            assert_same(forward(**row(length), seen=asked_of_fused), expected)
            assert asked == asked_of_fused
            assert len(asked) == 2
        assert greedy(lambda inputs: forward(**inputs)) == greedy(lambda inputs: logits(model, inputs))


def small_llama(**changes: Any) -> PreTrainedModel:
    return build(LlamaConfig(**{**SHAPE, **changes}))


UNFIT: dict[str, PreTrainedConfig] = {
    "an attention of its own": FalconConfig(vocab_size=160, hidden_size=64, num_hidden_layers=2, num_attention_heads=4),
    "tables that grow": LlamaConfig(
        **SHAPE, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    ),
    "experts in turn": MixtralConfig(**SHAPE, num_local_experts=4, experts_implementation="eager"),
}


@pytest.mark.parametrize("why", UNFIT)
def test_a_model_that_cannot_be_recorded_runs_as_it_is(why: str) -> None:
    model = build(UNFIT[why])
    forward = fuse(model)
    assert not forward.is_fused
    with torch.inference_mode():
        assert torch.equal(forward(**row(6)), logits(model, row(6)))


def test_the_model_stays_as_it_was() -> None:
    model = small_llama()
    before = logits(model, row(6))
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    fuse(model, memory=1 << 30)
    assert model.config._attn_implementation == "attend_in_a_test"
    assert torch.equal(logits(model, row(6)), before)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("memory", [0, 768 * 768 * 4, 1 << 30])
def test_many_rows_with_copies_of_the_weights(memory: int) -> None:
    model = small_llama(hidden_size=768, intermediate_size=1024, attention_bias=True)
    forward = fuse(model, memory=memory)
    with torch.inference_mode():
        for length in (1, 3, 4, 16, 128, 129):
            assert_same(forward(**row(length)), logits(model, row(length)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model = small_llama().to(dtype)
    forward = fuse(model, memory=1 << 30)
    assert forward.is_fused
    with torch.inference_mode():
        assert_same(forward(**row(16)), logits(model, row(16)), tolerance=0.05)


class TwoWays(torch.nn.Module):
    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.taken: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product_by_rows(x, self)


def product_by_rows(x: torch.Tensor, layer: TwoWays) -> torch.Tensor:
    """A linear layer that has two ways, and shows itself to torch as one call."""
    if has_torch_function((x,)):
        made: torch.Tensor = handle_torch_function(product_by_rows, (x,), x, layer)
        return made
    layer.taken.append("one row" if x.shape[-2] == 1 else "many rows")
    return F.linear(x, layer.weight)


def test_a_function_that_declares_itself_to_torch_decides_by_size() -> None:
    model = small_llama(tie_word_embeddings=False)
    head = TwoWays(model.get_output_embeddings())
    model.set_output_embeddings(head)
    forward = fuse(model)
    assert forward.is_fused
    head.taken.clear()
    with torch.inference_mode():
        found = [forward(**row(6, kept)) for kept in (1, 4)]
        assert head.taken == ["one row", "many rows"]
        for kept, made in zip((1, 4), found, strict=True):
            assert_same(made, logits(model, row(6, kept)))


@pytest.mark.parametrize("name", ["llama", "phi", "cohere"])
def test_a_quantised_model_is_fused(name: str) -> None:
    model = build(CONFIGS[name])
    quantise(model, torch.device("cpu"), torch.float32)
    forward = fuse(model)
    assert forward.is_fused
    with torch.inference_mode():
        for length in (1, 16):
            assert_same(forward(**row(length)), logits(model, row(length)), tolerance=1e-3)


def test_the_weights_go_with_their_last_holder() -> None:
    model = small_llama()
    forward = fuse(model, memory=1 << 30)
    weights = weakref.ref(model.model.layers[0].self_attn)
    gc.collect()
    gc.disable()
    try:
        del model
        assert forward.is_fused
        del forward
        assert weights() is None
    finally:
        gc.enable()


def test_a_fused_model_can_be_compiled() -> None:
    model = small_llama()
    forward = fuse(model)

    @torch.compile(backend="eager", fullgraph=True)
    def step(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        made: torch.Tensor = forward(**inputs)
        return made

    with torch.inference_mode():
        assert_same(step(row(4)), logits(model, row(4)))


def test_it_needs_no_inference_mode() -> None:
    model = small_llama()
    forward: Forward = fuse(model)
    assert_same(forward(**row(4)), logits(model, row(4)))
