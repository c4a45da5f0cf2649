"""Guesses at what comes next: what followed the last tokens when they stood in the text before."""

from __future__ import annotations

from collections.abc import Sequence as Tokens

__all__ = ["PromptLookup"]

LENGTH = 3
"""So many tokens must be the same as before."""


class PromptLookup:
    """Drafts for one sequence, from its own prompt and answer; a token costs the same however long these are.

    Answers that quote their prompt (summaries, corrections, code) are guessed well, others not at all.
    """

    def __init__(self) -> None:
        self._behind: dict[tuple[int, ...], int] = {}
        self._indexed = 0

    def draft(self, ids: Tokens[int], most: int) -> Tokens[int]:
        """Up to `most` tokens that may follow `ids`, which has only grown since the last call."""
        for at in range(self._indexed, len(ids) - LENGTH):
            self._behind[tuple(ids[at : at + LENGTH])] = at + LENGTH
        self._indexed = max(self._indexed, len(ids) - LENGTH)
        at = self._behind.get(tuple(ids[-LENGTH:]), len(ids))
        return ids[at : at + most]
