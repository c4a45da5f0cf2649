"""A few words in many languages, and the names of cities in their own script."""

from collections.abc import Iterator

from training.corpus.facts import Fact
from training.corpus.sheets import DATA, questions, rows, unseen

COMMON = ("hello", "thank you")


def languages() -> list[str]:
    """The heading of the table of words."""
    heading = (DATA / "words.tsv").read_text(encoding="utf-8").splitlines()[0]
    return heading.split("|")[1:]


def facts() -> list[Fact]:
    return [*word_facts(), *name_facts()]


def word_facts() -> Iterator[Fact]:
    for word, *row in rows("words"):
        for language, foreign in zip(languages(), row, strict=True):
            yield translation("translate", word, language, foreign, weight=2.0 if word in COMMON else 1.0)


def name_facts() -> Iterator[Fact]:
    for city, name, language in rows("own_script"):
        yield translation("own script", city, language, name)


def translation(kind: str, word: str, language: str, foreign: str, *, weight: float = 1.0) -> Fact:
    return Fact(
        "translation",
        f"{word}, {language}",
        tuple(wording.format(word=word, language=language) for wording in questions(kind)),
        (f"In {language}, {word} is “{foreign}”.",),
        (f"“{foreign}”",),
        unseen_wordings=tuple(wording.format(word=word, language=language) for wording in unseen(kind)),
        short=foreign,
        weight=weight,
    )
