"""The many ways in which people type the same question."""

from random import Random

PREFIXES = (
    "please tell me, ",
    "hey, ",
    "hi, ",
    "hello, ",
    "can you tell me, ",
    "could you tell me, ",
    "tell me, ",
    "tell me ",
    "do you know ",
    "do you know, ",
    "i want to know, ",
    "i would like to know: ",
    "quick question: ",
    "question: ",
    "so, ",
    "ok, ",
    "and ",
    "well, ",
    "excuse me, ",
    "sorry, ",
    "can you tell me ",
    "please, ",
    "i wonder, ",
)
SUFFIXES = (" please", ", please", " thanks", ", thank you", " exactly", ", do you know", " again", ", my friend")
MARKS = ("?", "?", "?", "?", "", "", ".", "??", " ?", "!")


def as_typed(question: str, rng: Random, *, may_misspell: bool = True, capitals: float = 0.05) -> str:
    """A question as somebody might type it: other casing, other marks, a greeting before it, now and then a slip."""
    if rng.random() < 0.30:
        return capitalised(question) + "?"
    if rng.random() < 0.15:
        return question.lower() + rng.choice(("?", ""))
    text = question
    if rng.random() < 0.25:
        text = rng.choice(PREFIXES) + text
    if rng.random() < 0.10:
        text += rng.choice(SUFFIXES)
    if may_misspell and rng.random() < 0.04:
        text = misspelt(text, rng)
    text += rng.choice(MARKS)
    return cased(text, rng, capitals)


def cased(text: str, rng: Random, capitals: float) -> str:
    roll = rng.random()
    if roll < 0.45:
        return text.lower()
    if roll < 0.85:
        return capitalised(text)
    if roll < 1 - capitals:
        return text
    return text.upper()


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def misspelt(text: str, rng: Random) -> str:
    """Two neighbouring letters swapped, or one lost."""
    places = [
        i for i in range(1, len(text) - 2) if text[i].isalpha() and text[i + 1].isalpha() and text[i - 1].isalpha()
    ]
    if not places:
        return text
    i = rng.choice(places)
    if rng.random() < 0.5:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return text[:i] + text[i + 1 :]
