"""Int8 weights: what they compute, what they take, and that a model made of them still says the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    LongcatFlashConfig,
    OlmoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3MoeConfig,
)

from cfai.engine.int8 import HalfEmbedding, Int8Embedding, quantise
from cfai.engine.int8_matrices import (
    FloatMatrix,
    Int8Matrix,
    TokenMatrix,
    VnniMatrix,
    has_vnni,
    matrix_for,
    quantise_rows,
)
from cfai.engine.matrices import MatrixLinear, multiply

CPU = torch.device("cpu")
HERE: list[type[Int8Matrix]] = [FloatMatrix, TokenMatrix, *([VnniMatrix] if has_vnni() else [])]
SMALL = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**SMALL, "hidden_size": 128, "num_hidden_layers": 8, "intermediate_size": 320}
"""The embedding of 500 tokens is a small part of it."""


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return model


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def test_rows_are_within_half_a_step() -> None:
    weight = random(1500, 40) * torch.logspace(-4, 4, 1500)[:, None]
    rows, scales = quantise_rows(weight)
    assert rows.dtype == torch.int8
    assert rows.abs().amax(1).eq(127).all()
    assert ((rows * scales[:, None] - weight).abs() <= 0.5001 * scales[:, None]).all()


def test_a_row_of_zeros_stays_zero_and_one_with_a_nan_is_not_hidden() -> None:
    weight = random(3, 8)
    weight[0] = 0
    weight[1, 4] = torch.nan
    rows, scales = quantise_rows(weight)
    product = FloatMatrix(rows, scales)(torch.ones(1, 8))[0]
    assert product[0] == 0
    assert product.isnan().tolist() == [False, True, False]


def test_a_router_that_multiplies_its_layers_weight_itself_sends_tokens_to_the_same_experts() -> None:
    sizes = {**SMALL, "ffn_hidden_size": 96, "expert_ffn_hidden_size": 32, "num_layers": 1, "vocab_size": 160}
    heads = {"qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 32, "head_dim": 16, "q_lora_rank": 32}
    experts = {"n_routed_experts": 12, "zero_expert_num": 4, "moe_topk": 2, "kv_lora_rank": 32}
    model = model_of(LongcatFlashConfig(**{**sizes, "num_key_value_heads": 4, **heads, **experts}))
    ids = torch.arange(3, 15)[None]
    before = model(ids, use_cache=False).logits
    quantise(model, CPU, torch.float32)
    assert error(model(ids, use_cache=False).logits, before) < 0.1


@pytest.mark.parametrize("kind", HERE)
@pytest.mark.parametrize("tokens", [1, 5, 16, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "has_bias"), [(192, False), (200, True)])
def test_a_product_is_that_of_the_int8_weights(
    kind: type[Int8Matrix], tokens: int, dtype: torch.dtype, inputs: int, has_bias: bool
) -> None:
    rows, scales = quantise_rows(random(300, inputs) / 50)
    bias = random(300, seed=1) if has_bias else None
    x = random(tokens, inputs, seed=2).to(dtype)
    wanted = F.linear(x.float(), rows * scales[:, None], bias)
    found = kind(rows, scales, bias)(x[None])
    assert found.dtype == dtype
    assert found.shape == (1, tokens, 300)
    rounding = 1e-4 if dtype == torch.float32 and kind is not TokenMatrix else 6e-3
    assert error(found[0], wanted) < rounding


@pytest.mark.skipif(not has_vnni(), reason="the processor has no VNNI")
def test_with_vnni_a_token_is_the_same_in_any_company() -> None:
    matrix = VnniMatrix(*quantise_rows(random(96, 512)))
    x = random(40, 512, seed=1) * torch.logspace(-3, 3, 40)[:, None]
    together = matrix(x)
    assert all(torch.equal(together[at], matrix(x[at : at + 1])[0]) for at in range(40))


@pytest.mark.parametrize("kind", HERE)
def test_activations_that_are_no_numbers_are_not_hidden(kind: type[Int8Matrix]) -> None:
    x = random(3, 64)
    x[1, 7] = torch.nan
    product = kind(*quantise_rows(random(32, 64)))(x)
    assert product.isnan().all(1).tolist() == [False, True, False]
    assert kind(*quantise_rows(random(32, 64)))(torch.zeros(2, 64)).eq(0).all()


FAMILIES = {
    "llama": LlamaConfig(**SMALL, vocab_size=500, num_key_value_heads=2),
    "llama, the embedding stays": LlamaConfig(**WIDE, vocab_size=500),
    "qwen2, biases": Qwen2Config(**SMALL, vocab_size=500, num_key_value_heads=2),
    "olmo, norms without weights": OlmoConfig(**SMALL, vocab_size=500, num_key_value_heads=2),
    "gemma3, tied and multiplied": Gemma3TextConfig(**SMALL, vocab_size=500, num_key_value_heads=2, head_dim=16),
    "gpt2, tied and transposed": GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500, n_positions=64),
    "falcon, its own layer": FalconConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=500, alibi=False
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_says_the_same_in_less_memory(family: str) -> None:
    model = model_of(FAMILIES[family])
    ids = torch.randint(500, (1, 24), generator=torch.Generator().manual_seed(1))
    wanted, before, count = model(ids).logits, model.get_memory_footprint(), model.num_parameters()
    quantise(model, CPU, torch.float32)
    assert error(model(ids).logits, wanted) < 0.05
    assert model.get_memory_footprint() < 0.56 * before
    assert model.num_parameters() > 0.9 * count  # the threads to use are chosen by it
    assert isinstance(model.get_input_embeddings(), HalfEmbedding if "stays" in family else Int8Embedding)
    assert isinstance(model.get_output_embeddings(), MatrixLinear)
    assert model.get_output_embeddings().weight.shape == (500, model.config.hidden_size)
    assert model.get_input_embeddings().weight.shape == (500, model.config.hidden_size)
    assert model.dtype == torch.float32


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_an_embedding_of_its_own_stays_in_half_precision(stored: torch.dtype) -> None:
    model = model_of(LlamaConfig(**WIDE, vocab_size=500)).to(stored)
    embedding, ids = model.get_input_embeddings().weight.clone(), torch.randint(500, (1, 24))
    wanted, weights = model.to(torch.float32)(ids).logits, model.num_parameters()
    quantise(model.to(stored), CPU, torch.float32)
    found: Any = model.get_input_embeddings()
    assert isinstance(found, HalfEmbedding)
    assert torch.equal(found.weight, embedding.to(torch.float16 if stored == torch.float32 else stored))
    assert error(model(ids).logits, wanted) < 0.05
    assert model.dtype == torch.float32
    assert model.get_memory_footprint() <= 0.56 * 2 * weights


def test_an_embedding_that_float16_has_no_numbers_for_is_kept_in_bfloat16() -> None:
    model = model_of(LlamaConfig(**WIDE, vocab_size=500))
    model.get_input_embeddings().weight[7, 7] = 1e6
    wanted = model(torch.tensor([[7, 8]])).logits
    quantise(model, CPU, torch.float32)
    assert error(model(torch.tensor([[7, 8]])).logits, wanted) < 0.05


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**WIDE, vocab_size=2500), LlamaConfig(**WIDE, vocab_size=500, tie_word_embeddings=True)],
    ids=["too large a part of the whole", "the output too"],
)
def test_another_embedding_is_int8_as_the_layers_are(config: LlamaConfig) -> None:
    model = model_of(config)
    weights = model.num_parameters()
    quantise(model, CPU, torch.float32)
    assert isinstance(model.get_input_embeddings(), Int8Embedding)
    assert model.get_memory_footprint() <= 0.56 * 2 * weights


def test_what_stays_in_single_precision_is_counted_as_that() -> None:
    # Its biases and norms leave too little room for an embedding in half precision.
    model = model_of(BloomConfig(hidden_size=64, n_layer=6, n_head=4, vocab_size=300, tie_word_embeddings=False))
    weights = model.num_parameters()
    quantise(model, CPU, torch.float32)
    assert model.get_memory_footprint() <= 0.56 * 2 * weights


@pytest.mark.parametrize("family", ["qwen2, biases", "olmo, norms without weights"])
def test_the_dtype_of_the_model_is_that_of_its_activations(family: str) -> None:
    model = model_of(FAMILIES[family]).to(torch.bfloat16)
    quantise(model, CPU, torch.bfloat16)
    assert model(torch.tensor([[1, 2, 3]])).logits.dtype == torch.bfloat16
    assert model.dtype == model.get_submodule("model").dtype == torch.bfloat16


def test_experts_stay_as_they_are() -> None:
    model = model_of(
        Qwen3MoeConfig(
            **SMALL, vocab_size=500, num_key_value_heads=2, head_dim=16, num_experts=4, moe_intermediate_size=32
        )
    )
    experts = {name: tensor.clone() for name, tensor in model.named_parameters() if ".experts." in name}
    quantise(model, CPU, torch.float32)
    found = dict(model.named_parameters())
    assert experts
    assert all(torch.equal(found[name], tensor) for name, tensor in experts.items())


def test_what_is_loaded_in_half_precision_runs_in_single() -> None:
    model = model_of(FAMILIES["gemma3, tied and multiplied"])
    wanted = model(torch.tensor([[1, 2, 3]])).logits
    model.to(torch.bfloat16)
    quantise(model, CPU, torch.float32)
    found = model(torch.tensor([[1, 2, 3]])).logits
    assert found.dtype == torch.float32
    assert error(found, wanted) < 0.05


def test_siblings_share_one_product() -> None:
    model = model_of(FAMILIES["llama"])
    quantise(model, CPU, torch.float32)
    attention: Any = model.get_submodule("model.layers.0.self_attn")
    seen = Calls()
    with seen:
        x, y = random(1, 4, 64), random(1, 4, 64, seed=1)
        first = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
        again = attention.q_proj(x), attention.q_proj(y), attention.k_proj(x), attention.v_proj(y)
    assert [part.shape[-1] for part in first] == [64, 32, 32]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[2])
    assert not torch.equal(first[2], again[3])
    assert seen.products == 1 + len(again)


class Calls(TorchFunctionMode):
    """Counts products as one who records a model would see them."""

    products = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += func is multiply
        assert "qlinear" not in str(func)
        return func(*args, **(kwargs or {}))


def test_a_device_without_kernels_of_its_own_multiplies_floats() -> None:
    matrix = matrix_for(torch.device("mps"))(*quantise_rows(random(8, 16)))
    assert isinstance(matrix, FloatMatrix)


def test_the_fastest_kind_for_the_processor_is_taken() -> None:
    assert matrix_for(CPU) is (VnniMatrix if has_vnni() else TokenMatrix)


def test_what_would_overflow_without_vnni_is_not_taken() -> None:
    # oneDNN is told to use the instructions of older processors, which lose bits of such sums.
    script = "from cfai.engine.int8_matrices import has_vnni; assert not has_vnni()"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, check=True)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_cuda_kernels_compute_the_product(tmp_path: Path) -> None:
    # Triton decides when it is imported whether it interprets its kernels, which needs no GPU. Its interpreter has no
    # bfloat16 for tensor cores.
    script = tmp_path / "interpreted.py"
    script.write_text(textwrap.dedent(_KERNELS))
    subprocess.run([sys.executable, script], env={**os.environ, "TRITON_INTERPRET": "1"}, check=True)


_KERNELS = """
    import torch
    from cfai.engine.int8_matrices import quantise_rows
    from cfai.engine.int8_triton import FEW_TOKENS, ONE_TOKEN, TritonMatrix

    torch.manual_seed(0)
    for outputs, inputs, has_bias in [(130, 2000, True), (64, 4096, False)]:
        rows, scales = quantise_rows(torch.randn(outputs, inputs) / 30)
        bias = torch.randn(outputs) if has_bias else None
        matrix = TritonMatrix(rows, scales, bias)

        def check(x, found):
            wanted = torch.nn.functional.linear(x.float(), rows * scales[:, None], bias)
            assert found.dtype == x.dtype
            assert (found.float() - wanted).norm() < (1e-3 if x.dtype == torch.float16 else 6e-3) * wanted.norm()

        for tokens in (1, 2, 17, 64, 65):
            x = torch.randn(tokens, inputs, dtype=torch.float16)
            check(x, matrix(x))
        one, few = torch.randn(1, inputs), torch.randn(5, inputs, dtype=torch.float16)
        for blocks in ONE_TOKEN:
            check(one.bfloat16(), matrix.one_token(one.bfloat16(), blocks))
        for blocks in FEW_TOKENS:
            check(few, matrix.few_tokens(few, blocks))
"""
