"""Int8 weights are made once and kept: read in place of the floats, made again where they do not fit, always whole."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen3MoeConfig

from cfai import Ai, LocalBinding
from cfai.engine import EngineSettings, load_checkpoint
from cfai.engine.footprint import footprint
from tests.engine.test_int8 import FAMILIES, SMALL
from tests.models import make_llama

INT8 = "@cf/meta/llama-2-7b-chat-int8"
KILLS = 20 if os.environ.get("CFAI_LONG") else 3


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFAI_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "model", ignore=shutil.ignore_patterns("cfai-int8")))


def kept_in(folder: Path) -> Path:
    return folder / "cfai-int8" / "model.safetensors"


def answer(folder: Path) -> list[float]:
    """The scores that the model in `folder` gives in int8."""
    torch.set_num_threads(1)
    ids = torch.tensor([[1, 5, 9, 20]])
    scores: list[float] = load_checkpoint(folder, device="cpu", dtype="int8").model(ids).logits[0, -1].tolist()
    return scores


def empty_the_floats(file: Path) -> None:
    """Zeros in place of the numbers; the header and the time of the last change stay."""
    before, data = file.stat(), file.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    file.write_bytes(data[:begin] + bytes(len(data) - begin))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_second_load_reads_no_floats(folder: Path) -> None:
    first = answer(folder)
    empty_the_floats(folder / "model.safetensors")
    assert answer(folder) == first
    assert [path.name for path in (folder / "cfai-int8").iterdir() if path.name != ".lock"] == ["model.safetensors"]


def write(folder: Path, config: PreTrainedConfig, llama: Path) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(llama / name, folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_the_same_from_what_was_kept(family: str, llama: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", FAMILIES[family], llama)
    first = answer(folder)
    empty_the_floats(folder / "model.safetensors")
    assert answer(folder) == first


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_an_embedding_that_stays_is_the_checkpoints_own(stored: torch.dtype, llama: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", FAMILIES["llama, the embedding stays"], llama)
    model = AutoModelForCausalLM.from_pretrained(folder).to(stored)
    model.save_pretrained(folder)
    half = torch.float16 if stored == torch.float32 else stored
    for _ in range(2):  # made, and read
        loaded = load_checkpoint(folder, device="cpu", dtype="int8")
        assert torch.equal(loaded.model.get_input_embeddings().weight, model.get_input_embeddings().weight.to(half))
        expected = footprint(folder, EngineSettings(device="cpu", dtype="int8")).weights
        assert loaded.memory == pytest.approx(expected, rel=0.001)


def test_experts_that_stay_floats_are_not_copied(llama: Path, tmp_path: Path) -> None:
    experts = {"num_experts": 8, "moe_intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 16}
    folder = write(tmp_path / "model", Qwen3MoeConfig(**SMALL, **experts, vocab_size=100), llama)
    assert answer(folder) == answer(folder)
    assert not kept_in(folder).exists()


def test_a_model_below_the_one_that_makes_text_has_shorter_names(folder: Path) -> None:
    first = answer(folder)
    shutil.rmtree(folder / "cfai-int8")
    with safe_open(folder / "model.safetensors", "pt") as stored:
        tensors = {name.removeprefix("model."): stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert answer(folder) == first
    empty_the_floats(folder / "model.safetensors")
    assert answer(folder) == first


async def test_an_int8_id_streams_from_several_files_and_then_from_what_was_kept(folder: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 3

    async def streamed() -> tuple[str, dict[str, Any]]:
        binding = LocalBinding({INT8: folder}, device="cpu")
        stream = await Ai(binding).run(INT8, {"prompt": "New York", "max_tokens": 12, "seed": 1, "stream": True})
        events = [event.decode().removeprefix("data: ") async for event in stream]
        text = "".join(json.loads(event)["response"] for event in events if "[DONE]" not in event)
        stats = binding.stats()["models"][INT8]
        await binding.aclose()
        return text, stats

    first, stats = await streamed()
    assert (stats["dtype"], stats["precision"]) == ("int8", "")
    for file in files:
        empty_the_floats(file)
    assert (await streamed())[0] == first != ""


def test_other_programs_can_read_it(folder: Path) -> None:
    answer(folder)
    with (
        safe_open(kept_in(folder), "pt") as kept,
        safe_open(folder / "model.safetensors", "pt") as floats,
    ):
        name = "model.layers.1.mlp.down_proj.weight"
        rows, scales = kept.get_tensor(name), kept.get_tensor(name + "_scale")
        made = rows * scales[:, None]
        assert rows.dtype == torch.int8
        assert ((made - floats.get_tensor(name)).abs() <= 0.5001 * scales[:, None]).all()
        assert torch.equal(kept.get_tensor("model.norm.weight"), floats.get_tensor("model.norm.weight"))


def test_weights_that_have_changed_are_made_int8_again(folder: Path, tmp_path: Path) -> None:
    first = answer(folder)
    other = make_llama(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", folder)
    assert answer(folder) == answer(other) != first


def cut(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path, _: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1000] ^= 0x40
    file.write_bytes(data)


def empty(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def of_another_version(file: Path, _: Path) -> None:
    data = file.read_bytes()
    assert data.count(rb"\"format\": 1,") == 1
    file.write_bytes(data.replace(rb"\"format\": 1,", rb"\"format\": 0,"))


def of_another_model(file: Path, other: Path) -> None:
    answer(other)
    shutil.copy(kept_in(other), file)


def not_ours(file: Path, _: Path) -> None:
    save_file({"lm_head.weight": torch.zeros(4, 4)}, file)


@pytest.mark.parametrize("damage", [cut, flip, empty, of_another_version, of_another_model, not_ours])
def test_a_file_that_does_not_fit_is_made_again(
    damage: Callable[[Path, Path], None], folder: Path, tmp_path: Path
) -> None:
    first = answer(folder)
    whole = kept_in(folder).read_bytes()
    damage(kept_in(folder), make_llama(tmp_path / "other", seed=1))
    assert answer(folder) == first
    assert kept_in(folder).read_bytes() == whole


def test_where_it_cannot_be_kept_beside_the_weights_it_is_kept_at_home(folder: Path, tmp_path: Path) -> None:
    (folder / "cfai-int8").touch()  # nobody can make a folder of this name
    first = answer(folder)
    empty_the_floats(folder / "model.safetensors")
    assert answer(folder) == first
    assert len([*(tmp_path / "home/int8").glob("*/model.safetensors")]) == 1


def test_where_it_cannot_be_kept_at_all_the_model_runs_and_that_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cfai-int8").touch()
    (tmp_path / "home").touch()
    with caplog.at_level(logging.WARNING):
        first = answer(folder)
    assert [record.message for record in caplog.records if "int8 weights are not kept" in record.message]
    assert answer(folder) == first


def test_a_disk_without_room_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Usage = NamedTuple("Usage", [("total", int), ("used", int), ("free", int)])  # noqa: UP014  # shutil's own is private
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 9, 1))
    with caplog.at_level(logging.WARNING):
        answer(folder)
    assert "0.0 GB free" in caplog.text
    assert not kept_in(folder).exists()


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 25 MB, so that there is time to kill somebody."""
    folder = make_llama(tmp_path_factory.mktemp("larger"))
    config = LlamaConfig(**json.loads((folder / "config.json").read_text()) | SIZES)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


SIZES = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6}

processes: Any = multiprocessing.get_context("forkserver")
"""Each in a process of its own, which starts with torch imported."""
processes.set_forkserver_preload(["cfai.engine", __name__])


def tell_answer(folder: Path, into: SimpleQueue[list[float]]) -> None:
    into.put(answer(folder))


def answering(folder: Path) -> tuple[ForkServerProcess, SimpleQueue[list[float]]]:
    queue = processes.SimpleQueue()
    process = processes.Process(target=tell_answer, args=(folder, queue))
    process.start()
    return process, queue


def test_who_is_killed_leaves_nothing_that_harms(larger: Path) -> None:
    def once() -> list[float]:
        process, queue = answering(larger)
        found: list[float] = queue.get()
        process.join()
        return found

    wanted = once()
    whole = kept_in(larger).read_bytes()
    shutil.rmtree(larger / "cfai-int8")
    begun = time.monotonic()
    once()
    seconds = time.monotonic() - begun
    chance = random.Random(7)
    halves = 0
    for _ in range(KILLS):
        shutil.rmtree(larger / "cfai-int8")
        process, _queue = answering(larger)
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        process.join()
        halves += any((larger / "cfai-int8").glob("*.begun"))
        assert once() == wanted
        assert kept_in(larger).read_bytes() == whole
        assert not [*(larger / "cfai-int8").glob("*.begun")]
    sys.stdout.write(f"{KILLS} kills within {seconds:.2f} s, {halves} of them left a file that was half written\n")


def test_processes_that_make_it_at_the_same_time_do_not_meet(larger: Path) -> None:
    shutil.rmtree(larger / "cfai-int8", ignore_errors=True)
    started = [answering(larger) for _ in range(3)]
    first, second, third = [queue.get() for _, queue in started]
    for process, _ in started:
        process.join()
    assert first == second == third
    process, queue = answering(larger)
    assert queue.get() == first
    process.join()
    assert sorted(path.name for path in (larger / "cfai-int8").iterdir()) == [".lock", "model.safetensors"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell how much was used")
def test_the_floats_are_never_in_memory_together(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "model")
    config = LlamaConfig(**json.loads((folder / "config.json").read_text()) | SIZES | {"num_hidden_layers": 60})
    AutoModelForCausalLM.from_config(config).to(torch.float32).save_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    queue = processes.SimpleQueue()
    for _ in range(2):  # made, and read
        process = processes.Process(target=tell_peak, args=(folder, queue))
        process.start()
        used, weights = queue.get()
        process.join()
        assert size > 3.9 * weights
        assert used < 1.5 * weights + 40e6


def tell_peak(folder: Path, into: SimpleQueue[tuple[int, int]]) -> None:
    """Bytes that this process took for the model, at most, and those of its weights."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    weights = load_checkpoint(folder, device="cpu", dtype="int8").memory
    into.put((status("VmHWM") - before, weights))
