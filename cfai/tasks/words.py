"""Words: how a text falls into them, and made-up sentences for answers that no model wrote."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from random import Random

__all__ = ["listed", "prose", "sentence", "tokens_in", "words_of"]

# Chinese, Japanese and Korean have no spaces: each character counts as a word.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+")


def words_of(text: str) -> list[str]:
    """The words of `text`, in lower case.

    ```python
    words_of("New York, New York!")  # ['new', 'york', 'new', 'york']
    ```
    """
    return _WORD.findall(text.casefold())


def tokens_in(*texts: str) -> int:
    """About how many tokens the texts are, at four letters each: what an answer without a tokenizer counts with."""
    return sum(-(-len(word) // 4) for text in texts for word in words_of(text))


def sentence(rng: Random) -> str:
    """A short sentence of everyday English.

    ```python
    sentence(Random(1))  # 'The old sailor watches a green lantern at the edge of town.'
    ```
    """
    nouns, adjectives = listed("nouns"), listed("adjectives")
    subject = f"{rng.choice(adjectives)} {rng.choice(nouns)}"
    verb, adjective = rng.choice(listed("verbs")), rng.choice(adjectives)
    article = "an" if adjective[0] in "aeiou" else "a"
    return f"The {subject} {verb} {article} {adjective} {rng.choice(nouns)} {rng.choice(listed('places'))}."


def prose(rng: Random, words: int) -> str:
    """Sentences of exactly `words` words in all; the last one may be cut short, and ends in a full stop too."""
    found: list[str] = []
    while len(found) < words:
        found += sentence(rng).split()
    return " ".join(found[:words]).removesuffix(".") + "." if words > 0 else ""


def listed(name: str) -> list[str]:
    """The words of one kind in `words.json`: `nouns`, `common`, `glad`, ..."""
    return _lists()[name]


@functools.cache
def _lists() -> Mapping[str, list[str]]:
    found: Mapping[str, list[str]] = json.loads((resources.files("cfai.tasks") / "words.json").read_text("utf-8"))
    return found
