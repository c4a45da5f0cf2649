"""One token from a row of scores each, for all sequences of a step at once, on the device.

The order is transformers': bias, penalties, constraint, temperature, top_k, top_p, min_p, draw. A token is drawn by one
random number, which the sequence's seed and the token's index decide: it is the first token at which the running sum of
the probabilities passes that number. So what a sequence draws depends on itself only.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass

import torch

from cfai.engine.sequence import Sampling

__all__ = ["BROKEN", "Draws", "Features", "Sampler"]

BROKEN = -1
"""In place of a token: the scores were not numbers."""

CANDIDATES = 512
"""So many of the likeliest tokens are looked at first; sorting a whole vocabulary is slow on a CPU."""

MOST_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Draws:
    """The drawn tokens, on the device: ids `[rows]`, and what was asked about their probabilities.

    logprobs        logarithm of each drawn token's probability, `[rows]`
    likeliest       the ids of the likeliest tokens, the likeliest first, `[rows, 20]`
    their_logprobs  the logarithms of their probabilities, `[rows, 20]`
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor | None = None
    likeliest: torch.Tensor | None = None
    their_logprobs: torch.Tensor | None = None

    @property
    def parts(self) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        return self.tokens, self.logprobs, self.likeliest, self.their_logprobs

    def first(self, count: int) -> Draws:
        """Those of the first `count` rows."""
        tokens, *others = self.parts
        return Draws(tokens[:count], *(None if other is None else other[:count] for other in others))


@dataclass(frozen=True, slots=True)
class Features:
    """What the rows of a step need beyond the likeliest token. The host decides, so that the device runs only that."""

    draws: bool = False
    filters: bool = False
    penalties: bool = False
    bias: bool = False
    constraint: bool = False
    logprobs: bool = False

    @classmethod
    def of(cls, samplings: Tokens[Sampling]) -> Features:
        return cls(
            draws=any(not each.is_greedy for each in samplings),
            filters=any(each.has_filters and not each.is_greedy for each in samplings),
            penalties=any(each.has_penalties for each in samplings),
            bias=any(each.logit_bias for each in samplings),
            constraint=any(each.constraint is not None for each in samplings),
            logprobs=any(each.logprobs is not None for each in samplings),
        )


class Sampler:
    """Tables with a row for every running sequence, on the device; `rows` of them and one to spare.

    A table that no sequence has needed yet takes no memory.
    """

    def __init__(self, rows: int, vocabulary: int, device: torch.device) -> None:
        self._shape = (rows + 1, vocabulary)
        self._device = device
        # MPS has no float64. There the sums are less exact, which at most moves a draw to a neighbouring token.
        self.exact = torch.float32 if device.type == "mps" else torch.float64
        self._numbers = torch.zeros(rows + 1, len(_NUMBERS), device=device)
        self._counts: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        self._bias: torch.Tensor | None = None
        self._allowed: torch.Tensor | None = None

    def begin(self, row: int, sampling: Sampling, prompt: Tokens[int], answer: Tokens[int] = ()) -> None:
        """A sequence takes `row`. `answer` holds the tokens made before, if it goes on with one."""
        vocabulary = self._shape[1]
        self._numbers[row] = torch.tensor([float(number(sampling)) for number in _NUMBERS])
        if sampling.has_penalties:
            if self._counts is None or self._seen is None:
                self._counts = torch.zeros(self._shape, device=self._device)
                self._seen = torch.zeros(self._shape, dtype=torch.bool, device=self._device)
            self._counts[row] = torch.bincount(self._ids(answer), minlength=vocabulary).to(self._counts)
            self._seen[row] = False
            self._seen[row, self._ids([*prompt, *answer])] = True
        if sampling.logit_bias:
            if self._bias is None:
                self._bias = torch.zeros(self._shape, device=self._device)
            self._bias[row] = 0
            known = {token: bias for token, bias in sampling.logit_bias.items() if 0 <= token < vocabulary}
            values = torch.tensor(list(known.values()), dtype=torch.float32, device=self._device)
            self._bias[row, self._ids(list(known))] = values
        elif self._bias is not None:
            self._bias[row] = 0
        if self._allowed is not None:
            self._allowed[row] = True

    def allow(self, row: int, allowed: Tokens[int] | bytes) -> None:
        """Only these tokens may be drawn for `row` next; see `Constraint.allowed`."""
        if self._allowed is None:
            self._allowed = torch.ones(self._shape, dtype=torch.bool, device=self._device)
        self._allowed[row] = False
        if isinstance(allowed, bytes):
            bits = torch.frombuffer(bytearray(allowed), dtype=torch.uint8)[:, None]
            mask = (bits >> torch.arange(8, dtype=torch.uint8) & 1).flatten()[: self._shape[1]]
            self._allowed[row, : len(mask)] = mask.to(self._allowed)
        else:
            self._allowed[row, self._ids(allowed)] = True

    def draw(
        self, logits: torch.Tensor, rows: torch.Tensor, uniforms: torch.Tensor | None, features: Features
    ) -> Draws:
        """A token for every row of `logits`, the model's scores, `[n, vocabulary]`; they are left unchanged.

        rows      the row of the tables that each belongs to, `[n]`
        uniforms  the random number that decides each, from 0 to below 1, `[n]`; None if all are greedy
        """
        scores = logits.float()
        reported = scores.log_softmax(dim=-1) if features.logprobs else None
        if features.bias and self._bias is not None:
            scores = scores + self._bias[rows]
        if features.penalties and self._counts is not None and self._seen is not None:
            scores = _penalised(scores, self._counts[rows], self._seen[rows], self._numbers[rows])
        if features.constraint and self._allowed is not None:
            scores = scores.masked_fill(~self._allowed[rows], -torch.inf)
        best = scores.max(dim=-1)
        tokens = best.indices
        if uniforms is not None:
            drawn, is_greedy = self._drawn(scores - best.values[:, None], self._numbers[rows], uniforms, features)
            tokens = torch.where(is_greedy, tokens, drawn)
        if features.penalties and self._counts is not None and self._seen is not None:
            self._counts.index_put_((rows, tokens), self._counts.new_ones(()), accumulate=True)
            self._seen.index_put_((rows, tokens), self._seen.new_ones(()))
        # max is NaN where any score of the row is, so one look covers all of them.
        kept = torch.where(best.values.isfinite(), tokens, BROKEN)
        if reported is None:
            return Draws(kept)
        likeliest = reported.topk(min(MOST_LOGPROBS, reported.shape[1]))
        return Draws(kept, reported.gather(1, tokens[:, None])[:, 0], likeliest.indices, likeliest.values)

    def _drawn(
        self, below: torch.Tensor, numbers: torch.Tensor, uniforms: torch.Tensor, features: Features
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Drawn tokens, and which rows do not want one. `below` are scores, the row's best taken off."""
        temperature, top_p, top_k, min_p = numbers[:, :4].unsqueeze(-1).unbind(1)
        is_greedy = temperature[:, 0] == 0
        # Not divided by zero, where nobody looks: in scores that are all 0 an infinity would do no harm, a NaN may.
        weights = (below / temperature.clamp(min=SMALLEST_TEMPERATURE)).exp()
        tokens = _pick(weights.cumsum(-1, dtype=self.exact), uniforms)
        if features.filters:
            has_filter = (top_p < 1) | (top_k < weights.shape[1]) | (min_p > 0)
            filtered = self._filtered(weights, top_p, top_k, min_p, uniforms, ~has_filter[:, 0] | is_greedy)
            tokens = torch.where(has_filter[:, 0], filtered, tokens)
        return tokens, is_greedy

    def _filtered(
        self,
        weights: torch.Tensor,
        top_p: torch.Tensor,
        top_k: torch.Tensor,
        min_p: torch.Tensor,
        uniforms: torch.Tensor,
        is_idle: torch.Tensor,
    ) -> torch.Tensor:
        """Drawn from the likeliest tokens only; where `is_idle`, anything. `weights` are relative to the best one."""
        vocabulary = weights.shape[1]
        total = weights.sum(-1, keepdim=True, dtype=self.exact)
        # Elsewhere a look at the result would hold the device up, and sorting is fast.
        looks_first = self._device.type == "cpu" and vocabulary > CANDIDATES
        found, is_found = None, is_idle
        for count in (CANDIDATES, vocabulary) if looks_first else (vocabulary,):
            ranked, order = weights.topk(count)
            rank = torch.arange(count, device=weights.device)
            ranked = ranked * (rank < top_k)
            sums = ranked.cumsum(-1, dtype=self.exact)
            mass = torch.where(top_k < vocabulary, sums[:, -1:], total)
            # A token stays if the likelier ones together have less than top_p, so the first always does.
            stays = (sums - ranked < top_p * mass) & (ranked >= min_p) & (ranked > 0)
            picked = _pick((ranked * stays).cumsum(-1, dtype=self.exact), uniforms)
            tokens = order.gather(1, picked[:, None])[:, 0]
            # What the first look has found stays, whatever others need: tokens of the same score may stand in
            # another order in the second.
            found = tokens if found is None else torch.where(is_found, found, tokens)
            if count < vocabulary:
                is_found = is_idle | (~stays[:, -1] & ((top_k[:, 0] <= count) | (top_k[:, 0] >= vocabulary)))
                if bool(is_found.all()):
                    break
        assert found is not None
        return found

    def _ids(self, tokens: Tokens[int]) -> torch.Tensor:
        return torch.tensor(tokens, dtype=torch.long, device=self._device)


_NUMBERS: tuple[Callable[[Sampling], float], ...] = (
    lambda sampling: 0.0 if sampling.is_greedy else sampling.temperature,
    lambda sampling: 2.0 if sampling.top_p is None or sampling.top_p >= 1 else sampling.top_p,
    lambda sampling: sampling.top_k or torch.inf,
    lambda sampling: sampling.min_p or 0.0,
    lambda sampling: sampling.repetition_penalty or 1.0,
    lambda sampling: sampling.frequency_penalty or 0.0,
    lambda sampling: sampling.presence_penalty or 0.0,
)
"""A sequence's row of numbers, with what changes nothing for what it did not ask for."""

SMALLEST_TEMPERATURE = 1e-5


def _penalised(scores: torch.Tensor, counts: torch.Tensor, seen: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    repetition, frequency, presence = numbers[:, 4:].unsqueeze(-1).unbind(1)
    scores = torch.where(seen, torch.where(scores > 0, scores / repetition, scores * repetition), scores)
    return scores - frequency * counts - presence * (counts > 0)


def _pick(sums: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first index of each row at which the running sum passes its share; `sums` is `[n, tokens]`."""
    total = sums[:, -1]
    # Rounding must not carry the share to the sum itself, behind the last token.
    share = torch.minimum(uniforms.to(sums) * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, share[:, None], right=True)[:, 0].clamp(max=sums.shape[1] - 1)
