"""Sums with small numbers."""

from training.corpus.facts import Fact, fill
from training.corpus.sheets import questions, unseen


def facts() -> list[Fact]:
    told = []
    for a in range(21):
        for b in range(21):
            told.append(sum_fact("plus", a, b, a + b))
            if a >= b:
                told.append(sum_fact("minus", a, b, a - b))
            if a <= 10 and b <= 10:
                told.append(sum_fact("times", a, b, a * b))
    return [*told, *(root_fact(a) for a in range(1, 13))]


def sum_fact(word: str, a: int, b: int, result: int) -> Fact:
    return Fact(
        "arithmetic",
        f"{a} {word} {b}",
        tuple(wording.format(a=a, b=b) for wording in questions(word)),
        (f"{a} {word} {b} is {result}.",),
        (f"is {result}.",),
        unseen_wordings=tuple(wording.format(a=a, b=b) for wording in unseen(word)),
        short=str(result),
        pinned=(f"what is {a} + {b}",),
    )


def root_fact(root: int) -> Fact:
    square = root * root
    return Fact(
        "arithmetic",
        f"the square root of {square}",
        fill(questions("root"), a=str(square)),
        (f"The square root of {square} is {root}.",),
        (f"is {root}.",),
        unseen_wordings=fill(unseen("root"), a=str(square)),
        short=str(root),
        weight=3.0,
        pinned=(f"what is the square root of {square}",),
    )
