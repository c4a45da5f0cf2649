"""What LoRA adapters cost: a batch decoded without any, and with some of its sequences' own. See README.md.

python benchmarks/lora.py --model 125m --runs 5
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # else `benchmarks/http.py` hides the library's http

from benchmarks import machine, models
from benchmarks.answers import Answer, figures
from benchmarks.turns import Figures, median, ratio, save, table, take_turns

VARIANTS = {"none": None, "0": 0, "1": 1, "4": 4}
"""How many adapters the sequences have in all, those of 4 two each and so on; for none they are not even loaded."""

MOST = 4
LAYERS = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: `sequences` different prompts of `prompt` tokens at once, `tokens` greedy ones for each."""

    variant: str
    model: str
    cache: str
    device: str
    dtype: str
    threads: int
    rank: int
    sequences: int
    prompt: int
    tokens: int


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
    import anyio

    from cfai.adapters import Adapter
    from cfai.engine import EngineSettings, LocalEngine, Sampling

    cache = Path(case.cache)
    all_of_them = [
        Adapter.at(adapter_folder(case.model, number, rank=case.rank, cache=cache)) for number in range(MOST)
    ]
    count = VARIANTS[case.variant]

    async def answer(
        engine: LocalEngine, prompt: list[int], tokens: int, adapter: Adapter | None, begun: float, into: list[Answer]
    ) -> None:
        stream = engine.submit(prompt, Sampling(temperature=0, max_tokens=tokens), adapter=adapter)
        times = [time.perf_counter() - begun async for _ in stream]
        into.append(Answer(times, stream.completion_tokens))

    async def answers(engine: LocalEngine, seed: int, tokens: int, adapters: list[Adapter]) -> list[Answer]:
        into: list[Answer] = []
        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for index, prompt in enumerate(models.prompt_ids(case.sequences, case.prompt, seed=seed)):
                own = adapters[index % len(adapters)] if adapters else None
                tasks.start_soon(answer, engine, prompt, tokens, own, begun, into)
        return into

    async def run() -> Figures:
        settings = EngineSettings(device=case.device, dtype=case.dtype, threads=case.threads, slots=case.sequences)
        engine = LocalEngine(models.checkpoint(case.model, cache), settings)
        try:
            await engine.ready.wait()
            await answers(engine, 1, 8, [] if count is None else all_of_them)
            await anyio.sleep(machine.idle_seconds(case.device))
            seconds = time.process_time()
            made = figures(await answers(engine, 2, case.tokens, all_of_them[: count or 0]))
            seconds = time.process_time() - seconds
            return {**made, "cpu ms": 1000 * seconds / made["tokens"], "memory": engine.stats()["memory"]}
        finally:
            engine.close()

    return anyio.run(run)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Case(**json.loads(sys.argv[2])))))
        return
    given = _arguments()
    models.checkpoint(given.model, given.cache)
    for number in range(MOST):
        adapter_folder(given.model, number, rank=given.rank, cache=given.cache)
    one = Case(
        variant="none",
        model=given.model,
        cache=str(given.cache),
        device=given.device,
        dtype=given.dtype,
        threads=given.threads or machine.cores(),
        rank=given.rank,
        sequences=given.sequences,
        prompt=given.prompt,
        tokens=given.tokens,
    )
    print(" ".join(["benchmarks/lora.py", *sys.argv[1:]]), described := machine.description())
    runs = take_turns(__file__, {name: asdict(replace(one, variant=name)) for name in VARIANTS}, given.runs)
    rows = [
        {
            "adapters": name,
            "decode/s": median(runs[name], "decode/s"),
            "gap ms": median(runs[name], "gap ms"),
            "first ms": median(runs[name], "first ms"),
            "cpu ms/token": median(runs[name], "cpu ms"),
            "it/none cpu": ratio(runs[name], runs["none"], "cpu ms"),
            "MB": (median(runs[name], "memory") or 0) / 1e6,
            "it/none decode": ratio(runs[name], runs["none"], "decode/s"),
        }
        for name in VARIANTS
    ]
    print(table(rows))
    save(given.json, {"script": "lora", "machine": described, "case": asdict(one), "runs": runs, "rows": rows})


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
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=models.CACHE)
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
