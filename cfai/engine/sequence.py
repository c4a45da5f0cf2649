"""One answer in the making, without tensors."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Protocol

from cfai.adapters import Adapter
from cfai.engine.regions import Region
from cfai.engine.stream import TextStream
from cfai.request_id import request_id

__all__ = ["Constraint", "Sampling", "Sequence", "Token", "uniform"]


class Constraint(Protocol):
    """Which tokens may come next, for one sequence: a grammar, a list of words. Used by the engine thread only."""

    def allowed(self) -> Tokens[int] | bytes:
        """The ids that may come next, or a bit for every id of the vocabulary, lowest first in every byte."""

    def settle(self, token: int) -> int | None:
        """The token that is taken when `token` is drawn: itself, unless what may follow it does not fit into the
        answer's last tokens. None ends the answer before it. Asked again, it says the same."""

    def advance(self, token: int) -> None:
        """`token` was taken, and the answer goes on."""

    @property
    def is_satisfied(self) -> bool:
        """The answer may end here."""

    @property
    def is_over(self) -> bool:
        """Nothing may follow."""


@dataclass(frozen=True, slots=True)
class Token:
    """A drawn token; if a sequence of the step asked, its probability's logarithm, and the likeliest with theirs."""

    id: int
    logprob: float | None = None
    likeliest: Tokens[int] = ()
    their_logprobs: Tokens[float] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, for one sequence. The defaults are Workers AI's.

    max_tokens          tokens to make at most
    temperature         0 always takes the likeliest token; larger numbers flatten the choice
    top_p, top_k        keep the likeliest tokens up to this share of probability, or this many; None keeps all
    min_p               drop tokens less likely than this share of the likeliest one's probability; None keeps all
    seed                None draws a new one for every sequence
    repetition_penalty  divides the scores of tokens seen in prompt or answer; None and 0 are off
    frequency_penalty   taken from a token's score once per time it stands in the answer
    presence_penalty    taken once if it stands in the answer at all
    logit_bias          added to the scores of these token ids
    stop                texts at which the answer ends; they are not part of it
    logprobs            report the logarithm of each token's probability, and of so many likelier ones (0 to 20);
                        None reports none. They are the model's own, before penalties and temperature
    constraint          which tokens may come at all; None allows every one
    shown               special tokens whose text is part of the answer, by that text; others are dropped
    """

    max_tokens: int = 256
    temperature: float = 0.6
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    constraint: Constraint | None = None
    shown: tuple[str, ...] = ()

    @property
    def is_greedy(self) -> bool:
        # Below this, dividing by the temperature overflows float32 and the likeliest token wins anyway.
        return self.temperature < 1e-5

    @property
    def has_penalties(self) -> bool:
        return any((self.repetition_penalty, self.frequency_penalty, self.presence_penalty))

    @property
    def has_filters(self) -> bool:
        """Only a part of the tokens is drawn from."""
        return bool(self.top_k or self.min_p) or (self.top_p is not None and self.top_p < 1)

    @property
    def is_plain(self) -> bool:
        """Nothing but the scores of this step decides about the token."""
        return not self.has_penalties and self.constraint is None


class Sequence:
    """A prompt, the tokens made so far, and the stream to its reader."""

    def __init__(
        self, prompt: Tokens[int], sampling: Sampling, stream: TextStream, *, adapter: Adapter | None = None
    ) -> None:
        self.ids = list(prompt)
        """The prompt's tokens and those made so far."""
        self.prompt_tokens = len(self.ids)
        self.sampling = sampling
        self.stream = stream
        self.adapter = adapter
        """What the base model is changed by for this sequence; None is nothing."""
        self.computed = 0
        """How many tokens' keys and values are in the cache, or will be after the steps that are under way."""
        self.drawn = 0
        """Tokens made, those of steps under way included."""
        self.region: Region | None = None
        self.row = -1
        """Its place in the sampler's tables while it runs."""
        self.seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self.is_finished = False
        self.number = 0
        """Who came later has a larger one."""
        self.request_id = request_id.get()
        """For the log."""

    @property
    def made(self) -> int:
        """Tokens made and known."""
        return len(self.ids) - self.prompt_tokens

    @property
    def left(self) -> int:
        """Tokens to put into the cache before the next one can be drawn: one while it decodes."""
        return self.prompt_tokens + self.drawn - self.computed

    @property
    def needs_prefill(self) -> bool:
        """Its prompt, or all of it once more, is not in the cache yet."""
        return self.drawn == 0 or self.left > 1

    @property
    def most_tokens(self) -> int:
        """The room in the cache that it takes at most."""
        return self.prompt_tokens + self.sampling.max_tokens

    @property
    def is_abandoned(self) -> bool:
        """Nobody reads it any more."""
        return self.stream.is_closed

    @property
    def is_stalled(self) -> bool:
        """Its reader lags; it waits until there is room."""
        return self.stream.is_full

    @property
    def is_out_of_tokens(self) -> bool:
        """Every token that was asked for is drawn."""
        return self.drawn >= self.sampling.max_tokens

    def uniforms(self, first: int, count: int) -> list[float]:
        """The random numbers, from 0 to below 1, with which tokens `first` to `first + count - 1` are drawn."""
        return [uniform(self.seed, index) for index in range(first, first + count)]


_MASK = (1 << 64) - 1


def uniform(seed: int, index: int) -> float:
    """The `index`-th random number of `seed`, from 0 to below 1, by SplitMix64.

    A number that depends on nothing else makes a seeded answer the same alone, in a batch and when it is made again.
    """
    value = (_mixed(seed & _MASK) + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    return (_mixed(value) >> 11) * 2.0**-53


def _mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
