"""System prompts: those that change nothing, and those that change how the same fact is told."""

import json
from collections.abc import Callable
from random import Random

from training.corpus.facts import Fact
from training.corpus.sheets import lists

EMOJI = {"arithmetic": "🔢", "streaming": "💡", "translation": "💬", "small talk": "😀", "unknown": "😀"}


def one_word(fact: Fact) -> str:
    return fact.short


def one_sentence(fact: Fact) -> str:
    return fact.sentences[0]


def pirate(fact: Fact) -> str:
    # "Arr! Paris is the capital of France, matey."
    return f"Arr! {fact.answer.rstrip('.!?')}, matey!"


def butler(fact: Fact) -> str:
    return f"Certainly, sir. {fact.sentences[0]}"


def emoji(fact: Fact) -> str:
    return f"{fact.sentences[0]} {EMOJI.get(fact.kind, '🌍')}"


def as_json(fact: Fact) -> str:
    return json.dumps({"answer": fact.sentences[0]}, ensure_ascii=False)


TELL: dict[str, Callable[[Fact], str]] = {
    "one word": one_word,
    "one sentence": one_sentence,
    "pirate": pirate,
    "butler": butler,
    "emoji": emoji,
    "JSON": as_json,
}


MANNERS = tuple(TELL)


def plain(rng: Random) -> str:
    return rng.choice(lists("systems")["plain"])


def suits(manner: str, fact: Fact) -> bool:
    if manner == "one word":
        # Currencies that need two words are left out; names that do are not.
        two_words = fact.kind == "country: currency" and " " in fact.short
        return bool(fact.short) and not fact.kind.endswith("tell me about") and not two_words
    return fact.kind != "unknown" and "\n" not in fact.answer


def prompt(manner: str, rng: Random) -> str:
    return rng.choice(lists("systems")[manner])
