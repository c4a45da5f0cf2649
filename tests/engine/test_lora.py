"""LoRA adapters on a running model: the same as PEFT's, several in one batch, and none that harms it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import peft
import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from cfai.adapters import Adapter, AdapterConfig, AdapterProblem
from cfai.engine import EngineSettings, LocalEngine, Sampling, TextStream
from cfai.engine.checkpoint import load_checkpoint
from cfai.engine.engine import SETTLE_SECONDS
from cfai.engine.fusing import fuse
from cfai.engine.int8 import quantise
from cfai.engine.lora import AdapterBank, adapted
from cfai.errors import AiError, LoraIncompatible
from tests.adapters import ALL_LAYERS, make_adapter, make_files
from tests.architectures import make_checkpoint
from tests.engine.test_fusing import CONFIGS, assert_same, build, logits, row
from tests.models import make_json_tokenizer

PROMPT = [5, 9, 14, 3, 7, 20]
GREEDY = Sampling(temperature=0, max_tokens=24)
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of peft


@pytest.fixture(scope="module")
def adapters(endless_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Of several ranks, for all layers and for some."""
    folder = tmp_path_factory.mktemp("adapters")
    made = [
        make_adapter(folder / "all", endless_llama, rank=4, seed=1),
        make_adapter(folder / "some", endless_llama, rank=8, alpha=16, targets=("q_proj", "v_proj"), seed=2),
        make_adapter(folder / "root", endless_llama, rank=2, targets=("down_proj",), seed=3, use_rslora=True),
    ]
    return [Adapter.at(each) for each in made]


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    engines: list[LocalEngine] = []

    async def start(folder: Path, **settings: Any) -> LocalEngine:
        engines.append(LocalEngine(folder, EngineSettings(**settings)))
        await engines[-1].ready.wait()
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


async def text(stream: TextStream) -> str:
    return "".join([piece async for piece in stream])


async def texts(engine: LocalEngine, prompt: list[int], adapters: list[Adapter | None]) -> list[str]:
    """The answers, all made at once."""
    made = [""] * len(adapters)

    async def make(index: int) -> None:
        made[index] = await text(engine.submit(prompt, GREEDY, adapter=adapters[index]))

    async with anyio.create_task_group() as tasks:
        for index in range(len(adapters)):
            tasks.start_soon(make, index)
    return made


def expected_text(engine: LocalEngine, base: Path, adapter: Adapter, prompt: list[int]) -> str:
    model: Any = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter.folder)
    made = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
    detokenizer = engine.checkpoint.tokenizer.detokenizer()
    return "".join([*map(detokenizer.put, made[0, len(prompt) :].tolist()), detokenizer.flush()])


async def test_answers_are_those_of_peft(
    start: Callable[..., Any], endless_llama: Path, adapters: list[Adapter]
) -> None:
    engine = await start(endless_llama)
    prompt = engine.checkpoint.prompts.raw("New York is located in")
    base = await text(engine.submit(prompt, GREEDY))
    for adapter in adapters:
        answer = await text(engine.submit(prompt, GREEDY, adapter=adapter))
        assert answer == expected_text(engine, endless_llama, adapter, prompt) != base


@pytest.mark.parametrize("dtype", [None, "int8"])
async def test_answers_in_a_batch_are_those_made_alone(
    start: Callable[..., Any], endless_llama: Path, adapters: list[Adapter], dtype: str | None
) -> None:
    engine = await start(endless_llama, dtype=dtype)
    prompt = engine.checkpoint.prompts.raw("New York is located in the north of a city where rivers and streets meet")
    everyone: list[Adapter | None] = [None, *adapters]
    alone = [await text(engine.submit(prompt, GREEDY, adapter=adapter)) for adapter in everyone]
    assert len(set(alone)) == len(alone)
    assert await texts(engine, prompt, everyone * 3) == alone * 3
    await anyio.sleep(2 * SETTLE_SECONDS)  # now the model is recorded, and runs from that
    assert await texts(engine, prompt, everyone * 3) == alone * 3
    assert [await text(engine.submit(prompt, GREEDY, adapter=adapter)) for adapter in everyone] == alone
    assert sorted(engine.stats()["adapters"]) == ["all", "root", "some"]
    assert engine.stats()["memory"] > engine.checkpoint.memory


@pytest.mark.parametrize("dtype", [None, "int8"])
def test_scores_are_those_of_peft(endless_llama: Path, adapters: list[Adapter], dtype: str | None) -> None:
    """Rows with different adapters side by side, against the base model that PEFT changes."""
    loaded = load_checkpoint(endless_llama, device="cpu", dtype=dtype)
    ids = torch.arange(1, 8)[None]
    bank = AdapterBank(loaded.model)
    with torch.inference_mode():
        for adapter in adapters:
            bank.bring(adapter, busy=adapters)
        for adapter in adapters:
            model: Any = peft.PeftModel.from_pretrained(
                AutoModelForCausalLM.from_pretrained(endless_llama), adapter.folder
            )
            expected, plain = model(input_ids=ids).logits, loaded.model(input_ids=ids).logits
            with bank.step([(adapter, 7)]):
                found = loaded.model(input_ids=ids).logits
            with bank.step([(adapters[0], 3), (None, 4)]):
                mixed = loaded.model(input_ids=ids).logits
            assert (expected - plain).abs().max() > 0.05
            tolerance = 1e-4 if dtype is None else 0.02
            assert (found - expected).abs().max() < tolerance * expected.abs().max()
            assert not torch.equal(mixed[0, 3:], plain[0, 3:])  # they attend to the first three
        assert torch.equal(loaded.model(input_ids=ids).logits, plain)


def random_adapter(folder: Path, model: PreTrainedModel, rank: int) -> Adapter:
    """For every layer of `model` that can have one."""
    random = torch.Generator().manual_seed(rank)
    tensors = {}
    for name, layer in model.named_modules():
        if (
            type(layer).__name__ in ("Linear", "FalconLinear", "Conv1D", "MatrixLinear")
            and layer is not model.get_output_embeddings()
        ):
            weight: Any = layer.weight
            outputs, inputs = weight.shape[::-1] if type(layer).__name__ == "Conv1D" else weight.shape
            tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, inputs, generator=random) * 0.1
            tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(outputs, rank, generator=random) * 0.1
    targets = sorted({key.split(".")[-3] for key in tensors})
    return Adapter.at(make_files(folder, tensors, r=rank, lora_alpha=8, target_modules=targets))


@pytest.mark.parametrize(("name", "is_int8"), [*((name, False) for name in CONFIGS), ("llama", True), ("phi3", True)])
def test_a_recording_knows_of_adapters_and_pays_nothing_without(name: str, is_int8: bool, tmp_path: Path) -> None:
    model = build(CONFIGS[name])
    if is_int8:
        quantise(model, torch.device("cpu"), torch.float32)
    bank = AdapterBank(model)
    first, second = (random_adapter(tmp_path / str(rank), model, rank) for rank in (2, 3))
    with torch.inference_mode():
        recorded = fuse(model, memory=1 << 24, bank=bank)
        assert recorded.is_fused
        plain = logits(model, row(7))
        for adapter in (first, second):
            bank.bring(adapter, busy=[first])
        for tokens in ([(first, 7)], [(first, 2), (None, 1), (second, 4)]):
            with bank.step(tokens):
                expected, found = logits(model, row(7)), recorded(**row(7))
            assert_same(found, expected, 1e-3 if is_int8 else 1e-5)
            assert (found - plain).abs().max() > 0.01 * plain.abs().max()
        with calls_of(adapted) as made:
            assert_same(recorded(**row(7)), plain, 1e-3 if is_int8 else 1e-5)
            assert made == []
            with bank.step([(first, 7)]):
                recorded(**row(7))
            assert len(made) == len(bank.pairs) > 0


class _Calls(TorchFunctionMode):
    def __init__(self, function: Any, made: list[Any]) -> None:
        super().__init__()
        self._function, self._made = function, made

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self._function:
            self._made.append(func)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def calls_of(function: Any) -> Iterator[list[Any]]:
    made: list[Any] = []
    with _Calls(function, made):
        yield made


async def test_a_prompt_that_another_adapter_has_read_is_read_again(
    start: Callable[..., Any], endless_llama: Path, adapters: list[Adapter]
) -> None:
    engine = await start(endless_llama)
    prompt = engine.checkpoint.prompts.raw("rivers and streets meet " * 8)
    cached = []
    for adapter in (None, adapters[0], adapters[1], adapters[0], None):
        stream = engine.submit(prompt, GREEDY, adapter=adapter)
        await text(stream)
        cached.append(stream.cached_tokens)
    assert cached[:3] == [0, 0, 0]
    assert min(cached[3:]) >= len(prompt) - 1


async def test_guessed_tokens_are_checked_with_the_adapter(
    start: Callable[..., Any], endless_llama: Path, adapters: list[Adapter]
) -> None:
    guessing, plain = await start(endless_llama, draft_tokens=4), await start(endless_llama)
    prompt = plain.checkpoint.prompts.raw("a city where a city where a city where a city")
    everyone: list[Adapter | None] = [None, *adapters]
    assert await texts(guessing, prompt, everyone) == await texts(plain, prompt, everyone)


async def test_layers_of_gpt2_are_transposed(start: Callable[..., Any], tmp_path: Path) -> None:
    config = GPT2Config(n_layer=2, n_head=4, n_embd=32, vocab_size=500, n_positions=256, eos_token_id=None)
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    make_json_tokenizer(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "generation_config.json").write_text("{}")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2")
    lora = peft.LoraConfig(r=4, lora_alpha=32, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    peft.get_peft_model(base, lora).save_pretrained(str(tmp_path / "lora"))
    engine, adapter = await start(tmp_path / "gpt2"), Adapter.at(tmp_path / "lora")
    prompt = engine.checkpoint.prompts.raw("New York is located in")
    alone = [await text(engine.submit(prompt, GREEDY, adapter=each)) for each in (None, adapter)]
    assert alone[1] == expected_text(engine, tmp_path / "gpt2", adapter, prompt) != alone[0]
    assert await texts(engine, prompt, [None, adapter] * 2) == alone * 2


@pytest.mark.parametrize("name", ["falcon-rotary", "falcon-alibi", "mixtral", "phi3"])
async def test_other_architectures_answer_as_with_peft(start: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """Those whose attention takes a cache and a mask, one sequence at a time, with experts, with joined layers."""
    base = make_checkpoint(tmp_path / "base", name)
    adapter = random_adapter(tmp_path / "lora", AutoModelForCausalLM.from_pretrained(base), 4)
    engine = await start(base)
    alone = [await text(engine.submit(PROMPT, GREEDY, adapter=each)) for each in (None, adapter)]
    assert alone[1] == expected_text(engine, base, adapter, PROMPT) != alone[0]
    assert await texts(engine, PROMPT, [None, adapter] * 2) == alone * 2


@pytest.fixture
def tensors(adapters: list[Adapter]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(adapters[0].folder / "adapter_model.safetensors")
    return found


def changed(tensors: dict[str, torch.Tensor], **by_half: torch.Tensor) -> dict[str, torch.Tensor]:
    return tensors | {f"{LAYER}.lora_{half}.weight": tensor for half, tensor in by_half.items()}


@pytest.mark.parametrize(
    ("change", "config", "hint"),
    [
        (lambda own: changed(own, A=torch.zeros(4, 31)), {}, "lora_A of model.layers.0.self_attn.q_proj is [4, 31]"),
        (lambda own: changed(own, B=torch.zeros(32, 3)), {}, "is [32, 3], and the model and the config want [32, 4]"),
        (lambda own: own, {"r": 8}, "the model and the config want [8, 64]"),
        (lambda own: own, {"rank_pattern": {"layers.0.self_attn.q_proj": 8}}, "want [8, 32]"),
        (lambda own: own, {"target_modules": ["v_proj"]}, "which its target_modules do not name"),
        (lambda own: own, {"use_dora": True}, "use_dora is true, and DoRA scales"),
        (lambda own: changed(own, A=torch.full((4, 32), torch.nan)), {}, "q_proj are not numbers (NaN or infinity)"),
        (lambda own: {}, {}, "it has no weights"),
        (lambda own: {f"{LAYER}.lora_A.weight": torch.zeros(4, 32)}, {}, "q_proj has no matrix lora_B"),
        (
            lambda own: {f"{LAYER}2.lora_A.weight": torch.zeros(4, 32)},
            {},
            "the model has no layer model.layers.0.self_attn.q_proj2 that takes adapters; did you mean",
        ),
        (
            lambda own: {"base_model.model.lm_head.lora_A.weight": torch.zeros(4, 32)},
            {},
            "the model has no layer lm_head that takes adapters",
        ),
        (
            lambda own: {"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(4, 32)},
            {},
            "is no matrix of a LoRA adapter as PEFT writes it",
        ),
        (lambda own: {"x": torch.zeros(1, dtype=torch.int64)}, {}, "x is I64, and F32, F16, BF16 are supported"),
    ],
)
async def test_an_adapter_for_another_model_harms_nobody(
    start: Callable[..., Any],
    endless_llama: Path,
    adapters: list[Adapter],
    tensors: dict[str, torch.Tensor],
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    config: dict[str, Any],
    hint: str,
) -> None:
    told = {"r": 4, "lora_alpha": 8, "target_modules": [*ALL_LAYERS, "lm_head"], **config}
    bad = Adapter.at(make_files(tmp_path / "bad", change(tensors), **told))
    engine = await start(endless_llama)
    prompt = engine.checkpoint.prompts.raw("New York is")
    others: list[Adapter | None] = [None, adapters[0]]
    alone = await texts(engine, prompt, others)
    failures: list[AiError] = []

    async def fail() -> None:
        with pytest.raises(LoraIncompatible) as caught:
            await text(engine.submit(prompt, GREEDY, adapter=bad))
        failures.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail)
        assert await texts(engine, prompt, others) == alone
    assert str(failures[0]) == "3030: Lora not compatible with model"
    assert hint in failures[0].hint
    assert failures[0].hint.startswith("bad: ")


async def test_an_adapter_that_is_gone_or_cut_short_fails_its_own_answer(
    start: Callable[..., Any], endless_llama: Path, adapters: list[Adapter], tmp_path: Path
) -> None:
    engine = await start(endless_llama)
    prompt = engine.checkpoint.prompts.raw("New York is")
    folder = shutil.copytree(adapters[0].folder, tmp_path / "mine")
    adapter = Adapter.at(folder)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(LoraIncompatible) as cut:
        await text(engine.submit(prompt, GREEDY, adapter=Adapter.at(folder)))
    assert "where its header says" in cut.value.hint
    shutil.rmtree(folder)
    with pytest.raises(LoraIncompatible) as gone:
        await text(engine.submit(prompt, GREEDY, adapter=adapter))
    assert "adapter_config.json cannot be read: No such file" in gone.value.hint
    assert await text(engine.submit(prompt, GREEDY))


async def test_an_adapter_that_is_trained_anew_is_another_one(
    start: Callable[..., Any], endless_llama: Path, adapters: list[Adapter], tmp_path: Path
) -> None:
    engine = await start(endless_llama)
    prompt = engine.checkpoint.prompts.raw("New York is located in the north of a city where rivers and streets meet")
    first, second = [await text(engine.submit(prompt, GREEDY, adapter=each)) for each in adapters[:2]]
    folder = shutil.copytree(adapters[0].folder, tmp_path / "mine")
    assert await text(engine.submit(prompt, GREEDY, adapter=Adapter.at(folder))) == first
    for file in adapters[1].folder.iterdir():
        shutil.copyfile(file, folder / file.name)
    assert await text(engine.submit(prompt, GREEDY, adapter=Adapter.at(folder))) == second


def test_those_that_nobody_needs_leave_when_there_are_too_many(
    endless_llama: Path, adapters: list[Adapter], tmp_path: Path
) -> None:
    bank = AdapterBank(load_checkpoint(endless_llama, device="cpu").model, kept_bytes=0)
    first, second, third = adapters
    bank.bring(first, busy=())
    with bank.step([(first, 1), (None, 1)]):
        assert bank.names == ["all"]
    bank.bring(second, busy=[first])
    assert bank.names == ["all", "some"]
    with bank.step([(first, 1), (second, 1)]):
        assert bank.memory > 0
    bank.bring(third, busy=[second])
    assert bank.names == ["some", "root"]
    bank.bring(second, busy=())
    assert bank.names == ["some"]


def test_an_alpha_and_a_rank_may_be_a_layers_own() -> None:
    told = {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": "all-linear",
        "rank_pattern": {"q_proj": 4, "^model\\.layers\\.1\\.mlp\\.up_proj": 2},
        "alpha_pattern": {"layers.0.self_attn.q_proj": 1.5},
    }
    config = AdapterConfig.parse(json.dumps(told).encode())
    assert config.scale_of("model.layers.0.self_attn.q_proj") == 1.5 / 4
    assert config.scale_of("model.layers.1.self_attn.q_proj") == 16 / 4
    assert config.scale_of("model.layers.1.mlp.up_proj") == 16 / 2
    assert config.scale_of("model.layers.11.mlp.up_proj") == 16 / 8
    assert config.is_target("anything")
    with pytest.raises(AdapterProblem, match="rank_pattern must be an object"):
        AdapterConfig.parse(json.dumps({**told, "rank_pattern": [1]}).encode())
