"""LocalBinding and memory: real models come and go, within a budget, and what they took is given back."""

from __future__ import annotations

import gc
import os
import random
import shutil
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cfai import Ai, AiError, ByteStream, Call, LocalBinding, ModelSettings, sse
from cfai.engine import EngineSettings, LocalEngine, footprint
from cfai.errors import BadInput, EngineFailure
from tests.architectures import ARCHITECTURES, make_checkpoint
from tests.conftest import ANY_LOOP
from tests.waiting import until

IS_LONG = bool(os.environ.get("CFAI_LONG"))

ONE, TWO, THREE = MODELS = ("@cf/my/one", "@cf/my/two", "@cf/my/three")

SETTINGS: dict[str, Any] = {"device": "cpu", "slots": 2, "cache_tokens": 4096}

Make = Callable[..., LocalBinding]


@pytest.fixture
def folders(llama: Path, tmp_path: Path) -> dict[str, Path]:
    """Three models of one size."""
    return {model: Path(shutil.copytree(llama, tmp_path / model.rpartition("/")[2])) for model in MODELS}


@pytest.fixture
async def make(folders: dict[str, Path]) -> AsyncIterator[Make]:
    made: list[LocalBinding] = []

    def make(*, room_for: float | None = None, **settings: Any) -> LocalBinding:
        memory = None if room_for is None else int(room_for * size_of(folders[ONE]))
        made.append(LocalBinding(folders, memory=memory, demo=False, **(SETTINGS | settings)))
        return made[-1]

    yield make
    for binding in made:
        await binding.aclose()
        assert binding.stats()["models"] == {}


def size_of(folder: Path) -> int:
    return footprint(folder, EngineSettings(**SETTINGS), budget=10**12).total


def loaded(binding: LocalBinding) -> set[str]:
    return {*binding.stats()["models"]}


async def ask(binding: LocalBinding, model: str, **options: Any) -> str:
    reply = await binding.send(Call(model, {"prompt": "New York", "max_tokens": 4, "temperature": 0}, options))
    if reply.error is not None:
        raise reply.error
    return str(reply.body["response"])


@ANY_LOOP
async def test_a_model_leaves_for_another_and_answers_the_same_when_it_is_back(make: Make) -> None:
    binding = make(room_for=2.5)
    first = [await ask(binding, model) for model in MODELS]
    assert loaded(binding) == {TWO, THREE}
    assert [await ask(binding, model) for model in MODELS] == first


async def test_a_stream_keeps_its_model_until_it_ends(make: Make) -> None:
    binding = make(room_for=1.5, keep_alive=0.01)
    inputs = {"prompt": "New", "max_tokens": 40, "stream": True}
    first = await binding.send(Call(ONE, inputs))
    second = await binding.send(Call(TWO, inputs))
    assert isinstance(first.body, ByteStream)
    assert isinstance(second.body, ByteStream)
    assert await anext(second.body) == sse.KEEP_ALIVE, "it waits for room"
    assert [event async for event in first.body][-1] == sse.DONE
    got = [event async for event in second.body]
    assert got[-1] == sse.DONE
    assert b"usage" in got[-2]


async def test_a_model_larger_than_the_budget_is_refused_with_figures(make: Make) -> None:
    binding = make(room_for=0.5)
    with pytest.raises(EngineFailure, match=r"one needs .* \(weights .* as float16, KV cache .*\), and models may"):
        await ask(binding, ONE)


@pytest.mark.parametrize("keep_alive", [0, "0s"])
async def test_a_call_may_say_that_its_model_leaves_at_once(make: Make, keep_alive: object) -> None:
    binding = make()
    await ask(binding, ONE)
    await ask(binding, TWO, keepAlive=-1)
    await ask(binding, ONE, keepAlive=keep_alive)
    await until(lambda: loaded(binding) == {TWO})
    assert binding.stats()["models"][TWO]["leaves_in_seconds"] is None


async def test_a_keep_alive_that_is_none_is_bad_input(make: Make) -> None:
    with pytest.raises(BadInput, match=r"keepAlive: a time is seconds, or a text such as 10m .* not 'soon'"):
        await ask(make(), ONE, keepAlive="soon")


async def test_settings_of_a_model_say_how_long_it_stays(folders: dict[str, Path]) -> None:
    models = {
        ONE: ModelSettings(weights=str(folders[ONE]), keep_alive=0),
        TWO: ModelSettings(weights=str(folders[TWO]), pinned=True),
    }
    binding = LocalBinding(models, model_keep_alive=0, **SETTINGS)
    await binding.warm_up()
    assert loaded(binding) == {TWO}, "pinned ones are loaded before anybody asks"
    await ask(binding, ONE)
    await ask(binding, TWO)
    await until(lambda: loaded(binding) == {TWO})
    assert binding.stats()["models"][TWO]["pinned"] is True
    await binding.aclose()


async def test_a_pinned_model_that_does_not_load_is_a_notice(folders: dict[str, Path], tmp_path: Path) -> None:
    told: list[str] = []
    models = folders | {TWO: tmp_path / "nowhere"}
    (tmp_path / "nowhere").mkdir()
    binding = LocalBinding(models, pinned=[ONE, TWO], on_notice=told.append, **SETTINGS)
    await binding.warm_up()
    assert loaded(binding) == {ONE}
    (line,) = told
    assert line.startswith(f"cfai: the pinned model {TWO} is not loaded: ")
    assert "has no model.safetensors" in line
    await binding.aclose()


async def test_without_memory_to_load_an_idle_model_leaves_and_it_is_tried_again(folders: dict[str, Path]) -> None:
    tries: list[str] = []

    def report(model: str, done: int, total: int) -> None:
        if model == TWO and done == 1:
            tries.append(model)
            if len(tries) == 1:
                raise torch.OutOfMemoryError("no room")

    binding = LocalBinding(folders, on_progress=report, **SETTINGS)
    await ask(binding, ONE)
    assert await ask(binding, TWO)
    assert (len(tries), loaded(binding)) == (2, {TWO})
    await binding.aclose()


async def test_a_load_without_memory_is_told_with_figures_and_harms_nobody(folders: dict[str, Path]) -> None:
    def report(model: str, done: int, total: int) -> None:
        if model == TWO:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    binding = LocalBinding(folders, on_progress=report, **SETTINGS)
    stream = await Ai(binding).run(ONE, {"prompt": "New", "stream": True, "max_tokens": 50})
    with pytest.raises(EngineFailure, match=r"no memory left for @cf/my/two, which needs .*; in memory are @cf/my/one"):
        await ask(binding, TWO)
    assert [event async for event in stream][-1] == sse.DONE
    await binding.aclose()


async def test_what_a_model_took_is_given_back(tmp_path: Path) -> None:
    """By references, and by the process's own memory: 100 MB of weights come and go."""
    folder = make_checkpoint(tmp_path / "model", "llama")
    config = LlamaConfig(
        **{**ARCHITECTURES["llama"], "vocab_size": 320, "hidden_size": 512, "intermediate_size": 4096},
    )
    config.num_hidden_layers = 4
    LlamaForCausalLM(config).save_pretrained(folder)

    def is_the_model(thing: Any) -> bool:
        return type(thing) is LlamaForCausalLM and thing.config.hidden_size == 512

    binding = LocalBinding({ONE: folder}, device="cpu", slots=2, cache_tokens=1024)
    await ask(binding, ONE, keepAlive=0)
    await until(lambda: not loaded(binding))
    gc.collect()
    assert not any(map(is_the_model, gc.get_objects()))
    before, seen = resident_memory(), []
    for _ in range(3):
        stream = await Ai(binding).run(ONE, {"prompt": "New", "stream": True, "max_tokens": 500}, {"keepAlive": 0})
        await anext(stream)
        seen += [weakref.ref(each) for each in gc.get_objects() if is_the_model(each)]
        await stream.aclose()
        await until(lambda: not loaded(binding))
    assert seen
    assert [reference() for reference in seen] == [None] * len(seen)
    assert resident_memory() - before < 40_000_000
    await binding.aclose()


def resident_memory() -> int:
    if sys.platform != "linux":
        pytest.skip("the system tells it on Linux")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt2", "mixtral", "deepseek-v3", "phi3"])
async def test_the_estimate_is_what_a_model_takes(tmp_path: Path, architecture: str, dtype: str) -> None:
    folder = make_checkpoint(tmp_path, architecture)
    settings = EngineSettings(device="cpu", dtype=dtype, slots=2)
    found = footprint(folder, settings, budget=10**9)
    engine = LocalEngine(folder, settings, footprint=found)
    await engine.ready.wait()
    assert 0.8 * found.total <= engine.memory <= 1.01 * found.total, str(found)
    engine.close()


async def test_a_cache_takes_a_share_of_the_budget_and_no_less_than_an_answer_needs(llama: Path) -> None:
    settings = EngineSettings(device="cpu", slots=64)
    generous, scarce = (footprint(llama, settings, budget=budget) for budget in (10**12, 30 * 10**6))
    token = generous.cache // (64 * 4096)
    assert scarce.cache <= 30 * 10**6 // 4
    tiny = footprint(llama, settings, budget=1000)
    assert tiny.dtype == "float16"
    assert tiny.cache == 2048 * token // 2
    assert tiny.total > 1000, "it says what it needs at least"


async def test_what_is_only_faster_leaves_room_for_another_model(llama: Path) -> None:
    settings = EngineSettings(device="cpu", slots=1, cache_tokens=16)
    bare = footprint(llama, settings, budget=10**9)
    needed = bare.weights + bare.cache + bare.work
    for budget in (2 * needed, 3 * needed, 10 * needed):
        assert footprint(llama, settings, budget=budget).total <= budget // 2
    assert footprint(llama, settings, budget=10 * needed).spare > 0


async def test_weights_that_do_not_fit_in_float32_are_taken_in_half(llama: Path) -> None:
    settings = EngineSettings(device="cpu", slots=1, cache_tokens=16)
    whole = footprint(llama, settings, budget=10**9)
    half = footprint(llama, settings, budget=whole.weights + whole.work)
    assert (whole.dtype, half.dtype) == ("float32", "float16")
    assert half.weights == whole.weights // 2


async def test_real_models_in_random_orders_answer_and_leave_nothing_behind(
    make: Make, folders: dict[str, Path]
) -> None:
    """Asked, cancelled, unloaded, damaged on disk, from two event loops at once, with room for two of three."""
    binding = make(room_for=2.2, model_keep_alive=0.05)
    expected = {model: await ask(binding, model) for model in MODELS}
    ends = {"answered": 0, "failed": 0, "left": 0}

    async def one(rng: random.Random) -> None:
        model = rng.choice(MODELS)
        end = "left"
        with anyio.move_on_after(rng.choice([0.001, 0.02, 20])):
            try:
                assert await ask(binding, model, keepAlive=rng.choice([0, 0.01, 1])) == expected[model]
                end = "answered"
            except (AiError, EngineFailure):
                end = "failed"
        ends[end] += 1

    async def many(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(100 if IS_LONG else 4):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(one, random.Random(rng.random()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(many, 1)
        tasks.start_soon(anyio.to_thread.run_sync, lambda: anyio.run(many, 2, backend="trio"))
    assert ends["answered"] > 0
    assert ends["failed"] == 0
    budget = int(2.2 * size_of(folders[ONE]))
    await until(lambda: sum(model["memory_in_all"] for model in binding.stats()["models"].values()) <= budget)
    await until(lambda: not loaded(binding))
    if IS_LONG:
        print(f"\n{ends}")  # noqa: T201  # for who runs it by hand
