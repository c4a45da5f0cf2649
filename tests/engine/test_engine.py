"""The engine thread: answers, cancellation, failure, bounds."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest
import torch
from transformers import AutoModelForCausalLM

from cfai.engine import EngineSettings, LocalEngine, Sampling, TextStream
from cfai.errors import AiError, EngineFailure, OutOfCapacity, RequestAborted, WeightsMissing
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
    stream = engine.submit(engine.checkpoint.prompts.raw("New"), LONG)
    await anext(stream)
    made = engine.tokens_made
    await stream.aclose()
    await until(lambda: engine.stats()["running"] == 0)
    assert engine.tokens_made - made <= 2


async def test_leaving_during_prefill_and_in_the_queue_stops_too(start: Callable[..., LocalEngine]) -> None:
    engine = start(slots=1)
    await engine.ready.wait()
    prompt = engine.checkpoint.prompts.raw("rivers and streets meet " * 900)
    passes: list[int] = []
    leave = anyio.Event()
    token = anyio.lowlevel.current_token()

    def count(*_: object) -> None:
        passes.append(1)
        if len(passes) == 2:  # the second of many prefill chunks
            anyio.from_thread.run_sync(leave.set, token=token)

    engine.checkpoint.model.register_forward_pre_hook(count)
    prefilling = engine.submit(prompt, GREEDY)
    queued = engine.submit(prompt, GREEDY)
    await leave.wait()
    await prefilling.aclose()
    await queued.aclose()
    await until(lambda: engine.stats()["running"] + engine.stats()["waiting"] == 0)
    assert engine.tokens_made == 0
    assert len(passes) < len(prompt) // 128


async def test_one_who_leaves_does_not_disturb_the_others(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("hello")
    expected = await text(engine.submit(prompt, GREEDY))
    leaver, stayer = engine.submit(prompt, LONG), engine.submit(prompt, GREEDY)
    await anext(leaver)
    await leaver.aclose()
    assert await text(stayer) == expected


async def test_a_reader_who_lags_stops_its_own_sequence_only(engine: LocalEngine) -> None:
    prompt = engine.checkpoint.prompts.raw("hello")
    lagging = engine.submit(prompt, Sampling(temperature=1, seed=1, max_tokens=2000))
    await until(lambda: lagging.is_full)
    made = engine.tokens_made
    await anyio.sleep(0.05)
    assert engine.tokens_made == made, "the buffer is full and nothing is made"
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

    hook = engine.checkpoint.model.register_forward_pre_hook(fail)
    stream = engine.submit(prompt, GREEDY)
    with pytest.raises(EngineFailure, match="8500: the model failed: a kernel broke"):
        await text(stream)
    assert stream.completion_tokens == calls
    hook.remove()
    assert await text(engine.submit(prompt, GREEDY)) == expected


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
    with torch.no_grad():
        engine.checkpoint.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(EngineFailure, match="not numbers"):
        await text(engine.submit(engine.checkpoint.prompts.raw("New"), GREEDY))


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
