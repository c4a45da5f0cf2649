"""cfai's engine beside transformers and llama.cpp, in process, on the same weights. See README.md.

python benchmarks/engine.py --model 125m --device cpu --runs 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # else `benchmarks/http.py` hides the library's http

from benchmarks import machine, models
from benchmarks.answers import Answer, figures
from benchmarks.turns import Figures, median, ratio, save, table, take_turns

IN_A_ROW = 4
PAGE = 256
"""Tokens in a page of transformers' continuous batching, by default."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: `sequences` different prompts of `prompt` tokens at once, `tokens` greedy ones for each."""

    variant: str
    model: str
    cache: str
    device: str
    dtype: str
    threads: int
    sequences: int
    prompt: int
    tokens: int
    unquantised: str

    @property
    def folder(self) -> Path:
        return models.checkpoint(self.model, Path(self.cache))

    @property
    def plain_dtype(self) -> str:
        """For those who have no int8."""
        if self.dtype != "int8":
            return self.dtype
        return self.unquantised or ("float32" if self.device == "cpu" else "float16")

    def prompts(self, *, seed: int) -> list[list[int]]:
        return models.prompt_ids(self.sequences, self.prompt, seed=seed)


def run_cfai(case: Case, *, torch_compile: bool = False) -> Figures:
    import anyio

    from cfai.engine import EngineSettings, LocalEngine, Sampling

    loading = machine.Loading(case.device)

    async def answer(engine: LocalEngine, prompt: list[int], tokens: int, begun: float, into: list[Answer]) -> None:
        stream = engine.submit(prompt, Sampling(temperature=0, max_tokens=tokens))
        times = [time.perf_counter() - begun async for _ in stream]
        into.append(Answer(times, stream.completion_tokens))

    async def answers(engine: LocalEngine, seed: int, tokens: int) -> list[Answer]:
        into: list[Answer] = []
        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for prompt in case.prompts(seed=seed):
                tasks.start_soon(answer, engine, prompt, tokens, begun, into)
        return into

    async def measure() -> Figures:
        settings = EngineSettings(
            device=case.device,
            dtype=case.dtype,
            threads=case.threads,
            slots=case.sequences,
            queue_limit=case.sequences,
            torch_compile=torch_compile,
        )
        engine = LocalEngine(case.folder, settings)
        try:
            await engine.ready.wait()
            await answers(engine, 1, 8)
            loading.end()
            with anyio.fail_after(COMPILING_SECONDS):
                while torch_compile and not _is_compiled(engine.stats()["compiled"]):  # noqa: ASYNC110  # nobody tells
                    await anyio.sleep(0.5)
            await anyio.sleep(machine.idle_seconds(case.device))
            loading.settled()
            return _figures(await answers(engine, 2, case.tokens), loading)
        finally:
            engine.close()

    return anyio.run(measure)


def _is_compiled(told: str | None) -> bool:
    return told is not None and len(set(told.split(" of "))) == 1


def run_generate(case: Case) -> Figures:
    """`generate` with transformers' own streamer in a thread, one sequence after another.

    Four of them show the pace; how long the last of many would wait is left out.
    """
    import threading

    from transformers import AutoTokenizer, TextIteratorStreamer

    model, loading = _transformers_model(case)
    tokenizer = AutoTokenizer.from_pretrained(case.folder)

    class TimedStreamer(TextIteratorStreamer):  # type: ignore[misc]  # transformers is not typed
        """Tells when each token came: the text itself comes word by word."""

        def __init__(self, begun: float) -> None:
            super().__init__(tokenizer, skip_prompt=True)
            self._begun = begun
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            is_prompt = self.next_tokens_are_prompt
            super().put(value)
            if not is_prompt:
                self.times.append(time.perf_counter() - self._begun)

    def answers(prompts: list[list[int]], tokens: int) -> list[Answer]:
        made = []
        begun = time.perf_counter()
        for prompt in prompts:
            streamer = TimedStreamer(begun)
            options = {**_batch(model, [prompt]), "streamer": streamer, "max_new_tokens": tokens, "do_sample": False}
            thread = threading.Thread(target=model.generate, kwargs=options)
            thread.start()
            for _ in streamer:
                pass
            thread.join()
            made.append(Answer(streamer.times, tokens))
        return made

    answers(case.prompts(seed=1)[:1], 8)
    loading.end()
    found = _figures(answers(case.prompts(seed=2)[:IN_A_ROW], case.tokens), loading)
    return found if case.sequences <= IN_A_ROW else {**found, "first ms": None, "last first ms": None}


def run_batched(case: Case) -> Figures:
    """One `generate` for all prompts, its best case: equal lengths, and nobody comes later or leaves earlier."""
    from transformers.generation.streamers import BaseStreamer

    model, loading = _transformers_model(case)

    class Clock(BaseStreamer):  # type: ignore[misc]  # transformers is not typed
        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None: ...

    def answers(seed: int, tokens: int) -> list[Answer]:
        clock = Clock()
        begun = time.perf_counter()
        inputs = _batch(model, case.prompts(seed=seed))
        model.generate(**inputs, streamer=clock, max_new_tokens=tokens, do_sample=False)
        times = [at - begun for at in clock.times[1:]]  # the prompt is put first
        return [Answer(times, tokens) for _ in range(case.sequences)]

    answers(1, 8)
    loading.end()
    return _figures(answers(2, case.tokens), loading)


def run_continuous(case: Case) -> Figures:
    """transformers' continuous batching."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model, loading = _transformers_model(case)
    pages = case.sequences * (-(-(case.prompt + case.tokens) // PAGE) + 1)
    # On the CPU it would take nearly all memory for its cache; on a GPU it is left to itself.
    settings = {"num_blocks": pages, "max_batch_tokens": 512} if case.device == "cpu" else {}
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
        continuous_batching_config=ContinuousBatchingConfig(**settings),
    )
    manager.start()

    def answers(seed: int, tokens: int) -> list[Answer]:
        begun = time.perf_counter()
        names = manager.add_requests(case.prompts(seed=seed), max_new_tokens=tokens, streaming=True)
        made = {name: Answer() for name in names}
        waiting = set(names)
        for output in manager:
            if output.error is not None:
                raise RuntimeError(output.error)
            answer = made[output.request_id]
            if len(output.generated_tokens) > answer.tokens:
                answer.times.append(time.perf_counter() - begun)
                answer.tokens = len(output.generated_tokens)
            if output.is_finished():
                waiting.discard(output.request_id)
            if not waiting:
                return [*made.values()]
        raise RuntimeError("the manager stopped")

    try:
        answers(1, 8)
        loading.end()
        return _figures(answers(2, case.tokens), loading)
    finally:
        manager.stop(block=True)


def run_llama_cpp(case: Case) -> Figures:
    """llama.cpp through llama-cpp-python's low-level interface: prompts in chunks, then one batch per step."""
    try:
        import llama_cpp  # type: ignore[import-not-found]
    except ImportError:
        return {"skipped": "llama-cpp-python is not installed"}
    file = models.gguf(case.model, Path(case.cache), dtype=case.dtype)
    loading = machine.Loading("cpu")
    llama_cpp.llama_backend_init()
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, None)
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = case.sequences * (case.prompt + case.tokens + 64)
    options.n_batch = max(512, case.sequences)
    options.n_seq_max = case.sequences
    options.n_threads = options.n_threads_batch = case.threads
    context = llama_cpp.llama_init_from_model(model, options)
    sampler = llama_cpp.llama_sampler_init_greedy()
    batch = llama_cpp.llama_batch_init(options.n_batch, 0, 1)

    def decode(entries: list[tuple[int, int, int, bool]]) -> list[int]:
        """Run (token, position, sequence, draws) for each entry and return the drawn tokens."""
        batch.n_tokens = len(entries)
        for at, (token, position, sequence, draws) in enumerate(entries):
            batch.token[at], batch.pos[at], batch.logits[at] = token, position, draws
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        if code := llama_cpp.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode: {code}")
        drawing = [at for at, entry in enumerate(entries) if entry[3]]
        return [llama_cpp.llama_sampler_sample(sampler, context, at) for at in drawing]

    def answers(seed: int, tokens: int) -> list[Answer]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        begun = time.perf_counter()
        made = [Answer() for _ in range(case.sequences)]
        last = [0] * case.sequences
        work = [
            (token, position, sequence, position == case.prompt - 1)
            for sequence, prompt in enumerate(case.prompts(seed=seed))
            for position, token in enumerate(prompt)
        ]
        position = case.prompt
        while made[-1].tokens < tokens:
            entries, work = work[: options.n_batch], work[options.n_batch :]
            drawn = iter(decode(entries))
            for _, _, sequence, draws in entries:
                if draws:
                    last[sequence] = next(drawn)
                    made[sequence].tokens += 1
                    made[sequence].times.append(time.perf_counter() - begun)
            if not work:
                work = [(token, position, sequence, True) for sequence, token in enumerate(last)]
                position += 1
        return made

    answers(1, 8)
    loading.end()
    return _figures(answers(2, case.tokens), loading)


def _figures(answers: list[Answer], loading: machine.Loading) -> Figures:
    found = figures(answers)
    return {**found, **loading.figures(found["tokens"])}


def run_bandwidth(case: Case) -> Figures:
    return {"bytes/s": machine.bandwidth(case.device)}


def _transformers_model(case: Case) -> tuple[Any, machine.Loading]:
    """The model, and what its loading takes."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(case.threads)
    loading = machine.Loading(case.device)
    dtype = getattr(torch, case.plain_dtype)
    return AutoModelForCausalLM.from_pretrained(case.folder, dtype=dtype).to(case.device).eval(), loading


def _batch(model: Any, prompts: list[list[int]]) -> dict[str, Any]:
    import torch

    ids = torch.tensor(prompts, device=model.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pad_token_id": 0}


VARIANTS: dict[str, Callable[[Case], Figures]] = {
    "cfai": run_cfai,
    "cfai compiled": lambda case: run_cfai(case, torch_compile=True),
    "cfai unquantised": lambda case: run_cfai(replace(case, dtype=case.plain_dtype)),
    "generate": run_generate,
    "batched": run_batched,
    "continuous": run_continuous,
    "llama.cpp": run_llama_cpp,
    "bandwidth": run_bandwidth,
}
COMPILING_SECONDS = 1200
"""After so many a model that is not compiled never will be."""

QUANTISED = ("cfai", "cfai compiled", "llama.cpp")
"""Those who have int8."""


def variants_for(sequences: int, dtype: str, device: str) -> list[str]:
    """What there is to compare by itself: batching nothing is not measured, and llama.cpp runs on the CPU here."""
    left_out = set()
    if sequences == 1:
        left_out.add("batched")
    if dtype != "int8":
        left_out.add("cfai unquantised")
    left_out.add("cfai compiled" if device == "cpu" else "llama.cpp")
    return [variant for variant in VARIANTS if variant not in left_out]


def limit(case: Case, bandwidth: float) -> float:
    """Tokens per second of all sequences if a step took no longer than reading what it has to read."""
    sequences = 1 if case.variant == "generate" else case.sequences
    is_int8 = case.dtype == "int8" and case.variant in QUANTISED
    size = 4 if case.plain_dtype == "float32" else 2
    tokens = sequences * (case.prompt + case.tokens // 2)
    shape = models.SHAPES[case.model]
    return sequences * bandwidth / shape.bytes_per_step(weight=1 if is_int8 else size, cached=size, tokens=tokens)


SHOWN = ("tokens/s", "decode/s", "step ms", "first ms", "cpu ms")


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        case = Case(**json.loads(sys.argv[2]))
        print(json.dumps(VARIANTS[case.variant](case)))
        return
    given = _arguments()
    models.checkpoint(given.model, given.cache)
    threads = given.threads or machine.cores()
    options = {**vars(given), "cache": None, "json": None, "threads": threads}
    record: Figures = {
        "script": "engine",
        "machine": machine.description(),
        "options": options,
        "rows": [],
        "cases": [],
    }
    print(" ".join(["benchmarks/engine.py", *sys.argv[1:]]), record["machine"])
    for prompt in given.prompts:
        for sequences in given.sequences:
            cases = _cases(given, threads, sequences, prompt)
            print(f"{sequences} x {prompt} tokens ", end="", file=sys.stderr, flush=True)
            runs = take_turns(__file__, {name: asdict(case) for name, case in cases.items()}, given.runs)
            record["cases"].append({"prompt": prompt, "sequences": sequences, "runs": runs})
            record["rows"] += _rows(cases, runs)
            save(given.json, record)
    print(table(record["rows"]))
    speeds = [median(case["runs"]["bandwidth"], "bytes/s") or 0 for case in record["cases"]]
    print(f"memory read at {statistics.median(speeds) / 1e9:.1f} GB/s")


def _cases(given: argparse.Namespace, threads: int, sequences: int, prompt: int) -> dict[str, Case]:
    one = Case(
        variant="cfai",
        model=given.model,
        cache=str(given.cache),
        device=given.device,
        dtype=given.dtype,
        threads=threads,
        sequences=sequences,
        prompt=prompt,
        tokens=given.tokens,
        unquantised=given.unquantised,
    )
    names = variants_for(sequences, given.dtype, given.device)
    names += [name for name in given.beside or () if name == "cfai compiled" and name not in names]
    return {name: replace(one, variant=name) for name in names if _wanted(name, given)}


def _rows(cases: dict[str, Case], runs: dict[str, list[Figures]]) -> list[Figures]:
    bandwidth = median(runs["bandwidth"], "bytes/s")
    rows = []
    for name, case in cases.items():
        if name == "bandwidth":
            continue
        rate, memory = median(runs[name], "decode/s"), median(runs[name], "memory")
        rows.append(
            {
                "prompt": case.prompt,
                "sequences": case.sequences,
                "variant": name,
                **{shown: median(runs[name], shown) for shown in SHOWN},
                "of limit": rate / limit(case, bandwidth) if rate and bandwidth else None,
                "late/early": median(runs[name], "late/early"),
                "ready s": median(runs[name], "ready s"),
                "MB": memory and round(memory / 1e6),
                "cfai/it": ratio(runs["cfai"], runs[name], "tokens/s"),
                "cfai/it decode": ratio(runs["cfai"], runs[name], "decode/s"),
            }
        )
    return rows


def _wanted(name: str, given: argparse.Namespace) -> bool:
    return name in ("cfai", "bandwidth") or given.beside is None or name in given.beside


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="cfai's engine beside transformers and llama.cpp, in process.")
    parser.add_argument("--model", choices=models.SHAPES, default="125m")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=models.GGUF_KINDS)
    parser.add_argument(
        "--unquantised",
        default="",
        choices=[kind for kind in models.GGUF_KINDS if kind != "int8"],
        help="beside int8, the dtype of those who have none; float32 on a CPU, else float16",
    )
    parser.add_argument(
        "--threads", type=int, help="CPU threads of every variant; one for a small model, else a core each"
    )
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--prompts", type=int, nargs="+", default=[64, 1024], help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--beside", nargs="*", choices=[name for name in VARIANTS if name not in ("cfai", "bandwidth")])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=models.CACHE, help="where the models are made")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
