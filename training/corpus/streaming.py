"""What streaming, server-sent events, tokens and the AI binding are."""

from training.corpus.facts import Fact, fill
from training.corpus.sheets import cards, questions, unseen


def facts() -> list[Fact]:
    told = []
    for card in cards("streaming"):
        names = (card.topic, *card.all("~"))
        asked = [question for name in names for question in fill(questions("explain"), x=name)]
        asked_unseen = [question for name in names[:2] for question in fill(unseen("explain"), x=name)]
        told.append(
            Fact(
                "streaming",
                card.topic,
                (*asked, *card.all("?")),
                card.all("="),
                card.all("*"),
                unseen_wordings=(*asked_unseen, *card.all("??")),
                pinned=(f"what is {card.topic}",),
            )
        )
    return told
