"""What LoRA adapters cost: a batch decoded without any, and with some of its sequences' own. See README.md.

python benchmarks/lora.py --model 125m --rounds 9
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # else `benchmarks/http.py` hides the library's http

from benchmarks import machine, models
from benchmarks.answers import Answer, figures
from benchmarks.turns import Figures, median, ratio, save, table

ADAPTERS = (0, 1, 4)
"""How many the sequences of a batch have in all: none, all the same, or two sequences each."""

MOST = 4
LAYERS = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}


@dataclass(frozen=True, slots=True)
class Case:
    """`sequences` different prompts of `prompt` tokens at once, `tokens` greedy ones for each; `rounds` times."""

    model: str
    cache: str
    device: str
    dtype: str
    threads: int
    rank: int
    sequences: int
    prompt: int
    tokens: int
    rounds: int


def adapter_folder(model: str, number: int, *, rank: int, cache: Path) -> Path:
    """The folder with a random adapter for all layers of `model`, made if it is not there yet."""
    folder = cache / f"{model}-lora-{rank}-{number}"
    if not folder.is_dir():
        _write_adapter(folder.with_suffix(".begun"), models.SHAPES[model], rank, number)
        folder.with_suffix(".begun").replace(folder)
    return folder


def _write_adapter(folder: Path, shape: models.Shape, rank: int, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(seed)
    narrow = shape.kv_heads * shape.head_size
    outputs = {"k_proj": narrow, "v_proj": narrow, "gate_proj": shape.intermediate, "up_proj": shape.intermediate}
    tensors = {}
    for layer in range(shape.layers):
        for part, names in LAYERS.items():
            for name in names:
                key = f"base_model.model.model.layers.{layer}.{part}.{name}"
                inputs = shape.intermediate if name == "down_proj" else shape.hidden
                tensors[f"{key}.lora_A.weight"] = torch.randn(rank, inputs, generator=random) * 0.01
                tensors[f"{key}.lora_B.weight"] = torch.randn(outputs.get(name, shape.hidden), rank, generator=random)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": [*LAYERS["self_attn"], *LAYERS["mlp"]],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def measure(case: Case) -> Figures:
    """One engine, in one process: a round is a batch for each of `ADAPTERS`, so that what else the machine does meets
    them alike. From the second round on prompts are in the cache, and what is measured is decoding."""
    import anyio

    from cfai.adapters import Adapter
    from cfai.engine import EngineSettings, LocalEngine, Sampling

    cache = Path(case.cache)
    everyone = [Adapter.at(adapter_folder(case.model, number, rank=case.rank, cache=cache)) for number in range(MOST)]
    prompts = models.prompt_ids(case.sequences, case.prompt, seed=1)

    async def answer(engine: LocalEngine, index: int, adapters: list[Adapter], begun: float) -> Answer:
        own = adapters[index % len(adapters)] if adapters else None
        stream = engine.submit(prompts[index], Sampling(temperature=0, max_tokens=case.tokens), adapter=own)
        times = [time.perf_counter() - begun async for _ in stream]
        return Answer(times, stream.completion_tokens)

    async def batch(engine: LocalEngine, adapters: list[Adapter]) -> Figures:
        made: list[Answer] = []

        async def one(index: int) -> None:
            made.append(await answer(engine, index, adapters, begun))

        begun, seconds = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as tasks:
            for index in range(case.sequences):
                tasks.start_soon(one, index)
        found = figures(made)
        return {**found, "cpu ms": 1000 * (time.process_time() - seconds) / found["tokens"]}

    async def run() -> Figures:
        settings = EngineSettings(device=case.device, dtype=case.dtype, threads=case.threads, slots=case.sequences)
        engine = LocalEngine(models.checkpoint(case.model, cache), settings)
        try:
            await engine.ready.wait()
            await batch(engine, [])
            await anyio.sleep(machine.idle_seconds(case.device))
            before = [await batch(engine, []) for _ in range(case.rounds)]
            for count in ADAPTERS:
                await batch(engine, everyone[:count])
            runs = {str(count): list[Figures]() for count in ADAPTERS}
            for _ in range(case.rounds):
                for count in ADAPTERS:
                    runs[str(count)].append(await batch(engine, everyone[:count]))
                    print(".", end="", file=sys.stderr, flush=True)
            return {"none loaded": before, **runs, "adapters": engine.stats()["memory"] - engine.checkpoint.memory}
        finally:
            engine.close()

    return anyio.run(run)


def main() -> None:
    given = _arguments()
    options = {name: value for name, value in vars(given).items() if name != "json"}
    case = Case(**{**options, "cache": str(given.cache), "threads": given.threads or machine.cores()})
    print(" ".join(["benchmarks/lora.py", *sys.argv[1:]]), described := machine.description())
    runs = measure(case)
    memory = runs.pop("adapters")
    rows = [
        {
            "adapters": name,
            "decode/s": median(found, "decode/s"),
            "gap ms": median(found, "gap ms"),
            "cpu ms/token": median(found, "cpu ms"),
            "decode it/0": ratio(found, runs["0"], "decode/s"),
            "cpu it/0": ratio(found, runs["0"], "cpu ms"),
        }
        for name, found in runs.items()
    ]
    print(f"\n{table(rows)}\n{MOST} adapters take {memory / 1e6:.0f} MB")
    save(given.json, {"script": "lora", "machine": described, "case": asdict(case), "runs": runs, "rows": rows})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What LoRA adapters cost in a batch.")
    parser.add_argument("--model", choices=models.SHAPES, default="125m")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=models.GGUF_KINDS)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens made for each")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cache", type=Path, default=models.CACHE)
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
