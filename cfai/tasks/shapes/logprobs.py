"""Tokens and how likely they were, as chat completions and responses tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cfai.tasks.parts import TokenLogprob

__all__ = ["chat_logprobs", "token_logprobs"]


def token_logprobs(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """Each token with the likeliest ones in its place."""
    return [{**_token(token), "top_logprobs": [_token(other) for other in token.top]} for token in tokens]


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` of a choice."""
    return {"content": token_logprobs(tokens), "refusal": None}


def _token(token: TokenLogprob) -> dict[str, Any]:
    # A token may be a part of a character: its bytes say what its text cannot.
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}
