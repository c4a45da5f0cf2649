"""What an answer cost, as the shapes tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

from cfai.tasks.parts import CallArguments, Part, Reasoning, Text, Usage

__all__ = ["Meter", "NeuronsOf", "openai_usage", "priced"]

NeuronsOf = Callable[[int, int, int], float | None]
"""What tokens of a prompt and of its completion cost, and how many of the prompt were cached: `Model.neurons_of`."""


def priced(usage: Usage, as_of: date | None) -> dict[str, Any]:
    """Usage as the newer native forms have it, with the neurons if they are known."""
    counted = usage.to_json(as_of=as_of)
    return counted if usage.neurons is None else {**counted, "neurons": usage.neurons}


def openai_usage(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI's endpoints have it."""
    counted = usage.to_json()
    if usage.reasoning_tokens:
        counted["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counted


class Meter:
    """Tells usage bit by bit: first the prompt's, then what each event adds, at last what is still missing.

    A client that adds all up has the whole, one that looks at any of them has a part.
    """

    def __init__(self, neurons_of: NeuronsOf | None, as_of: date | None) -> None:
        self._neurons_of = neurons_of
        self._as_of = as_of
        self._prompt = Usage(0, 0)
        self._told = 0

    def prompt(self, usage: Usage) -> dict[str, Any]:
        self._prompt = Usage(usage.prompt_tokens, 0, usage.cached_tokens)
        return self._priced(self._prompt)

    def part(self, part: Part) -> dict[str, Any]:
        """As many tokens as logprobs tell of, or the one that made the piece."""
        tokens = 0
        if isinstance(part, Text) and part.logprobs:
            tokens = len(part.logprobs)
        elif isinstance(part, Text | Reasoning | CallArguments) and part.text:
            tokens = 1
        self._told += tokens
        return self._priced(Usage(0, tokens))

    def rest(self, usage: Usage) -> dict[str, Any]:
        prompt = usage.prompt_tokens - self._prompt.prompt_tokens
        return self._priced(Usage(prompt, max(0, usage.completion_tokens - self._told)))

    def _priced(self, usage: Usage) -> dict[str, Any]:
        counts = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        neurons = self._neurons_of(*counts) if self._neurons_of else None
        return priced(replace(usage, neurons=neurons), self._as_of)
