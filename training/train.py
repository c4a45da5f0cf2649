"""The training run: AdamW for the embeddings, Muon for the matrices, one batch of like-length examples per step."""

import itertools
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from training.corpus.mixture import Mixture
from training.corpus.shares import shares_of
from training.tokenizer import VOCABULARY, Encoded, Tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    steps: int
    batch_tokens: int = 2048
    pool: int = 8192  # examples drawn and sorted by length at a time
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    warmup: int = 100
    polish: int = 0  # further steps at a low rate, for what is still weak
    seed: str = "tiny-chat"
    save_every: int = 200


FULL = Recipe(steps=5000, polish=400)
SMOKE = Recipe(steps=40, warmup=10)


def architecture() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=896,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for weight matrices (Jordan et al., 2024)."""

    def __init__(self, matrices: list[nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                mean = state.setdefault("mean", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = torch.lerp(matrix.grad, mean, group["momentum"])
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - group["lr"] * 0.01)
                matrix.add_(orthogonal(ahead), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """A Newton-Schulz iteration: all singular values near one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square: Tensor = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def batches(mixture: Mixture, tokenizer: Tokenizer, recipe: Recipe, pool: int) -> list[list[Encoded]]:
    """One pool of examples, cut into batches of similar length."""
    rng = Random(f"{recipe.seed}/{pool}/batches")
    drawn = itertools.islice(mixture.examples(f"{recipe.seed}/{pool}", shares_of(pool)), recipe.pool)
    tokens = (tokenizer.encode(example, stray_space=rng.random() < 0.08) for example in drawn)
    encoded = sorted(tokens, key=lambda e: len(e.ids) + rng.random())
    cut: list[list[Encoded]] = [[]]
    for example in encoded:
        if (len(cut[-1]) + 1) * len(example.ids) > recipe.batch_tokens:
            cut.append([])
        cut[-1].append(example)
    rng.shuffle(cut)
    return cut


def tensors(batch: list[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Input ids, padded on the right, the places whose next token is learnt, and those tokens."""
    width = max(len(example.ids) for example in batch)
    ids = torch.tensor([example.ids + [0] * (width - len(example.ids)) for example in batch])
    learnt = torch.tensor([example.learnt + [False] * (width - len(example.ids)) for example in batch])
    return ids[:, :-1], learnt[:, 1:], ids[:, 1:][learnt[:, 1:]]


def loss_of(model: LlamaForCausalLM, batch: list[Encoded]) -> Tensor:
    # The causal mask hides the padding on the right; logits are made only where something is learnt.
    ids, places, targets = tensors(batch)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(hidden[places])
    return functional.cross_entropy(logits, targets)


class Trainer:
    def __init__(self, mixture: Mixture, tokenizer: Tokenizer, recipe: Recipe, folder: Path) -> None:
        torch.manual_seed(0)
        self.mixture, self.tokenizer, self.recipe, self.folder = mixture, tokenizer, recipe, folder
        self.model = LlamaForCausalLM(architecture())
        self.optimizers = self._optimizers()
        self.step = self.pool = self.done_in_pool = self.tokens = 0

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        matrices = [p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in self.model.named_parameters() if p.ndim != 2 or "embed" in name]
        return [
            Muon(matrices, self.recipe.matrix_rate),
            torch.optim.AdamW(others, lr=self.recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]

    def rate(self) -> float:
        """Warms up and falls in a cosine to nothing; to polish, rises a little and falls in a line."""
        if self.step < self.recipe.warmup:
            return (self.step + 1) / self.recipe.warmup
        if self.step < self.recipe.steps:
            return 0.5 * (1 + math.cos(math.pi * self.step / self.recipe.steps))
        return 0.2 * (1 - (self.step - self.recipe.steps) / self.recipe.polish)

    def run(self) -> None:
        started, seen = time.monotonic(), self.tokens
        last = self.recipe.steps + self.recipe.polish
        self.model.train()
        losses: list[float] = []
        for batch in self._batches():
            losses.append(self._learn(batch))
            if self.step % 50 == 0:
                speed = (self.tokens - seen) / (time.monotonic() - started)
                log.info("step %d loss %.4f %.0f tokens/s", self.step, sum(losses) / len(losses), speed)
                losses.clear()
            if self.step % self.recipe.save_every == 0 or self.step == last:
                self.save()
            if self.step >= last:
                return

    def _batches(self) -> Iterator[list[Encoded]]:
        while True:
            for batch in batches(self.mixture, self.tokenizer, self.recipe, self.pool)[self.done_in_pool :]:
                self.done_in_pool += 1
                yield batch
            self.pool, self.done_in_pool = self.pool + 1, 0

    def _learn(self, batch: list[Encoded]) -> float:
        rate = self.rate()
        for optimizer, full in zip(self.optimizers, (self.recipe.matrix_rate, self.recipe.other_rate), strict=True):
            optimizer.param_groups[0]["lr"] = full * rate
        loss = loss_of(self.model, batch)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self.tokens += sum(len(example.ids) for example in batch)
        return loss.item()

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "place": (self.step, self.pool, self.done_in_pool, self.tokens),
            "recipe": asdict(self.recipe),
        }
        torch.save(state, self.folder / "state.new")
        (self.folder / "state.new").replace(self.folder / "state.pt")

    def resume(self) -> None:
        state = torch.load(self.folder / "state.pt")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.pool, self.done_in_pool, self.tokens = state["place"]
