"""Layers that share an input as one product, their weights as torch knows them."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig, PreTrainedConfig, Qwen2Config

from cfai.engine.fusing import fuse
from cfai.engine.matrices import JoinedMatrix, MatrixLinear, join
from tests.engine.test_fusing import CONFIGS, GEMMA, SHAPE, assert_same, build, logits, row


@pytest.mark.parametrize("name", CONFIGS)
def test_a_joined_model_computes_the_same_fused_and_as_it_is(name: str) -> None:
    model = build(CONFIGS[name])
    with torch.inference_mode():
        expected = {length: logits(model, row(length)) for length in (1, 3, 16, 70)}
        join(model)
        fused = fuse(model)
        for length, wanted in expected.items():
            assert_same(logits(model, row(length)), wanted)
            assert_same(fused(**row(length)), wanted)


@pytest.mark.parametrize("config", [Qwen2Config(**SHAPE), Gemma2Config(**SHAPE, **GEMMA)], ids=["qwen2", "gemma2"])
def test_queries_keys_and_values_are_one_product_and_gate_and_up_are(config: PreTrainedConfig) -> None:
    model = build(config)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    join(model)
    layer = model.model.layers[0]
    attention = layer.self_attn
    assert attention.q_proj.matrix is attention.k_proj.matrix is attention.v_proj.matrix
    assert layer.mlp.gate_proj.matrix is layer.mlp.up_proj.matrix
    assert torch.equal(attention.k_proj.weight, before["model.layers.0.self_attn.k_proj.weight"])
    assert not isinstance(layer.mlp.down_proj, MatrixLinear), "which has nobody to join"
    assert not isinstance(model.get_output_embeddings(), MatrixLinear)


def test_what_is_joined_takes_the_place_of_what_was_there() -> None:
    model = build(LlamaConfig(**SHAPE))
    before = model.get_memory_footprint()
    old = [weakref.ref(layer.mlp.up_proj.weight) for layer in model.model.layers]
    join(model)
    gc.collect()
    assert not any(weight() is not None for weight in old)
    assert model.get_memory_footprint() == before
    assert sum(isinstance(module, JoinedMatrix) for module in {*model.modules()}) == 4
