"""What a model runs as whose id names a precision, and what it loses by it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.precision import DEMO, measure, passages_of_training
from cfai.catalog import Precision
from cfai.devices import check_dtype
from cfai.engine import RunsAs, precision_for
from cfai.engine.int8 import matrices_of

IS_FAST_IN_BFLOAT16 = torch.cpu.get_capabilities().get("avx512_bf16", False)
HALF_ON_CPU = "bfloat16" if IS_FAST_IN_BFLOAT16 else None


@pytest.mark.parametrize(
    ("named", "cpu", "cuda", "mps"),
    [
        ("int8", "int8", "int8", "int8"),
        ("fp16", HALF_ON_CPU, "float16", "float16"),
        ("bf16", HALF_ON_CPU, "bfloat16", "bfloat16"),
        ("fp8", "int8", "int8", None),
        ("awq", "int8", "int8", None),
        ("gguf", "int8", "int8", None),
        (None, None, None, None),
    ],
)
def test_the_id_says_what_it_is_and_the_device_what_it_becomes(
    named: Precision | None, cpu: str | None, cuda: str | None, mps: str | None
) -> None:
    found = [precision_for(named, device).dtype for device in ("cpu", "cuda:1", "mps")]
    assert found == [cpu, cuda, mps]
    for dtype in filter(None, found):
        check_dtype(dtype)


@pytest.mark.parametrize("named", get_args(Precision))
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps", None])
def test_a_note_says_where_it_is_something_else(named: Precision, device: str | None) -> None:
    runs_as = precision_for(named, device)
    own = {"int8": "int8", "fp16": "float16", "bf16": "bfloat16"}.get(named, "none")
    assert (runs_as.note == "") == (runs_as.dtype == own)
    assert not runs_as.note or f"in place of {named}: " in runs_as.note


def test_what_the_user_says_goes_before_the_id() -> None:
    assert precision_for("int8", asked="float32") == RunsAs("float32", "float32 in place of int8, as the settings say")
    assert precision_for("fp16", asked="float16") == RunsAs("float16")
    assert precision_for(None, asked="int8") == RunsAs("int8")


def test_int8_says_nearly_always_what_full_precision_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CFAI_HOME", str(tmp_path))
    _, int8 = measure(DEMO, passages_of_training(20), ["int8"])
    assert int8.agreement > 0.97
    assert int8.ratio < 1.03
    assert int8.answers >= 0.75


@pytest.mark.parametrize(("kv_heads", "intermediate"), [(32, 11008), (8, 14336)])
def test_int8_takes_little_more_than_half_of_half_precision_at_seven_billion_weights(
    kv_heads: int, intermediate: int
) -> None:
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=intermediate,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=kv_heads,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert 6.7e9 < model.num_parameters() < 7.5e9
    matrices = matrices_of(model)
    assert "lm_head" in matrices
    halved = {layer.weight: layer.weight.numel() + 4 * len(layer.weight) for layer in matrices.values()}
    embedding = model.get_input_embeddings().weight
    assert embedding not in halved
    norms = sum(4 * weight.numel() for weight in model.parameters() if weight not in {embedding, *halved})
    assert sum(halved.values()) + 2 * embedding.numel() + norms < 0.52 * 2 * model.num_parameters()
