"""One answer in the making, without tensors."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from cfai.engine.stream import TextStream

__all__ = ["Sampling", "Sequence"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, for one sequence. The defaults are Workers AI's.

    max_tokens          tokens to make at most
    temperature         0 always takes the likeliest token; larger numbers flatten the choice
    top_p, top_k        keep the likeliest tokens up to this share of probability, or this many; None keeps all
    seed                None draws a new one for every sequence
    repetition_penalty  divides the scores of tokens seen in prompt or answer; None and 0 are off
    frequency_penalty   taken from a token's score once per time it stands in the answer
    presence_penalty    taken once if it stands in the answer at all
    """

    max_tokens: int = 256
    temperature: float = 0.6
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()

    @property
    def is_greedy(self) -> bool:
        # Below this, dividing by the temperature overflows float32 and the likeliest token wins anyway.
        return self.temperature < 1e-5

    @property
    def has_penalties(self) -> bool:
        return any((self.repetition_penalty, self.frequency_penalty, self.presence_penalty))


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt, the tokens made so far, and the stream to its reader."""

    prompt: Tokens[int]
    sampling: Sampling
    stream: TextStream
    output: list[int] = field(default_factory=list)
    prefilled: int = 0
    """How many prompt tokens are in the KV cache."""

    @property
    def needs_prefill(self) -> bool:
        return self.prefilled < len(self.prompt)

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
        return len(self.output) >= self.sampling.max_tokens
