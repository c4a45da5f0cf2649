"""Padding: text of random length in each event, so that its size says nothing about the piece in it.

https://blog.cloudflare.com/ai-side-channel-attack-mitigated/
"""

from __future__ import annotations

import random
from datetime import date

__all__ = ["PADDED_SINCE", "alphabet_padding", "random_padding"]

PADDED_SINCE = date(2024, 3, 14)

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_SHORTEST, _LONGEST = 2, 46
_SHORTEST_RANDOM, _LONGEST_RANDOM = 8, 41


def alphabet_padding(rng: random.Random) -> str:
    """As the classic form has it: the alphabet from its start, over and over."""
    return (_ALPHABET * 2)[: rng.randint(_SHORTEST, _LONGEST)]


def random_padding(rng: random.Random) -> str:
    """As chat models have it: any of the same characters."""
    return "".join(rng.choices(_ALPHABET, k=rng.randint(_SHORTEST_RANDOM, _LONGEST_RANDOM)))
