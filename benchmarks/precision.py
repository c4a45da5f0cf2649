"""What a model loses in each precision: its perplexity and its tokens beside those of float32. See docs/precision.md.

python benchmarks/precision.py                       # the demo model, on questions and answers of training/
python benchmarks/precision.py --model ./llama       # another one, on the pages of docs/
python benchmarks/precision.py --model ./llama --text book.txt
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # else `benchmarks/http.py` hides the library's http

from benchmarks import machine
from benchmarks.turns import save, table

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "cfai" / "demo" / "tiny-chat"
REFERENCE = "float32"
KEPT_EMBEDDING = "int8, embedding bfloat16"
QUESTIONS = (
    "where is new york?",
    "What is the capital of Kenya?",
    "Which language do people speak in Brazil?",
    "Tell me about Zürich.",
    "What is 7 plus 5?",
    "Where is the Nile?",
    "Hello, who are you?",
    "What is the currency of Japan?",
    "Which continent is Peru on?",
    "How do you say good morning in French?",
    "Tell me a story about a fox.",
    "What is a stream?",
    "Is Paris in Italy?",
    "Give me a list of three rivers.",
    "Where is Mount Everest?",
    "Thank you!",
)
ANSWER = 48
"""Tokens of an answer, at most."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens, and whether each of them is to be predicted."""

    ids: list[int]
    counts: list[bool]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model makes of the text and the questions."""

    losses: Any
    """Of every token that counts."""
    tops: Any
    """The likeliest token in the place of each of them."""
    answers: list[list[int]]
    memory: int


@dataclass(frozen=True, slots=True)
class Quality:
    """One precision beside the reference."""

    precision: str
    megabytes: float
    perplexity: float
    ratio: float
    """Of the perplexity to the reference's."""
    agreement: float
    """At how many places of the text the likeliest token is the reference's."""
    answers: float
    """How many answers are the reference's from the first token to the last."""


def measure(folder: Path, passages: list[Passage], precisions: list[str]) -> Iterator[Quality]:
    """The reference first, then each of `precisions`."""
    reference = _seen(folder, REFERENCE, passages)
    yield _compared(REFERENCE, reference, reference)
    for precision in precisions:
        yield _compared(precision, _seen(folder, precision, passages), reference)


def passages_of_training(count: int) -> list[Passage]:
    """Chats, questions, stories and tool calls as the demo model was taught them, drawn anew; the answers count."""
    from training.corpus.mixture import Mixture
    from training.tokenizer import Tokenizer

    tokenizer = Tokenizer(DEMO / "tokenizer.model")
    drawn = itertools.islice(Mixture().examples("precision"), count)
    return [Passage(encoded.ids, encoded.learnt) for encoded in map(tokenizer.encode, drawn)]


def passages_of_files(folder: Path, files: list[Path], count: int, length: int) -> list[Passage]:
    """The files one behind the other, cut into pieces of `length` tokens, each of which begins as a text does."""
    from cfai.engine.prompt import PromptRenderer
    from cfai.engine.tokenizer import load_tokenizer

    text = "\n".join(file.read_text("utf-8") for file in files)
    begin, *ids = PromptRenderer(load_tokenizer(folder), None).raw(text)
    pieces = [ids[at : at + length - 1] for at in range(0, len(ids), length - 1)]
    return [Passage([begin, *piece], [False, *[True] * len(piece)]) for piece in pieces[:count]]


def _compared(precision: str, seen: Seen, reference: Seen) -> Quality:
    same = [answer == wanted for answer, wanted in zip(seen.answers, reference.answers, strict=True)]
    loss, wanted_loss = seen.losses.mean().item(), reference.losses.mean().item()
    return Quality(
        precision=precision,
        megabytes=round(seen.memory / 1e6, 1),
        perplexity=math.exp(loss),
        ratio=math.exp(loss - wanted_loss),
        agreement=seen.tops.eq(reference.tops).double().mean().item(),
        answers=sum(same) / len(same),
    )


def _seen(folder: Path, precision: str, passages: list[Passage]) -> Seen:
    import torch

    from cfai.engine import load_checkpoint

    loaded = load_checkpoint(folder, device="cpu", dtype=precision.partition(",")[0])
    if precision == KEPT_EMBEDDING:
        _put_embedding_back(loaded, folder)
    losses, tops = [], []
    with torch.inference_mode():
        for passage in passages:
            row, counts = torch.tensor([passage.ids]), torch.tensor(passage.counts[1:])
            scores = loaded.model(row).logits[0, :-1].float()[counts]
            losses.append(torch.nn.functional.cross_entropy(scores, row[0, 1:][counts], reduction="none"))
            tops.append(scores.argmax(-1))
        answers = [_answer(loaded, question) for question in QUESTIONS]
    return Seen(torch.cat(losses), torch.cat(tops), answers, loaded.memory)


def _answer(loaded: Any, question: str) -> list[int]:
    import torch

    prompt = torch.tensor([loaded.prompts.chat([{"role": "user", "content": question}])])
    made = loaded.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=ANSWER,
        pad_token_id=0,
        eos_token_id=[*loaded.end_tokens],
    )
    answer: list[int] = made[0, prompt.shape[1] :].tolist()
    return answer


def _put_embedding_back(loaded: Any, folder: Path) -> None:
    """As if only the layers had been made int8."""
    import torch

    from cfai.engine import load_checkpoint

    floats = load_checkpoint(folder, device="cpu", dtype=REFERENCE).model.get_input_embeddings()

    class Halves(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.halves = torch.nn.Parameter(floats.weight.bfloat16(), requires_grad=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.halves[ids].float() * getattr(floats, "scalar_embed_scale", 1.0)

    loaded.model.set_input_embeddings(Halves())


PRECISIONS = ["bfloat16", "float16", "int8", KEPT_EMBEDDING]

SHOWN: dict[str, Callable[[Quality], str | float]] = {
    "precision": lambda row: row.precision,
    "MB": lambda row: row.megabytes,
    "perplexity": lambda row: f"{row.perplexity:.3f}",
    "of float32's": lambda row: f"{row.ratio:.4f}",
    "same token": lambda row: f"{row.agreement:.2%}",
    "same answer": lambda row: f"{row.answers:.0%}",
}


def main() -> None:
    given = _arguments()
    files = given.text or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if given.model == DEMO and not given.text:
        passages = passages_of_training(given.passages)
    else:
        passages = passages_of_files(given.model, files, given.passages, given.length)
    record: dict[str, Any] = {
        "script": "precision",
        "machine": machine.description(),
        "options": {**vars(given), "model": str(given.model), "text": [*map(str, given.text)], "json": None},
        "tokens": sum(sum(passage.counts) for passage in passages),
        "rows": [],
    }
    print(" ".join(["benchmarks/precision.py", *sys.argv[1:]]), record["machine"])
    rows = []
    for row in measure(given.model, passages, given.precisions):
        rows.append({name: shown(row) for name, shown in SHOWN.items()})
        record["rows"].append(asdict(row))
        save(given.json, record)
    print(table(rows))
    print(f"{len(passages)} passages, {record['tokens']} tokens that count, {len(QUESTIONS)} answers")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a model loses in each precision.")
    parser.add_argument("--model", type=Path, default=DEMO, help="a checkpoint's folder; the demo model")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="files to read; the pages of docs/")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--passages", type=int, default=200, help="how many pieces of text")
    parser.add_argument("--length", type=int, default=256, help="tokens of a piece of a file")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
