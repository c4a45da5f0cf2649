"""Texts become labels, other texts and shorter texts."""

from __future__ import annotations

import math
from typing import Any

from cfai.tasks.answers.answer import Answer, Asked
from cfai.tasks.words import listed, tokens_in, words_of

__all__ = [
    "classified",
    "indic",
    "passed_on",
    "summarized",
    "tokens_classified",
    "tokens_summarized",
    "tokens_translated",
    "translated",
]


def classified(asked: Asked) -> Answer:
    """NEGATIVE, then POSITIVE, whichever is likelier: the order of npm's @cloudflare/ai, which nothing sorts."""
    words = words_of(asked.inputs["text"])
    balance = sum(word in listed("glad") for word in words) - sum(word in listed("sad") for word in words)
    leaning = 3.0 * balance if balance else asked.rng.uniform(-1, 1)
    positive = round(1 / (1 + math.exp(-max(-20.0, min(20.0, leaning)))), 9)
    scores = {"NEGATIVE": round(1 - positive, 9), "POSITIVE": positive}
    return Answer([{"label": label, "score": score} for label, score in scores.items()])


def translated(asked: Asked) -> Answer:
    inputs = asked.inputs
    return Answer({"translated_text": _in(inputs["target_lang"], inputs["text"], inputs.get("source_lang", "en"))})


def indic(asked: Asked) -> Answer:
    texts = asked.inputs["text"]
    target = asked.inputs["target_language"]
    rows = [texts] if isinstance(texts, str) else texts
    return Answer({"translations": [_in(target, text, "eng_Latn") for text in rows]})


def _in(target: str, text: str, source: str) -> str:
    # No dictionary is here, so the words stay, and a test can see which text went into which language.
    return text if target == source else f"[{target}] {text}"


def summarized(asked: Asked) -> Answer:
    """The beginning of the text: a third of it, at most `max_length` tokens."""
    words = asked.inputs["input_text"].split()
    kept = words[: max(1, min(len(words), max(8, len(words) // 3)))]
    while len(kept) > 1 and tokens_in(*kept) > asked.inputs.get("max_length", 1024):
        kept.pop()
    is_cut = len(kept) < len(words)
    return Answer({"summary": " ".join(kept).rstrip(",;:.") + "." if is_cut else " ".join(kept)})


def passed_on(asked: Asked) -> Answer:
    """What went in."""
    return Answer(dict(asked.inputs))


def tokens_classified(inputs: Any, answer: Answer) -> dict[str, float]:
    return {"input tokens": tokens_in(inputs["text"])}


def tokens_translated(inputs: Any, answer: Answer) -> dict[str, float]:
    texts = [inputs["text"]] if isinstance(inputs["text"], str) else inputs["text"]
    made = answer.body["translations"] if "translations" in answer.body else [answer.body["translated_text"]]
    return {"input tokens": tokens_in(*texts), "output tokens": tokens_in(*made)}


def tokens_summarized(inputs: Any, answer: Answer) -> dict[str, float]:
    return {"input tokens": tokens_in(inputs["input_text"]), "output tokens": tokens_in(answer.body["summary"])}
