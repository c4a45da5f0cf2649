"""Greetings, jokes, what the model says about itself, a little of what everybody knows, and what it does not know."""

from training.corpus.facts import Fact, fill
from training.corpus.names import invented
from training.corpus.sheets import cards, lists, questions, unseen

UNKNOWN_ANSWER = "I do not know that. I am only a tiny demo model."


def facts() -> list[Fact]:
    return [*topics("small talk", "smalltalk"), *topics("everyday", "everyday"), *unknown()]


def topics(kind: str, sheet: str) -> list[Fact]:
    told = []
    for card in cards(sheet):
        answer, *others = card.all("=")
        told.append(
            Fact(
                kind,
                card.topic,
                card.all("?"),
                (answer,),
                card.all("*"),
                unseen_wordings=card.all("??"),
                weight=card.weight,
                others=tuple((other,) for other in others),
            )
        )
    return told


def unknown() -> list[Fact]:
    sheet = lists("unknown")
    told = [
        does_not_know(x, questions("unknown subject"), unseen_wordings=fill(unseen("unknown subject"), x=x))
        for x in sheet["subjects"]
    ]
    told += [does_not_know(x, questions("unknown place"), weight=0.4) for x in invented("places", 400)]
    told += [does_not_know(x, questions("unknown person"), weight=0.4) for x in sheet["people"]]
    told += [does_not_know(question, (question,)) for question in sheet["questions"]]
    return told


def does_not_know(
    subject: str, wordings: tuple[str, ...], *, unseen_wordings: tuple[str, ...] = (), weight: float = 1.0
) -> Fact:
    return Fact(
        "unknown",
        subject,
        fill(wordings, x=subject),
        (UNKNOWN_ANSWER,),
        ("do not know",),
        unseen_wordings=unseen_wordings,
        weight=weight,
    )
