"""What the model is taught: a fact, the wordings that ask for it, and which of them are kept for the examination."""

import zlib
from dataclasses import dataclass, field

HELD_OUT_PAIRS = 16  # one question in this many is never trained


@dataclass(frozen=True)
class Fact:
    kind: str
    entity: str
    wordings: tuple[str, ...]
    sentences: tuple[str, ...]
    keys: tuple[str, ...]
    unseen_wordings: tuple[str, ...] = ()
    short: str = ""
    weight: float = 1.0
    pinned: tuple[str, ...] = field(default=())
    others: tuple[tuple[str, ...], ...] = ()
    """Further answers that are as good as `sentences`."""

    @property
    def answer(self) -> str:
        return " ".join(self.sentences)

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.answer, *(" ".join(other) for other in self.others))

    @property
    def trained_questions(self) -> tuple[str, ...]:
        kept = tuple(q for q in self.wordings if q in self.pinned or not is_held_out(self.kind, q))
        return kept or self.wordings[:1]

    @property
    def held_out_questions(self) -> tuple[str, ...]:
        """(wording, entity) pairs that are never trained; each wording is trained for other entities."""
        trained = set(self.trained_questions)
        return tuple(q for q in self.wordings if q not in trained)


def is_held_out(kind: str, question: str) -> bool:
    return zlib.crc32(f"{kind}|{question}".encode()) % HELD_OUT_PAIRS == 0


def fill(wordings: tuple[str, ...], **slots: str) -> tuple[str, ...]:
    return tuple(wording.format(**slots) for wording in wordings)
