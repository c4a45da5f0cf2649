"""Draws training examples: which fact, asked how, in which form of prompt."""

import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from training.corpus import arithmetic, geography, languages, smalltalk, stories, streaming, systems, tools
from training.corpus.chats import Chats
from training.corpus.facts import Fact
from training.corpus.shares import FIRST, Shares
from training.corpus.wordings import as_typed

Role = Literal["system", "user", "assistant", "call", "tool"]

HELD_OUT_CHATS = 16  # one chat in this many is never trained


@dataclass(frozen=True)
class Turn:
    role: Role
    text: str


@dataclass(frozen=True)
class Example:
    turns: tuple[Turn, ...]
    raw: bool = False


def all_facts() -> list[Fact]:
    return [*geography.facts(), *smalltalk.facts(), *streaming.facts(), *arithmetic.facts(), *languages.facts()]


def normal(question: str) -> str:
    """The question without the differences of casing, marks and accents."""
    return re.sub(r"[^\w+*\[\]-]+", " ", without_accents(question).lower()).strip()


def without_accents(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not "\u0300" <= c <= "\u036f")
    return plain.replace("\u02bb", "").replace("ł", "l").replace("đ", "d")


def chat_is_held_out(questions: list[str]) -> bool:
    return zlib.crc32("|".join(questions).encode()) % HELD_OUT_CHATS == 0


class Mixture:
    """An endless stream of examples; the same seed draws the same ones."""

    def __init__(self, facts: list[Fact] | None = None) -> None:
        self.facts = facts or all_facts()
        self._of: dict[str, list[Fact]] = {}
        for fact in self.facts:
            self._of.setdefault(fact.kind, []).append(fact)
        self._weights = {kind: [fact.weight for fact in some] for kind, some in self._of.items()}
        self._trained = {id(fact): fact.trained_questions for fact in self.facts}
        self.held_out = {normal(q) for fact in self.facts for q in (*fact.held_out_questions, *fact.unseen_wordings)}
        self.chats = Chats(self.facts, {city.name: city.country for city in geography.cities()})

    def examples(self, seed: str, shares: Shares = FIRST) -> Iterator[Example]:
        rng = Random(seed)
        while True:
            example = self._example(rng, shares)
            if example and not self.leaks(example):
                yield example

    def leaks(self, example: Example) -> bool:
        return any(normal(turn.text) in self.held_out for turn in example.turns if turn.role == "user")

    def _example(self, rng: Random, shares: Shares) -> Example | None:
        form = rng.choices(list(shares.forms), list(shares.forms.values()))[0]
        if form == "story":
            return self._story(rng, shares)
        if form == "turns":
            return self._turns(rng, shares)
        if form == "tool":
            return self._tool(rng, shares)
        fact = self._fact(rng, shares)
        if form == "manner":
            return self._manner(fact, rng, shares)
        question = self._question(fact, rng, shares)
        if form == "raw" and shares.open_ends and rng.random() < shares.open_ends:
            question = question.rstrip(" ?!.") + rng.choice(("", "", "\n"))
        user = Turn("user", question)
        answer = Turn("assistant", self._answer(fact, rng))
        if form == "plain system":
            return Example((Turn("system", systems.plain(rng)), user, answer))
        if form == "tools unused":
            if fact.kind in ("arithmetic", "unknown"):
                return None
            return Example((Turn("system", tools.any_listing(rng)), user, answer))
        return Example((user, answer), raw=form == "raw")

    def _fact(self, rng: Random, shares: Shares) -> Fact:
        kind = rng.choices(list(shares.kinds), list(shares.kinds.values()))[0]
        return rng.choices(self._of[kind], self._weights[kind])[0]

    def _question(self, fact: Fact, rng: Random, shares: Shares) -> str:
        questions = self._trained[id(fact)]
        question = questions[0] if rng.random() < 0.15 else rng.choice(questions)
        return typed(question, rng, shares, may_misspell=fact.kind not in ("arithmetic", "translation"))

    def _answer(self, fact: Fact, rng: Random) -> str:
        return rng.choice(fact.answers)

    def _manner(self, fact: Fact, rng: Random, shares: Shares) -> Example | None:
        manner = rng.choice(shares.manners)
        if not systems.suits(manner, fact):
            return None
        told = [fact]
        if rng.random() < 0.25:
            second = self._fact(rng, shares)
            told += [second] if systems.suits(manner, second) else []
        turns = [Turn("system", systems.prompt(manner, rng))]
        for each in told:
            turns += [Turn("user", self._question(each, rng, shares)), Turn("assistant", systems.TELL[manner](each))]
        return Example(tuple(turns))

    def _story(self, rng: Random, shares: Shares) -> Example:
        hero = rng.choice(stories.HEROES)
        question = typed(stories.question(hero, rng), rng, shares)
        told = Turn("assistant", stories.story(hero, rng))
        system = (Turn("system", systems.plain(rng)),) if rng.random() < 0.2 else ()
        return Example((*system, Turn("user", question), told), raw=not system and rng.random() < 0.2)

    def _turns(self, rng: Random, shares: Shares) -> Example | None:
        turns: list[Turn] = [Turn("system", systems.plain(rng))] if rng.random() < 0.25 else []
        if rng.random() < 0.25:
            asked = [
                (self._question(fact, rng, shares), self._answer(fact, rng))
                for fact in (self._fact(rng, shares) for _ in range(rng.randint(2, 5)))
            ]
            turns += [turn for q, a in asked for turn in (Turn("user", q), Turn("assistant", a))]
            return Example(tuple(turns))
        chat = self.chats.chat(rng, shares.chats)
        if chat_is_held_out([question for question, _ in chat]):
            return None
        for question, answer in chat:
            turns += [Turn("user", typed(question, rng, shares)), Turn("assistant", answer)]
        return Example(tuple(turns))

    def _tool(self, rng: Random, shares: Shares) -> Example:
        chat = tools.tool_chat(rng)
        system = chat.listing if rng.random() < 0.6 else f"{systems.plain(rng)}\n{chat.listing}"
        turns = [
            Turn("system", system),
            Turn("user", typed(chat.question, rng, shares, may_misspell=False)),
            Turn("call", chat.call),
        ]
        turns += [Turn("tool", chat.result), Turn("assistant", chat.answer)]
        return Example(tuple(turns))


def typed(question: str, rng: Random, shares: Shares = FIRST, *, may_misspell: bool = True) -> str:
    text = as_typed(question, rng, may_misspell=may_misspell, capitals=shares.capitals)
    return without_accents(text) if rng.random() < 0.3 else text
