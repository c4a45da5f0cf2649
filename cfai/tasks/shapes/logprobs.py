"""Tokens and how likely they were, as chat completions and responses tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cfai.tasks.parts import TokenLogprob

__all__ = ["LEAST_LOGPROB", "chat_logprobs", "finite", "token_logprobs"]

LEAST_LOGPROB = -9999.0
"""What OpenAI says for a token that could not have come."""


def finite(logprob: float) -> float:
    """`logprob` as JSON can have it: a token that a grammar rules out has minus infinity."""
    return max(logprob, LEAST_LOGPROB)


def token_logprobs(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """Each token with the likeliest ones in its place."""
    return [{**_token(token), "top_logprobs": [_token(other) for other in token.top]} for token in tokens]


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` of a choice."""
    return {"content": token_logprobs(tokens), "refusal": None}


def _token(token: TokenLogprob) -> dict[str, Any]:
    # A token may be a part of a character: its bytes say what its text cannot.
    return {"token": token.text, "logprob": finite(token.logprob), "bytes": list(token.bytes)}
