"""The engine thread: answers, cancellation, failure, bounds."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from torch.utils.hooks import RemovableHandle
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM

from cfai.engine import EngineSettings, LocalEngine, Sampling, TextStream
from cfai.engine.attention import Batch
from cfai.engine.prompt import PromptRenderer
from cfai.errors import AiError, BadInput, ContextExceeded, EngineFailure, OutOfCapacity, RequestAborted, WeightsMissing
from cfai.event_loops import first_of
from cfai.tasks.grammars import json_grammar
from tests.architectures import make_checkpoint
from tests.held import models_held
from tests.models import make_json_tokenizer
from tests.waiting import until

GREEDY = Sampling(temperature=0, max_tokens=24)
LONG = Sampling(temperature=0, max_tokens=3000)


@pytest.fixture
async def start(endless_llama: Path) -> AsyncIterator[Callable[..., LocalEngine]]:
    engines: list[LocalEngine] = []

    def start(folder: Path = endless_llama, **settings: object) -> LocalEngine:
        engines.append(LocalEngine(folder, EngineSettings(**settings)))  # type: ignore[arg-type]
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
async def engine(start: Callable[..., LocalEngine]) -> LocalEngine:
    engine = start()
    await engine.ready.wait()
    return engine


def on_step(engine: LocalEngine, call: Callable[[Batch], None]) -> RemovableHandle:
    """Have `call` before every step of the model; not before those with which the engine gets ready."""

    def hook(module: object, args: object, inputs: dict[str, Any]) -> None:
        if isinstance(inputs.get("batch"), Batch):
            call(inputs["batch"])

    handle: RemovableHandle = engine.checkpoint.model.register_forward_pre_hook(hook, with_kwargs=True)
    return handle


async def text(stream: TextStream) -> str:
    return "".join([piece async for piece in stream])


async def test_greedy_tokens_are_those_of_generate(engine: LocalEngine, endless_llama: Path) -> None:
    prompt = engine.checkpoint.prompts.raw("New York is located in")
    model = AutoModelForCausalLM.from_pretrained(endless_llama)
    made = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0, len(prompt) :].tolist()
    detokenizer = engine.checkpoint.tokenizer.detokenizer()
    expected = "".join([*map(detokenizer.put, made), detokenizer.flush()])
    stream = engine.submit(prompt, GREEDY)
    assert await text(stream) == expected
    assert (stream.prompt_tokens, stream.completion_tokens) == (len(prompt), 24)


async def test_a_prompt_longer_than_a_prefill_chunk_gives_the_same(engine: LocalEngine, endless_llama: Path) -> None:
    prompt = engine.checkpoint.prompts.raw("rivers and streets meet " * 90)
    assert len(prompt) > 300
    model = AutoModelForCausalLM.from_pretrained(endless_llama)
    made = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0, len(prompt) :].tolist()
    detokenizer = engine.checkpoint.tokenizer.detokenizer()
    assert await text(engine.submit(prompt, GREEDY)) == "".join([*map(detokenizer.put, made), detokenizer.flush()])


async def test_many_at_once_answer_as_each_does_alone(engine: LocalEngine) -> None:
    prompts = [engine.checkpoint.prompts.raw(f"{word} is") for word in ("New", "York", "hello", "北京") * 5]
    samplings = [Sampling(temperature=1, seed=seed, max_tokens=16 + seed) for seed in range(20)]
    alone = [await text(engine.submit(*pair)) for pair in zip(prompts, samplings, strict=True)]
    together = ["" for _ in alone]

    async def read(at: int, stream: TextStream) -> None:
        together[at] = await text(stream)

    async with anyio.create_task_group() as tasks:
        for at, pair in enumerate(zip(prompts, samplings, strict=True)):
            tasks.start_soon(read, at, engine.submit(*pair))
    assert together == alone


async def test_the_same_seed_gives_the_same_text_and_none_a_new_one(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("hello")

    async def answer(seed: int | None) -> str:
        return await text(engine.submit(prompt, Sampling(temperature=1, seed=seed, max_tokens=30)))

    assert await answer(5) == await answer(5) != await answer(6)
    assert await answer(None) != await answer(None)


@pytest.mark.parametrize("read", [0, 1, 7])
async def test_closing_a_stream_stops_the_model(engine: LocalEngine, read: int) -> None:
    stream = engine.submit(engine.checkpoint.prompts.raw("New"), LONG)
    for _ in range(read):
        await anext(stream)
    await stream.aclose()
    await until(lambda: engine.stats()["running"] + engine.stats()["waiting"] == 0)
    made = engine.tokens_made
    await anyio.sleep(0.05)
    assert engine.tokens_made == made < 3000


async def test_a_reader_who_leaves_costs_two_tokens_at_most(engine: LocalEngine) -> None:
    with models_held(after=3) as held:
        stream = engine.submit(engine.checkpoint.prompts.raw("New"), LONG)
        await until(held.is_set)
        assert await anext(stream)
        made = engine.tokens_made
        await stream.aclose()
    await until(lambda: engine.stats()["running"] == 0)
    assert engine.tokens_made - made <= 2


async def test_leaving_during_prefill_and_in_the_queue_stops_too(start: Callable[..., LocalEngine]) -> None:
    engine = start(slots=1)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("rivers and streets meet " * 900)
    passes: list[int] = []
    on_step(engine, lambda _: passes.append(1))
    with models_held(after=1) as held:
        prefilling = engine.submit(prompt, GREEDY)
        queued = engine.submit(prompt, GREEDY)
        await until(held.is_set)  # before the second of many prefill chunks
        await prefilling.aclose()
        await queued.aclose()
    await until(lambda: engine.stats()["running"] + engine.stats()["waiting"] == 0)
    assert engine.tokens_made == 0
    assert len(passes) == 2


async def test_one_who_leaves_does_not_disturb_the_others(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("hello")
    expected = await text(engine.submit(prompt, GREEDY))
    leaver, stayer = engine.submit(prompt, LONG), engine.submit(prompt, GREEDY)
    await anext(leaver)
    await leaver.aclose()
    assert await text(stayer) == expected


async def test_a_reader_who_lags_stops_its_own_sequence_only(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("hello")
    unread: list[TextStream] = []
    full: list[bool] = []
    hook = on_step(engine, lambda _: full.append(any(stream.is_full for stream in unread)))
    lagging = engine.submit(prompt, Sampling(temperature=1, seed=1, max_tokens=2000))
    unread.append(lagging)
    await until(lambda: lagging.is_full)
    await anyio.sleep(0.05)
    assert not any(full), "the buffer is full and nothing is made"
    hook.remove()
    assert await text(engine.submit(prompt, GREEDY))
    pieces = [piece async for piece in lagging]
    assert lagging.completion_tokens == 2000
    assert len(pieces) > 256


async def test_readers_who_lag_do_not_stop_the_model(start: Callable[..., LocalEngine]) -> None:
    engine = start(slots=2)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("hello")
    lagging = [engine.submit(prompt, Sampling(temperature=1, seed=1, max_tokens=2000)) for _ in range(2)]
    await until(lambda: all(stream.is_full for stream in lagging))
    with anyio.fail_after(20):
        assert await text(engine.submit(prompt, GREEDY))
        assert await text(lagging[0]) == await text(lagging[1])


async def test_a_full_queue_refuses_with_3040(start: Callable[..., LocalEngine]) -> None:
    engine = start(slots=1, queue_limit=2)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("New")
    streams = [engine.submit(prompt, LONG) for _ in range(3)]
    with pytest.raises(OutOfCapacity, match="3040"):
        engine.submit(prompt, GREEDY)
    for stream in streams:
        await stream.aclose()
    await until(lambda: engine.stats()["running"] + engine.stats()["waiting"] == 0)
    assert await text(engine.submit(prompt, GREEDY))


@pytest.mark.parametrize("calls", [0, 1, 5])
async def test_a_forward_pass_that_raises_fails_its_own_answer_only(engine: LocalEngine, calls: int) -> None:
    prompt = engine.checkpoint.prompts.raw("New")
    expected = await text(engine.submit(prompt, GREEDY))
    passes = iter(range(1000))

    def fail(*_: object) -> None:
        if next(passes) == calls:
            raise RuntimeError("a kernel broke")

    hook = on_step(engine, fail)
    stream = engine.submit(prompt, GREEDY)
    with pytest.raises(EngineFailure, match="8500: the model failed: a kernel broke"):
        await text(stream)
    assert stream.completion_tokens == calls
    hook.remove()
    assert await text(engine.submit(prompt, GREEDY)) == expected


async def test_a_step_that_fails_is_tried_again_for_each_alone(engine: LocalEngine) -> None:
    prompts = [engine.checkpoint.prompts.raw(word) for word in ("New", "York", "hello")]
    expected = [await text(engine.submit(prompt, GREEDY)) for prompt in prompts]
    failed: list[int] = []

    def fail(batch: Batch) -> None:
        if sum(len(run.spans) for run in batch.runs) == 3 and not failed:
            failed.append(1)
            raise RuntimeError("an unlucky shape")

    hook = on_step(engine, fail)
    with models_held():
        streams = [engine.submit(prompt, GREEDY) for prompt in prompts]
    assert [await text(stream) for stream in streams] == expected
    hook.remove()
    assert failed


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
@pytest.mark.parametrize("room_for", [1, 2, 3])
async def test_without_memory_for_a_step_its_newest_sequences_fail_and_the_others_go_on(
    engine: LocalEngine, room_for: int, error: Exception
) -> None:
    prompts = [engine.checkpoint.prompts.raw(word) for word in ("New", "York", "hello", "world")]
    expected = [await text(engine.submit(prompt, GREEDY)) for prompt in prompts]

    def fail(batch: Batch) -> None:
        if sum(len(run.spans) for run in batch.runs) > room_for:
            raise error

    hook = on_step(engine, fail)
    with models_held():
        streams = [engine.submit(prompt, GREEDY) for prompt in prompts]
    assert [await text(stream) for stream in streams[:room_for]] == expected[:room_for]
    for stream in streams[room_for:]:
        with pytest.raises(OutOfCapacity, match="no memory left"):
            await text(stream)
    hook.remove()
    assert [await text(engine.submit(prompt, GREEDY)) for prompt in prompts] == expected


async def test_who_has_no_memory_is_refused_and_the_second_time_fewer_run_at_once(engine: LocalEngine) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    prompt = engine.checkpoint.prompts.raw("New")
    slots = engine.stats()["slots"]
    hook = on_step(engine, fail)
    for expected in (slots, slots // 2):
        with pytest.raises(OutOfCapacity, match="no memory left"):
            await text(engine.submit(prompt, GREEDY))
        assert engine.stats()["slots"] == expected
    hook.remove()
    assert await text(engine.submit(prompt, GREEDY))


async def test_a_device_that_failed_for_good_ends_the_engine_and_says_so(endless_llama: Path) -> None:
    lost: list[str] = []
    engine = LocalEngine(endless_llama, EngineSettings(), on_lost=lost.append)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("New")
    other = engine.submit(prompt, LONG)
    await anext(other)

    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    on_step(engine, fail)
    with pytest.raises(EngineFailure, match="the device failed: CUDA error: device-side assert"):
        await text(other)
    with pytest.raises(EngineFailure, match="the device failed: CUDA error: device-side assert"):
        engine.submit(prompt, GREEDY)
    await until(lambda: bool(lost))
    assert not engine.is_alive


async def test_an_engine_whose_device_failed_holds_neither_its_model_nor_who_asked(llama: Path) -> None:
    engine = LocalEngine(llama, EngineSettings())
    await engine.ready.wait()
    prompt, model = engine.checkpoint.prompts.raw("New"), weakref.ref(engine.checkpoint.model)

    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    on_step(engine, fail)
    with pytest.raises(EngineFailure, match="the device failed"):
        await text(engine.submit(prompt, GREEDY))
    await until(lambda: engine.has_ended)
    gc.collect()
    assert model() is None

    def frames() -> int:
        with pytest.raises(EngineFailure, match="the device failed") as told:
            engine.submit(prompt, GREEDY)
        return len(told.traceback)

    assert frames() == frames()


async def test_what_does_not_fit_into_the_cache_is_refused_or_waits(start: Callable[..., LocalEngine]) -> None:
    engine = start(cache_tokens=100)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("hello")
    with pytest.raises(ContextExceeded, match="100"):
        engine.submit(prompt, Sampling(max_tokens=100))
    sampling = Sampling(temperature=0, max_tokens=60)
    expected = await text(engine.submit(prompt, sampling))
    streams = [engine.submit(prompt, sampling) for _ in range(4)]
    assert [await text(stream) for stream in streams] == [expected] * 4


async def test_a_cache_larger_than_memory_is_refused_with_figures(start: Callable[..., LocalEngine]) -> None:
    engine = start(cache_tokens=10**12)
    with pytest.raises(EngineFailure, match=r"a KV cache of 1000000000000 tokens needs \d+\.\d GB, cpu has"):
        await engine.ready.wait()


async def test_a_reader_who_lags_gives_way_and_gets_the_same_answer(start: Callable[..., LocalEngine]) -> None:
    engine = start(cache_tokens=1000)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("hello")
    sampling = Sampling(temperature=1, seed=3, max_tokens=800, frequency_penalty=0.2)
    expected = await text(engine.submit(prompt, sampling))
    lagging = engine.submit(prompt, sampling)
    await until(lambda: lagging.is_full)
    assert await text(engine.submit(prompt, Sampling(temperature=0, max_tokens=900)))
    assert await text(lagging) == expected


async def test_a_prompt_begun_before_is_not_computed_again(engine: LocalEngine) -> None:
    system = "rivers and streets meet " * 20
    first = engine.checkpoint.prompts.raw(f"{system} New York")
    second = engine.checkpoint.prompts.raw(f"{system} hello")
    streams = [engine.submit(prompt, GREEDY) for prompt in (first, second, first)]
    texts = [await text(stream) for stream in streams]
    assert texts[0] == texts[2]
    assert streams[0].cached_tokens == 0
    again = engine.submit(second, GREEDY)
    assert await text(again) == texts[1]
    assert again.cached_tokens == len(second) - 1
    longer = engine.submit([*second, *first], GREEDY)
    await text(longer)
    assert len(second) - 1 <= longer.cached_tokens <= len(second)


@pytest.mark.parametrize(("temperature", "share"), [(0, 0.7), (0.02, 1)])
async def test_drafts_save_steps_and_change_nothing(
    start: Callable[..., LocalEngine], engine: LocalEngine, temperature: float, share: float
) -> None:
    drafting = start(draft_tokens=4)
    await drafting.ready.wait()
    prompt = engine.checkpoint.prompts.raw("New York is")
    sampling = Sampling(temperature=temperature, seed=7, max_tokens=400)  # in so long an answer it repeats itself
    expected = await text(engine.submit(prompt, sampling))
    passes: list[int] = []
    on_step(drafting, lambda _: passes.append(1))
    stream = drafting.submit(prompt, sampling)
    assert await text(stream) == expected
    assert stream.completion_tokens == 400
    assert len(passes) < 400 * share


async def test_logprobs_come_with_every_token(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("New")
    stream = engine.submit(prompt, Sampling(temperature=0, max_tokens=5, logprobs=2))
    other = engine.submit(prompt, GREEDY)
    await text(stream)
    await text(other)
    assert [token.id == token.likeliest[0] for token in stream.logprobs] == [True] * 5
    assert [len(token.their_logprobs) for token in stream.logprobs] == [2] * 5
    assert all(token.logprob == token.their_logprobs[0] < 0 for token in stream.logprobs)
    assert other.logprobs == []


class OnlyThese:
    """A constraint: the tokens of a list, one after the other."""

    def __init__(self, tokens: list[int]) -> None:
        self._left = tokens

    is_satisfied = is_over = False

    def allowed(self) -> list[int]:
        return self._left[:1]

    def settle(self, token: int) -> int | None:
        return token

    def advance(self, token: int) -> None:
        assert token == self._left.pop(0)


async def test_a_constraint_decides_what_may_come(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("New")
    wanted = engine.checkpoint.prompts.raw("hello world")[1:]
    free = await text(engine.submit(prompt, GREEDY))
    constraint = OnlyThese([*wanted, 0])
    bound = engine.submit(prompt, Sampling(temperature=1, max_tokens=len(wanted), constraint=constraint))
    beside = engine.submit(prompt, GREEDY)
    assert await text(bound) == "hello world"
    assert await text(beside) == free


class Failing(OnlyThese):
    """A constraint with a bug."""

    def advance(self, token: int) -> None:
        raise ValueError("no such state")


async def test_a_constraint_that_fails_ends_its_own_answer_only(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("New")
    expected = await text(engine.submit(prompt, GREEDY))
    beside = engine.submit(prompt, GREEDY)
    with pytest.raises(EngineFailure, match="no such state"):
        await text(engine.submit(prompt, Sampling(max_tokens=5, constraint=Failing([7, 8]))))
    assert await text(beside) == expected


async def test_what_a_broken_request_leaves_in_the_cache_breaks_no_other(start: Callable[..., LocalEngine]) -> None:
    engine = start(cache_tokens=1100)
    await engine.ready.wait()
    with torch.no_grad():
        engine.checkpoint.model.get_input_embeddings().weight[7] = float("nan")
    sampling = Sampling(temperature=0, max_tokens=60, logit_bias={7: -1e9})
    prompts = [[*range(20, 60)], [*range(30, 42)]]
    expected = [await text(engine.submit(prompt, sampling)) for prompt in prompts]
    streams = [engine.submit(prompt, sampling) for prompt in prompts]
    broken = engine.submit([7, *([20] * 800)], Sampling(max_tokens=20))
    assert [await text(stream) for stream in streams] == expected
    with pytest.raises(EngineFailure, match="not numbers"):
        await text(broken)
    streams = [engine.submit(prompt[:-1], sampling) for prompt in prompts * 6]
    assert all([await text(stream) for stream in streams])


@pytest.mark.parametrize(("prompt", "max_tokens"), [([], 5), ([5], 0)])
async def test_nothing_to_read_and_nothing_to_make_are_refused(
    engine: LocalEngine, prompt: list[int], max_tokens: int
) -> None:
    with pytest.raises(BadInput, match="least"):
        engine.submit(prompt, Sampling(max_tokens=max_tokens))


async def test_a_full_stream_whose_event_loop_ended_gives_its_room_back(start: Callable[..., LocalEngine]) -> None:
    engine = start()
    await engine.ready.wait()

    async def leave() -> None:
        stream = engine.submit(engine.checkpoint.prompts.raw("New"), LONG)
        await until(lambda: stream.is_full)

    thread = threading.Thread(target=anyio.run, args=(leave,))
    thread.start()
    thread.join()
    await until(lambda: engine.stats()["running"] == 0)
    assert engine.stats()["cache_tokens"] == 0


async def test_a_model_that_cannot_be_batched_answers_one_at_a_time(
    start: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "mamba", "mamba")
    engine = start(folder)
    await engine.ready.wait()
    assert engine.stats()["batching"].startswith("one at a time: it has layers of")
    prompt = [5, 6, 7]
    expected = [await text(engine.submit(prompt, Sampling(temperature=1, seed=n, max_tokens=12))) for n in range(3)]
    streams = [engine.submit(prompt, Sampling(temperature=1, seed=n, max_tokens=12)) for n in range(3)]
    leaver = engine.submit(prompt, Sampling(max_tokens=4000))
    assert [await text(stream) for stream in streams] == expected
    await anext(leaver)
    await leaver.aclose()
    await until(lambda: engine.stats()["running"] == 0)
    assert streams[0].cached_tokens == 0
    fourth = expected[0].split(">")[3] + ">"
    stopped = engine.submit(prompt, Sampling(temperature=1, seed=0, max_tokens=12, stop=(fourth,)))
    assert await text(stopped) == expected[0][: expected[0].index(fourth)]


async def test_readers_who_leave_at_any_moment_leave_nothing_behind(engine: LocalEngine) -> None:
    rng = random.Random(0)
    prompt = engine.checkpoint.prompts.raw("rivers and streets meet " * 40)
    threads = threading.enumerate()

    async def leave() -> None:
        await anyio.sleep(rng.random() * 0.1)
        stream = engine.submit(prompt[: rng.randrange(1, len(prompt))], Sampling(max_tokens=300))
        with anyio.move_on_after(rng.random() * 0.05):
            async for _ in stream:
                if rng.random() < 0.1:
                    break
        await stream.aclose()

    for _ in range(4):
        async with anyio.create_task_group() as tasks:
            for _ in range(25):
                tasks.start_soon(leave)
    await until(lambda: engine.stats()["running"] + engine.stats()["waiting"] == 0)
    assert engine.stats()["cache_tokens"] == 0
    assert not {*threading.enumerate()} - {*threads}
    outcomes = engine.stats()["metrics"]["requests"]
    assert sum(outcomes.values()) == 100
    assert outcomes["failed"] == 0


def test_a_program_that_ends_in_the_middle_of_an_answer_ends_with_its_own_status(endless_llama: Path) -> None:
    code = f"""
import sys, anyio, cfai
async def main():
    ai = cfai.Ai(cfai.LocalBinding({{"@cf/my/model": {str(endless_llama)!r}}}))
    stream = await ai.run("@cf/my/model", {{"prompt": "New", "stream": True, "max_tokens": 4000}})
    await anext(stream)
    sys.exit(3)
anyio.run(main)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stderr) == (3, "")


async def test_weights_that_give_no_numbers_are_an_error_and_not_an_answer(engine: LocalEngine) -> None:
    right = engine.checkpoint.model.get_input_embeddings().weight.clone()
    expected = await text(engine.submit(engine.checkpoint.prompts.raw("New"), GREEDY))
    with torch.no_grad():
        engine.checkpoint.model.get_input_embeddings().weight.fill_(float("nan"))
    prompt = engine.checkpoint.prompts.raw("New")
    weights = engine.checkpoint.model.get_input_embeddings().weight
    for healthy in (True, False):
        with pytest.raises(EngineFailure, match="not numbers"):
            await text(engine.submit(prompt, GREEDY))
        assert engine.stats()["healthy"] is healthy
    with torch.no_grad():
        weights.copy_(right)
    assert await text(engine.submit(prompt, GREEDY)) == expected, "and nothing that was broken is left in the cache"
    assert engine.stats()["healthy"]


async def test_closing_the_engine_ends_running_and_waiting_answers(start: Callable[..., LocalEngine]) -> None:
    engine = start(slots=1)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("New")
    streams = [engine.submit(prompt, LONG) for _ in range(2)]
    await anext(streams[0])
    await anyio.to_thread.run_sync(engine.close)
    for stream in streams:
        with pytest.raises(RequestAborted):
            await text(stream)
    with pytest.raises(RequestAborted):
        engine.submit(prompt, GREEDY)
    assert not engine.is_alive


async def test_every_waiting_task_learns_why_a_model_does_not_load(
    start: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    engine = start(tmp_path)
    errors: list[AiError] = []

    async def wait() -> None:
        with pytest.raises(WeightsMissing) as caught:
            await engine.ready.wait()
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
    assert len(errors) == 3
    await until(lambda: not engine.is_alive)


async def test_an_event_loop_that_ended_takes_its_answers_with_it(start: Callable[..., LocalEngine]) -> None:
    engine = start()
    await engine.ready.wait()

    async def leave() -> None:
        stream = engine.submit(engine.checkpoint.prompts.raw("New"), LONG)
        await anext(stream)

    thread = threading.Thread(target=anyio.run, args=(leave,))
    thread.start()
    thread.join()
    await until(lambda: engine.stats()["running"] == 0)
    assert engine.is_alive


async def test_it_answers_trio_too(start: Callable[..., LocalEngine], endless_llama: Path) -> None:
    engine = start()
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("New")
    expected = await text(engine.submit(prompt, GREEDY))

    async def answer() -> str:
        return await text(engine.submit(prompt, GREEDY))

    assert await anyio.to_thread.run_sync(lambda: anyio.run(answer, backend="trio")) == expected


async def test_a_stream_says_why_it_ended(start: Callable[..., LocalEngine], llama: Path) -> None:
    engine = start(llama)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("New York is")
    [end] = engine.checkpoint.end_tokens
    cut = engine.submit(prompt, Sampling(temperature=0, max_tokens=3, logit_bias={end: -100}))
    assert cut.finish_reason is None
    made = await text(cut)
    ended = engine.submit(prompt, Sampling(temperature=0, max_tokens=3, logit_bias={end: 100}))
    assert await text(ended) == ""
    stopped = engine.submit(prompt, Sampling(temperature=0, max_tokens=3, logit_bias={end: -100}, stop=(made[-2:],)))
    await text(stopped)
    assert [stream.finish_reason for stream in (cut, ended, stopped)] == ["length", "stop", "stop"]


@pytest.mark.parametrize("stop", [(), (" is",), ("rk is lo",)])
async def test_every_piece_comes_with_the_tokens_that_end_with_it(engine: LocalEngine, stop: tuple[str, ...]) -> None:
    wanted = engine.checkpoint.tokenizer.encode("New York is located 🧪 in")
    options = Sampling(max_tokens=len(wanted), logprobs=1, stop=stop, constraint=OnlyThese([*wanted, 0]))
    stream = engine.submit(engine.checkpoint.prompts.raw("New"), options)
    read, pieces = 0, []
    async for piece in stream:
        tokens = stream.logprobs[read : stream.tokens_read]
        read = stream.tokens_read
        said = b"".join(engine.checkpoint.token_bytes(token.id) for token in tokens).decode()
        assert said.strip() == piece.strip() or (stop and said.strip().startswith(piece.strip()))
        pieces.append(piece)
    kept = "New York is located 🧪 in".partition(stop[0])[0] if stop else "New York is located 🧪 in"
    assert "".join(pieces) == kept
    assert read == len(engine.checkpoint.tokenizer.encode(kept)) or stop


async def test_special_tokens_are_shown_on_request(engine: LocalEngine) -> None:
    prompts, tokenizer = engine.checkpoint.prompts, engine.checkpoint.tokenizer
    wanted = [*tokenizer.encode("New"), tokenizer.specials["<|tool|>"], *tokenizer.encode("York")]

    async def said(shown: tuple[str, ...]) -> str:
        constraint = OnlyThese([*wanted, 0])
        return await text(
            engine.submit(prompts.raw("New"), Sampling(max_tokens=len(wanted), constraint=constraint, shown=shown))
        )

    assert await said(()) == "New York"
    assert await said(("<|tool|>", "<|unknown|>")) == "New<|tool|> York"


async def test_one_task_reads_several_streams(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("New")
    samplings = [Sampling(temperature=1, seed=seed, max_tokens=5 + seed) for seed in range(4)]
    alone = [await text(engine.submit(prompt, sampling)) for sampling in samplings]
    streams = [engine.submit(prompt, sampling) for sampling in samplings]
    said: dict[TextStream, str] = dict.fromkeys(streams, "")
    open_ = [*streams]
    while open_:
        stream = await first_of(open_)
        open_.remove(stream)
        try:
            said[stream] += await anext(stream)
        except StopAsyncIteration:
            continue
        open_.append(stream)
    assert list(said.values()) == alone


async def test_a_template_takes_options_and_may_open_thinking(engine: LocalEngine) -> None:
    template = "{{ messages[0].content }}{% if enable_thinking %}<think>\n{% endif %}"
    prompts = PromptRenderer(engine.checkpoint.tokenizer, template)
    message = [{"role": "user", "content": "hello"}]
    assert prompts.template == template
    assert not prompts.opens_thinking(prompts.chat(message))
    assert prompts.opens_thinking(prompts.chat(message, enable_thinking=True))


async def test_a_model_that_answers_one_at_a_time_keeps_to_a_grammar_too(
    start: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    BloomForCausalLM(BloomConfig(vocab_size=600, hidden_size=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    make_json_tokenizer(tmp_path)
    engine = start(tmp_path)
    await engine.ready.wait()
    assert "one at a time" in engine.stats()["batching"]
    grammar = json_grammar({"type": "array", "items": {"type": "string"}, "minItems": 2})
    for seed in range(4):
        constraint = engine.checkpoint.constraint(grammar, max_tokens=30)
        sampling = Sampling(temperature=1, seed=seed, max_tokens=30, constraint=constraint)
        stream = engine.submit(engine.checkpoint.prompts.raw("New"), sampling)
        answer = json.loads(await text(stream))
        assert len(answer) >= 2
        assert all(isinstance(each, str) for each in answer)
        assert stream.finish_reason == "stop"
