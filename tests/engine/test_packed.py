"""Packed weights: what they compute, what they take, and what is left as it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812  # everybody's name for it
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from cfai.engine import EngineSettings
from cfai.engine.footprint import footprint
from cfai.engine.fusing import fuse
from cfai.engine.int8 import quantise
from cfai.engine.matrices import MatrixLinear
from cfai.engine.opening import open_model
from cfai.engine.packed import PackedMatrix, pack, packing_pays
from tests.engine.test_fusing import CONFIGS, SHAPE, assert_same, build, logits, row
from tests.models import make_llama

pytestmark = pytest.mark.skipif(not torch._C._has_mkldnn, reason="torch has no oneDNN here")

FALCON = FalconConfig(vocab_size=160, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, bias=True)
TIED = LlamaConfig(**SHAPE, tie_word_embeddings=True)


def packed_in(model: PreTrainedModel) -> Iterator[PackedMatrix]:
    return (module for module in model.modules() if isinstance(module, PackedMatrix))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [0, 1, 3, 16, 129])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_that_of_a_linear_layer(dtype: torch.dtype, tokens: int, has_bias: bool) -> None:
    generator = torch.Generator().manual_seed(tokens)
    rows, bias, x = (torch.randn(shape, generator=generator).to(dtype) for shape in ((70, 50), (70,), (2, tokens, 50)))
    expected = F.linear(x, rows, bias if has_bias else None)
    found = PackedMatrix(rows, bias if has_bias else None)(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.3)


@pytest.mark.parametrize("name", [*CONFIGS, "falcon"])
def test_a_packed_model_computes_the_same_fused_and_as_it_is(name: str) -> None:
    config: PreTrainedConfig = {**CONFIGS, "falcon": FALCON}[name]
    model = build(config)
    with torch.inference_mode():
        expected = {length: logits(model, row(length)) for length in (1, 3, 16, 70)}
        pack(model, spare=1 << 20)
        assert len(list(packed_in(model))) > 4
        fused = fuse(model)
        assert fused.is_fused == (name != "falcon")
        for length, wanted in expected.items():
            assert_same(logits(model, row(length)), wanted)
            assert_same(fused(**row(length)), wanted)


def test_layers_that_are_given_the_same_are_one_product() -> None:
    model = build(Qwen2Config(**SHAPE))
    pack(model, spare=0)
    attention = model.model.layers[0].self_attn
    assert attention.q_proj.matrix is attention.k_proj.matrix is attention.v_proj.matrix
    assert attention.q_proj.matrix.outputs == 64 + 32 + 32
    assert attention.k_proj.weight.shape == (32, 64)
    assert attention.q_proj.matrix.bias is not None


def test_what_is_packed_takes_the_place_of_what_was_there() -> None:
    model = build(LlamaConfig(**SHAPE, tie_word_embeddings=False))
    before = model.get_memory_footprint()
    old = [weakref.ref(layer.mlp.down_proj.weight) for layer in model.model.layers]
    assert pack(model, spare=0) == 0
    gc.collect()
    assert not any(weight() is not None for weight in old)
    assert model.get_memory_footprint() == before
    assert isinstance(model.get_output_embeddings(), MatrixLinear)


def test_an_output_layer_that_is_the_embedding_is_a_copy_if_there_is_room() -> None:
    size = 160 * 64 * 4
    model = build(TIED)
    before = model.get_memory_footprint()
    assert pack(model, spare=size) == size
    assert model.get_memory_footprint() == before + size
    assert model.get_input_embeddings().weight.shape == (160, 64)

    model = build(TIED)
    wanted = logits(model, row(6))
    assert pack(model, spare=size - 1) == 0
    assert model.get_memory_footprint() == before
    assert isinstance(model.get_output_embeddings(), MatrixLinear), "it is oneDNN that multiplies, as they lie"
    assert_same(logits(model, row(6)), wanted)


def test_a_model_that_multiplies_weights_itself_gets_their_numbers() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 160, "hidden_size": 64, "n_layer": 2, "n_head": 4}
    model = AutoModelForCausalLM.from_config(BloomConfig(**sizes, slow_but_exact=True, pretraining_tp=2)).eval()
    ids = torch.arange(7)[None]
    with torch.inference_mode():
        wanted = model(ids).logits
        pack(model, spare=0)
        assert_same(model(ids).logits, wanted)


def test_a_layer_that_cannot_be_packed_stays_and_the_others_are_packed() -> None:
    model = build(LlamaConfig(**SHAPE))
    model.model.layers[0].self_attn.o_proj.double()  # oneDNN has no such numbers
    pack(model, spare=0)
    assert type(model.model.layers[0].self_attn.o_proj) is torch.nn.Linear
    assert type(model.model.layers[1].self_attn.o_proj) is MatrixLinear


def test_whether_it_pays_is_measured_with_the_models_own_layers() -> None:
    model = build(LlamaConfig(**SHAPE))
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = packing_pays(model)
    assert packing_pays(build(LlamaConfig(**SHAPE))) == found, "a model of the same shapes multiplies as the first one"
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("kind", ["int8", "tiny", "on another device"])
def test_a_model_with_nothing_to_pack_is_left_as_it_is(kind: str) -> None:
    model = build(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2, n_positions=8) if kind == "tiny" else TIED)
    if kind == "int8":
        quantise(model, torch.device("cpu"), torch.float32)
    elif kind == "on another device":
        model.to("meta")
    assert not packing_pays(model)
    if kind != "on another device":
        before = [type(module) for module in model.modules()]
        assert pack(model, spare=1 << 20) == 0
        assert [type(module) for module in model.modules()] == before


def test_layers_of_two_dtypes_stay_apart() -> None:
    model = build(LlamaConfig(**SHAPE))
    attention = model.model.layers[0].self_attn
    attention.q_proj.double()
    pack(model, spare=0)
    assert type(attention.q_proj) is type(attention.k_proj) is torch.nn.Linear
    assert type(attention.o_proj) is MatrixLinear


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_is_opened_packed_where_it_pays(tied: bool, tmp_path: Path) -> None:
    folder = make_llama(tmp_path)
    config = LlamaConfig.from_pretrained(
        folder, hidden_size=512, intermediate_size=1536, head_dim=128, tie_word_embeddings=tied
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    opened = open_model(folder, EngineSettings(device="cpu"), None, name="llama", progress=lambda done, total: None)
    assert bool(list(packed_in(opened.checkpoint.model))) == packing_pays(model)

    # In half precision, which needs no second forms, what a copy of the output layer takes is reckoned.
    half = footprint(folder, EngineSettings(device="cpu", dtype="bfloat16"), budget=10**10)
    assert half.spare == (config.vocab_size * 512 * 2 if tied else 0)
