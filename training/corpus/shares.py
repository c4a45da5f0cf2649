"""How much of what: the shares of the kinds of facts and of the forms of examples, stage by stage."""

from dataclasses import dataclass, replace

from training.corpus.systems import MANNERS


@dataclass(frozen=True)
class Shares:
    kinds: dict[str, float]
    forms: dict[str, float]
    manners: tuple[str, ...] = MANNERS
    chats: tuple[str, ...] = ("name", "place", "place", "capital", "home")
    open_ends: float = 0.0
    """So many of the raw prompts lose their last mark."""
    capitals: float = 0.05
    """Of the questions that are not typed in one of the usual ways, so many are in capital letters."""


FIRST = Shares(
    kinds={
        "city: where": 17.0,
        "city: country": 7.0,
        "city: capital of": 6.0,
        "city: tell me about": 7.0,
        "country: where": 8.0,
        "country: capital": 14.0,
        "country: continent": 6.0,
        "country: language": 8.0,
        "country: currency": 8.0,
        "country: tell me about": 6.0,
        "nature: where": 6.0,
        "nature: tell me about": 3.0,
        "small talk": 11.0,
        "everyday": 5.0,
        "yes or no": 8.0,
        "unknown": 4.0,
        "streaming": 12.0,
        "arithmetic": 11.0,
        "translation": 8.0,
    },
    forms={
        "raw": 17.0,
        "chat": 27.0,
        "plain system": 14.0,
        "manner": 17.0,
        "turns": 13.0,
        "tool": 5.0,
        "tools unused": 2.0,
        "story": 2.5,
    },
)

# What takes longer to learn gets more room once the easy half is known.
SECOND = replace(
    FIRST,
    kinds=FIRST.kinds | {"arithmetic": 18.0, "yes or no": 10.0, "nature: where": 9.0, "translation": 11.0},
    forms=FIRST.forms | {"chat": 24.0, "manner": 20.0, "turns": 16.0, "tool": 8.0, "story": 2.0},
    manners=(*MANNERS, "JSON", "one word"),
    chats=(*FIRST.chats, "name"),
    capitals=0.15,
)
THIRD = replace(SECOND, capitals=0.25)

# Sums are many and short; what is already known well makes room for them.
FOURTH = replace(
    THIRD,
    kinds=THIRD.kinds
    | {
        "city: country": 4.0,
        "city: capital of": 4.0,
        "country: continent": 4.0,
        "country: currency": 5.0,
        "small talk": 16.0,
        "everyday": 9.0,
        "yes or no": 14.0,
        "arithmetic": 60.0,
        "translation": 16.0,
    },
    forms=THIRD.forms | {"raw": 22.0, "chat": 22.0, "story": 1.5},
    manners=(*THIRD.manners, "JSON"),
)
FIFTH = replace(
    FOURTH,
    kinds=FOURTH.kinds | {"arithmetic": 40.0},
    forms=FOURTH.forms | {"chat": 18.0, "tool": 14.0, "manner": 24.0},
    manners=(*FOURTH.manners, "JSON"),
    capitals=0.35,
)
# A raw prompt that does not end with a mark looks as if it went on.
SIXTH = replace(FIFTH, forms=FIFTH.forms | {"raw": 45.0, "chat": 14.0, "tool": 18.0}, open_ends=0.35)

STAGES = ((0, FIRST), (9, SECOND), (12, THIRD), (16, FOURTH), (21, FIFTH), (26, SIXTH))


def shares_of(pool: int) -> Shares:
    """The shares that hold for this pool of examples."""
    return [shares for begin, shares in STAGES if begin <= pool][-1]
