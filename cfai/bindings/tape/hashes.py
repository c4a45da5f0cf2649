"""Texts that a tape does not show, and can still be compared with: a salted hash stands in their place.

The salt is random and kept in the tape, so that a text has one hash in all of a tape and another in any other. Who has
the tape and guesses a text can confirm the guess: a hash hides a text, not one of three possible texts.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["HASH_MARK", "hashed", "is_hash"]

HASH_MARK = "<hashed "
"""How each begins."""

_HASH = re.compile(HASH_MARK + "[0-9a-f]{32}>")


def hashed(text: str, salt: str) -> str:
    """What a tape of that salt shows in place of `text`."""
    if is_hash(text):
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=salt.encode()[:64], digest_size=16)
    return f"{HASH_MARK}{digest.hexdigest()}>"


def is_hash(text: str) -> bool:
    return _HASH.fullmatch(text) is not None
