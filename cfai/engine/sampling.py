"""One token from a row of scores, for one sequence."""

from __future__ import annotations

import secrets

import torch

from cfai.engine.sequence import Sampling
from cfai.errors import EngineFailure

__all__ = ["Sampler"]


class Sampler:
    """Draws the tokens of one sequence with a random generator of its own.

    The order is the usual one: penalties, temperature, top_k, top_p, draw.
    """

    def __init__(self, sampling: Sampling, prompt: torch.Tensor, vocabulary: int) -> None:
        """`prompt` holds the prompt's ids, shape (tokens,); scores come for `vocabulary` tokens."""
        self._sampling = sampling
        self._random = torch.Generator(device=prompt.device)
        self._random.manual_seed(secrets.randbits(63) if sampling.seed is None else sampling.seed)
        self._counts = self._seen = None
        if sampling.has_penalties:
            self._counts = torch.zeros(vocabulary, device=prompt.device)
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=prompt.device)
            self._seen[prompt] = True

    def draw(self, logits: torch.Tensor) -> int:
        """The next token. `logits` are the model's scores, shape (vocabulary,), any float type; left unchanged."""
        scores = logits.float()
        if self._counts is not None and self._seen is not None:
            scores = self._penalised(scores, self._counts, self._seen)
        if self._sampling.is_greedy:
            # max gives NaN where any score is NaN, so one look covers the row.
            best = scores.max(dim=-1)
            _refuse_broken(best.values)
            token = int(best.indices)
        else:
            token = self._drawn(scores / self._sampling.temperature)
        if self._counts is not None and self._seen is not None:
            self._counts[token] += 1
            self._seen[token] = True
        return token

    def _penalised(self, scores: torch.Tensor, counts: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        sampling = self._sampling
        if factor := sampling.repetition_penalty:
            penalised = torch.where(scores > 0, scores / factor, scores * factor)
            scores = torch.where(seen, penalised, scores)
        scores = scores - (sampling.frequency_penalty or 0.0) * counts
        return scores - (sampling.presence_penalty or 0.0) * (counts > 0)

    def _drawn(self, scores: torch.Tensor) -> int:
        sampling = self._sampling
        tokens = None
        if sampling.top_k is not None and sampling.top_k < scores.shape[-1]:
            scores, tokens = scores.topk(sampling.top_k)
        if sampling.top_p is not None and sampling.top_p < 1:
            if tokens is None:
                scores, tokens = scores.sort(descending=True)
            shares = scores.softmax(dim=-1)
            # A token stays if the likelier ones together have less than top_p; so the first always does.
            scores = scores.masked_fill(shares.cumsum(dim=-1) - shares >= sampling.top_p, -torch.inf)
        shares = scores.softmax(dim=-1)
        _refuse_broken(shares[0])
        drawn = int(torch.multinomial(shares, 1, generator=self._random))
        return drawn if tokens is None else int(tokens[drawn])


def _refuse_broken(value: torch.Tensor) -> None:
    # softmax spreads one NaN or +inf over the whole row.
    if not torch.isfinite(value):
        raise EngineFailure(
            "the model's scores are not numbers (NaN or infinity)", hint="check the weights and the dtype"
        )
