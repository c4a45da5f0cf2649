"""Models that cannot be batched: `generate`, one sequence at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from cfai.engine.checkpoint import Checkpoint
from cfai.engine.lora import AdapterBank
from cfai.engine.runner import Pending, vocabulary_of
from cfai.engine.sampling import BROKEN, Features, Sampler
from cfai.engine.scheduler import Work
from cfai.engine.sequence import Sequence, Token

__all__ = ["Soloist"]


class Soloist:
    """Runs whole answers through transformers' `generate`, with the same sampler as the runner."""

    def __init__(self, checkpoint: Checkpoint, adapters: AdapterBank) -> None:
        self._adapters = adapters
        self._model: Any = checkpoint.model
        self._model.generation_config = GenerationConfig()  # what the checkpoint says about sampling is not asked
        self._device = checkpoint.device
        self._sampler = Sampler(1, vocabulary_of(checkpoint), self._device)

    def perform(self, sequence: Sequence, take: Callable[[Token], bool]) -> None:
        """Make the answer. `take` gets every token when it is drawn, and says whether to go on."""
        prompt = torch.tensor([sequence.ids], device=self._device)
        self._sampler.begin(0, sequence.sampling, sequence.ids)
        draw = _Draw(self._sampler, sequence)
        if (adapter := sequence.adapter) is not None:
            self._adapters.bring(adapter, busy={adapter})
        with contextlib.nullcontext() if adapter is None else self._adapters.step([(adapter, 1)]):
            self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=GenerationConfig(
                    max_new_tokens=sequence.sampling.max_tokens, do_sample=False, pad_token_id=0, use_cache=True
                ),
                logits_processor=LogitsProcessorList([draw]),
                stopping_criteria=StoppingCriteriaList([_Stop(lambda: not take(draw.token))]),
            )


class _Draw(LogitsProcessor):  # type: ignore[misc]  # transformers is not typed
    """Draws the next token, and leaves `generate`, which takes the likeliest, no other."""

    def __init__(self, sampler: Sampler, sequence: Sequence) -> None:
        self._sampler = sampler
        self._sequence = sequence
        self._features = Features.of([sequence.sampling])
        self.token = Token(0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sequence, sampling = self._sequence, self._sequence.sampling
        if sampling.constraint is not None:
            self._sampler.allow(0, sampling.constraint.allowed())
        uniforms = torch.tensor(sequence.uniforms(sequence.made, 1), dtype=self._sampler.exact, device=scores.device)
        row = torch.zeros(1, dtype=torch.long, device=scores.device)
        draws = self._sampler.draw(scores, row, uniforms if self._features.draws else None, self._features)
        [[self.token]] = Pending([Work(sequence, 0, 1, draws=1)], draws).tokens()
        if sampling.constraint is not None and self.token.id != BROKEN:
            settled = sampling.constraint.settle(self.token.id)
            if settled is not None:  # else the answer ends, and what generate goes on with is of no account
                self.token = replace(self.token, id=settled)
        chosen = torch.full_like(scores, -torch.inf)
        chosen[:, max(self.token.id, 0)] = 0
        return chosen


class _Stop(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._is_over(), dtype=torch.bool, device=input_ids.device)
