"""cfai's engine against `model.generate` with transformers' own streamer: one stream, batch 1. See README.md."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata, resources
from pathlib import Path
from typing import Any

SHAPES = {  # hidden, intermediate, layers, heads, key-value heads
    "160m": (768, 2048, 12, 12, 12),
    "1b": (2048, 5632, 22, 32, 4),
    "7b": (4096, 11008, 32, 32, 32),
}
PROMPT = "tell me a story about a fox and a lighthouse"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="a checkpoint; the demo model by default")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of that size instead")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--threads", type=int, help="CPU threads, for both variants; cfai's choice by default")
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    demo = Path(str(resources.files("cfai"))) / "demo" / "tiny-chat"
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or demo
        if given.variant:
            print(json.dumps(VARIANTS[given.variant](folder, given)))
            return
        if given.shape:
            folder = make_random(Path(scratch) / given.shape, given.shape, tokenizer=demo)
        compare(endless(folder, Path(scratch) / "endless"), folder.name, given)


def endless(folder: Path, copy: Path) -> Path:
    """The same checkpoint without an end token, so that every run makes the whole length."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).symlink_to(file.resolve())
    for name, key in (
        ("config", "eos_token_id"),
        ("generation_config", "eos_token_id"),
        ("tokenizer_config", "eos_token"),
    ):
        file = copy / f"{name}.json"
        if file.exists():
            settings = {**json.loads(file.read_text()), key: None}
            file.unlink()
            file.write_text(json.dumps(settings))
    return copy


def compare(folder: Path, name: str, given: argparse.Namespace) -> None:
    versions = " ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
    print(f"{name}, {given.tokens} tokens, {given.runs} runs each, {versions}, {platform.machine()}")
    results: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(given.runs):
        for variant, seen in results.items():
            seen.append(measured(variant, folder, given))
    print(f"{'':<14}" + "".join(f"{variant:>14}" for variant in VARIANTS) + f"{'ratio':>10}")
    for figure in ("tokens/s", "first piece", "late/early", "ready"):
        ours, theirs = ([run[figure] for run in results[variant]] for variant in VARIANTS)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        medians = "".join(f"{statistics.median(values):>14.2f}" for values in (ours, theirs))
        print(f"{figure:<14}{medians}{ratio:>10.2f}")


def measured(variant: str, folder: Path, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--variant", variant, "--tokens", str(given.tokens)]
    for name in ("device", "dtype", "threads"):
        if (value := getattr(given, name)) is not None:
            command += [f"--{name}", str(value)]
    result: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return result


def run_cfai(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    import anyio

    from cfai.engine import EngineSettings, LocalEngine, Sampling

    async def answer(engine: LocalEngine, tokens: int) -> tuple[list[float], int]:
        start = time.perf_counter()
        stream = engine.submit(prompt_of(engine), Sampling(temperature=0, max_tokens=tokens))
        times = [time.perf_counter() - start async for _ in stream]
        return times, stream.completion_tokens

    def prompt_of(engine: LocalEngine) -> list[int]:
        return engine.checkpoint.prompts.raw(PROMPT)

    async def measure() -> dict[str, float]:
        start = time.perf_counter()
        engine = LocalEngine(folder, EngineSettings(device=given.device, dtype=given.dtype, threads=given.threads))
        await engine.ready.wait()
        first, _ = await answer(engine, 8)
        ready = time.perf_counter() - start - (first[-1] - first[0])
        times, tokens = await answer(engine, given.tokens)
        engine.close()
        return figures(times, tokens, ready)

    return anyio.run(measure)


def run_generate(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    import threading

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

    if given.threads or not given.shape:
        torch.set_num_threads(given.threads or 1)
    start = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, given.dtype) if given.dtype else (torch.float32 if device == "cpu" else None)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
    inputs = tokenizer(PROMPT, return_tensors="pt").to(device)

    def answer(tokens: int) -> list[float]:
        begun = time.perf_counter()
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
        options = {
            **inputs,
            "streamer": streamer,
            "max_new_tokens": tokens,
            "min_new_tokens": tokens,
            "do_sample": False,
        }
        thread = threading.Thread(target=model.generate, kwargs=options)
        thread.start()
        times = [time.perf_counter() - begun for piece in streamer if piece]
        thread.join()
        return times

    first = answer(8)
    ready = time.perf_counter() - start - (first[-1] - first[0])
    return figures(answer(given.tokens), given.tokens, ready)


def figures(times: list[float], tokens: int, ready: float) -> dict[str, float]:
    """`times` are those of the pieces, in seconds from the request."""
    tenth = max(2, len(times) // 10)
    early = (times[tenth - 1] - times[0]) / (tenth - 1)
    late = (times[-1] - times[-tenth]) / (tenth - 1)
    return {
        "tokens/s": tokens / times[-1],
        "first piece": times[0] * 1000,
        "late/early": late / early,
        "ready": ready,
    }


VARIANTS = {"cfai": run_cfai, "generate": run_generate}


def make_random(folder: Path, shape: str, tokenizer: Path) -> Path:
    """A Llama of that size with random weights, and the demo model's tokenizer and vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, intermediate, layers, heads, key_value_heads = SHAPES[shape]
    torch.set_default_dtype(torch.bfloat16)
    config = LlamaConfig(
        vocab_size=3584,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=4096,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[:300] = 0  # no special tokens and no bytes: every token is a piece, which is what is timed
    model.save_pretrained(folder)
    for file in tokenizer.glob("token*"):
        shutil.copy(file, folder)
    return folder


if __name__ == "__main__":
    main()
