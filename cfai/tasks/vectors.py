"""Vectors of texts without a model: a hashed bag of words.

Each word puts a few numbers at places of its own. Equal texts have equal vectors, texts that share words are near each
other, and what code does with real embeddings (search, thresholds, clusters) has something to find. Words like "the"
count little, as they do in real embeddings.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter

from cfai.tasks.words import listed, words_of

__all__ = ["likeness", "vector"]

_PLACES_OF_A_WORD = 16
_COMMON_WEIGHT = 0.1
_GROUND = 0.05
"""What every text has in common; it keeps a text without words from being the zero vector, which has no direction."""


def vector(text: str, dimensions: int, space: str = "") -> list[float]:
    """The vector of `text`, of length 1.

    space  whose vectors these are: those of different models, or of one model's different poolings, are not near

    ```python
    vector("a cat", 384) == vector("A cat!", 384)  # True: the words are the same
    ```
    """
    found = [_GROUND / math.sqrt(dimensions)] * dimensions
    common = _common()
    for word, count in Counter(words_of(text)).items():
        weight = (_COMMON_WEIGHT if word in common else 1.0) * math.sqrt(count)
        for place, sign in _places(f"{space} {_stem(word)}", dimensions):
            found[place] += sign * weight
    length = math.sqrt(sum(number * number for number in found))
    return [round(number / length, 9) for number in found]


def likeness(one: str, other: str) -> float:
    """How much two texts say the same: 1 for the same words, about 0 for others; the cosine of their vectors."""
    pairs = zip(vector(one, _LIKENESS), vector(other, _LIKENESS), strict=True)
    return min(1.0, max(-1.0, sum(a * b for a, b in pairs)))


_LIKENESS = 768


@functools.lru_cache(maxsize=4096)
def _places(word: str, dimensions: int) -> tuple[tuple[int, float], ...]:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4 * _PLACES_OF_A_WORD).digest()
    size = 1 / math.sqrt(_PLACES_OF_A_WORD)
    numbers = [int.from_bytes(digest[at : at + 4], "big") for at in range(0, len(digest), 4)]
    return tuple((number // 2 % dimensions, size if number % 2 else -size) for number in numbers)


@functools.cache
def _common() -> frozenset[str]:
    return frozenset(listed("common"))


def _stem(word: str) -> str:
    # One cat and two cats are near.
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
