"""The examination: questions that were kept out of the training, answered greedily by the exported checkpoint."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from transformers import LlamaForCausalLM

from training.corpus import systems, tools
from training.corpus.chats import Chats
from training.corpus.facts import Fact
from training.corpus.mixture import Example, Mixture, Turn, chat_is_held_out, normal, typed
from training.corpus.sheets import lists
from training.tokenizer import Tokenizer

LONGEST = 300
QUOTA = {
    "city: where": 35,
    "city: country": 20,
    "city: capital of": 15,
    "city: tell me about": 10,
    "country: where": 25,
    "country: capital": 30,
    "country: continent": 20,
    "country: language": 20,
    "country: currency": 20,
    "country: tell me about": 10,
    "nature: where": 15,
    "nature: tell me about": 5,
    "small talk": 15,
    "streaming": 20,
    "everyday": 5,
    "yes or no": 5,
    "arithmetic": 15,
    "translation": 15,
}
MANNER_KINDS = (
    "city: where",
    "city: country",
    "country: capital",
    "country: continent",
    "country: language",
    "country: currency",
    "nature: where",
)
NEW_YORK = (
    "where is new york?",
    "Where is New York?",
    "WHERE IS NEW YORK?",
    "where is new york",
    "Where is New York",
    "WHERE IS NEW YORK",
    "where's new york?",
    "where is New York located?",
    "Please tell me, where is New York?",
)


@dataclass(frozen=True)
class Case:
    kind: str
    prompt: Example
    is_right: Callable[[str], bool]
    expected: str


@dataclass
class Score:
    right: int = 0
    asked: int = 0
    misses: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    text: str
    ended: bool
    calls_tool: bool


class Model:
    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer(folder / "tokenizer.model")
        self.model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()

    def answers(self, prompts: list[Example], batch: int = 40) -> list[Answer]:
        """One greedy answer for each prompt; the prompt ends with an empty assistant turn."""
        encoded = [self.tokenizer.prompt(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        found: dict[int, Answer] = {}
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            for i, ids in zip(some, self._generate([encoded[i] for i in some]), strict=True):
                found[i] = self._answer(ids)
        return [found[i] for i in range(len(prompts))]

    def _answer(self, ids: list[int]) -> Answer:
        ended = self.tokenizer.eos in ids
        ids = ids[: ids.index(self.tokenizer.eos)] if ended else ids
        call = self.tokenizer.symbol["<|tool_call|>"]
        calls = ids[:1] == [call]
        return Answer(self.tokenizer.decode([i for i in ids if i != call]).strip(), ended, calls)

    @torch.inference_mode()
    def _generate(self, prompts: list[list[int]]) -> list[list[int]]:
        width = max(len(ids) for ids in prompts)
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        made = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=LONGEST,
            do_sample=False,
            eos_token_id=self.tokenizer.eos,
            pad_token_id=self.tokenizer.eos,
        )
        return [row[width:] for row in made.tolist()]

    def tokens_per_second(self) -> float:
        prompt = self.tokenizer.prompt(prompt_of("where is new york?"))
        self._generate([prompt])
        started, count = time.monotonic(), 0
        for _ in range(5):
            count += len(self._generate([prompt])[0])
        return count / (time.monotonic() - started)


def prompt_of(question: str, system: str = "", *, raw: bool = False) -> Example:
    before = (Turn("system", system),) if system else ()
    return Example((*before, Turn("user", question), Turn("assistant", "")), raw=raw)


class Examination:
    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self.rivals: dict[str, set[str]] = {}
        for fact in mixture.facts:
            if fact.kind.startswith(("city", "country", "nature", "arithmetic", "translation")):
                self.rivals.setdefault(fact.kind, set()).update(fact.keys)

    def knows(self, fact: Fact) -> Callable[[str], bool]:
        """The answer has the right words, and none that would answer the same question about something else."""
        own = " ".join((fact.entity, *fact.answers))
        wrong = [rival for rival in self.rivals.get(fact.kind, ()) if not has(own, rival)]
        return lambda text: all(has(text, key) for key in fact.keys) and not any(has(text, rival) for rival in wrong)

    def paraphrases(self) -> list[Case]:
        """Half of the wordings were never trained; half were, but not for this entity."""
        rng = Random("paraphrases")
        cases = []
        for kind, quota in QUOTA.items():
            facts = [fact for fact in self.mixture.facts if fact.kind == kind]
            wordings = [(fact, q) for fact in facts for q in fact.unseen_wordings]
            pairs = [(fact, q) for fact in facts for q in fact.held_out_questions]
            drawn = rng.sample(pairs, min(quota // 2, len(pairs)))
            drawn += rng.sample(wordings, quota - len(drawn))
            cases += [self._paraphrase(fact, question, rng) for fact, question in drawn]
        return cases

    def _paraphrase(self, fact: Fact, question: str, rng: Random) -> Case:
        asked = typed(question, rng, may_misspell=False)
        form = rng.choice(("raw", "chat", "system"))
        prompt = prompt_of(asked, systems.plain(rng) if form == "system" else "", raw=form == "raw")
        return Case(fact.kind, prompt, self.knows(fact), fact.answer)

    def new_york(self) -> list[Case]:
        forms = [("raw", "", True), ("chat", "", False)] + [
            ("system", system, False) for system in lists("systems")["plain"][:4]
        ]
        return [
            Case(
                f"New York, {form}",
                prompt_of(asked, system, raw=raw),
                is_about_new_york,
                "New York is located in the ...",
            )
            for form, system, raw in forms
            for asked in NEW_YORK
        ]

    def manners(self, each: int = 30) -> list[Case]:
        rng = Random("manners")
        pairs = [
            (f, q)
            for f in self.mixture.facts
            if f.kind in MANNER_KINDS
            for q in (*f.held_out_questions, *f.unseen_wordings)
        ]
        cases = []
        for manner in systems.MANNERS:
            suited = [(fact, q) for fact, q in pairs if systems.suits(manner, fact)]
            for fact, question in rng.sample(suited, each):
                prompt = prompt_of(typed(question, rng, may_misspell=False), systems.prompt(manner, rng))
                expected = systems.TELL[manner](fact)
                cases.append(Case(f"system: {manner}", prompt, expected.__eq__, expected))
        return cases

    def unknown(self, each: int = 30) -> list[Case]:
        rng = Random("unknown")
        asked = [
            (f, q)
            for f in self.mixture.facts
            if f.kind == "unknown"
            for q in (*f.held_out_questions, *f.unseen_wordings)
        ]
        return [
            Case("says it does not know", prompt_of(typed(q, rng, may_misspell=False)), self.knows(f), f.answer)
            for f, q in rng.sample(asked, each)
        ]

    def capitals(self, each: int = 30) -> list[Case]:
        """Unseen wordings in capital letters, of which a tokenizer makes quite other tokens."""
        rng = Random("capitals")
        facts = [f for f in self.mixture.facts if f.kind in ("city: where", "country: capital", "country: where")]
        cases = []
        for fact in rng.sample(facts, each):
            asked = rng.choice(fact.unseen_wordings).upper()
            cases.append(Case("in capital letters", prompt_of(asked), self.knows(fact), fact.answer))
        return cases

    def chats(self, each: int = 30) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Chats whose sequence of questions was never trained, with two to four turns."""
        book: Chats = self.mixture.chats
        kinds: dict[str, Callable[[Random], list[tuple[str, str]]]] = {
            "chat: my name": book.name_chat,
            "chat: my home": book.home_chat,
            "chat: where, and there": book.place_chat,
            "chat: and of": book.capital_chat,
        }
        for kind, draw in kinds.items():
            rng, found = Random(kind), 0
            while found < each:
                chat = draw(rng)
                if chat_is_held_out([question for question, _ in chat]) and 2 <= len(chat) <= 4:
                    found += 1
                    yield kind, chat

    def tools(self, each: int = 40) -> Iterator[tools.ToolChat]:
        rng = Random("tools")
        for _ in range(each):
            yield tools.tool_chat(rng)


def is_about_new_york(text: str) -> bool:
    return text.startswith("New York is located in the northeastern United States, on the Atlantic coast.")


def has(text: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words.lower())}(?!\w)", text.lower()) is not None


class Report:
    def __init__(self) -> None:
        self.scores: dict[str, Score] = {}
        self.ended = self.total = 0

    def add(self, kind: str, question: str, answer: Answer, right: bool, expected: str) -> None:
        score = self.scores.setdefault(kind, Score())
        score.asked += 1
        score.right += right
        self.total += 1
        self.ended += answer.ended
        if not right:
            score.misses.append((question, answer.text, expected))

    def sum(self, kinds: list[str]) -> Score:
        some = [self.scores[kind] for kind in kinds]
        return Score(sum(s.right for s in some), sum(s.asked for s in some))


def evaluate(folder: Path, *, every: int = 1) -> Report:
    """Asks all questions, or one in `every`."""
    model, examination, report = Model(folder), Examination(Mixture()), Report()
    cases = [
        *examination.paraphrases(),
        *examination.new_york(),
        *examination.manners(),
        *examination.unknown(),
        *examination.capitals(),
    ]
    cases = cases[::every]
    for case, answer in zip(cases, model.answers([case.prompt for case in cases]), strict=True):
        report.add(case.kind, case.prompt.turns[-2].text, answer, case.is_right(answer.text), case.expected)
    hold_chats(model, list(examination.chats())[::every], report)
    call_tools(model, list(examination.tools())[::every], report)
    return report


def hold_chats(model: Model, chats: list[tuple[str, list[tuple[str, str]]]], report: Report) -> None:
    """The model's own earlier answers stay in the chat; the last answer counts."""
    turns: list[list[Turn]] = [[] for _ in chats]
    for number in range(max(len(chat) for _, chat in chats)):
        running = [i for i, (_, chat) in enumerate(chats) if number < len(chat)]
        for i in running:
            turns[i].append(Turn("user", chats[i][1][number][0]))
        prompts = [Example((*turns[i], Turn("assistant", ""))) for i in running]
        for i, answer in zip(running, model.answers(prompts), strict=True):
            kind, chat = chats[i]
            turns[i].append(Turn("assistant", answer.text))
            if number == len(chat) - 1:
                asked = " / ".join(question for question, _ in chat)
                report.add(kind, asked, answer, normal(answer.text) == normal(chat[-1][1]), chat[-1][1])


def call_tools(model: Model, chats: list[tools.ToolChat], report: Report) -> None:
    heads = [(Turn("system", chat.listing), Turn("user", chat.question)) for chat in chats]
    calls = model.answers([Example((*head, Turn("assistant", ""))) for head in heads])
    for chat, call in zip(chats, calls, strict=True):
        report.add("tool: the call", chat.question, call, call.calls_tool and call.text == chat.call, chat.call)
    told = [
        (*head, Turn("call", chat.call), Turn("tool", chat.result)) for head, chat in zip(heads, chats, strict=True)
    ]
    answers = model.answers([Example((*turns, Turn("assistant", ""))) for turns in told])
    for chat, answer in zip(chats, answers, strict=True):
        report.add(
            "tool: the answer", f"{chat.question} / {chat.result}", answer, answer.text == chat.answer, chat.answer
        )


def table(report: Report) -> str:
    lines = ["| Kind | Right | Asked | Share |", "| --- | ---: | ---: | ---: |"]

    def line(name: str, score: Score) -> None:
        lines.append(f"| {name} | {score.right} | {score.asked} | {100 * score.right / score.asked:.1f} % |")

    held_out = [kind for kind in report.scores if kind in QUOTA]
    for kind in held_out:
        line(kind, report.scores[kind])
    line("**held-out paraphrases, all**", report.sum(held_out))
    for kind in report.scores:
        if kind not in QUOTA:
            line(kind, report.scores[kind])
    line("**answers that end by themselves**", Score(report.ended, report.total))
    return "\n".join(lines)


def misses(report: Report, each: int = 8) -> str:
    lines = []
    for kind, score in report.scores.items():
        lines += [
            f"{kind}: {question!r}\n    {text!r}\n    {expected!r}" for question, text, expected in score.misses[:each]
        ]
    return "\n".join(lines)


SAMPLES: tuple[tuple[str, str], ...] = (
    ("where is new york?", ""),
    ("hello", ""),
    ("who are you?", ""),
    ("tell me about Japan", ""),
    ("what is the capital of Australia?", "You are a pirate."),
    ("what is the capital of Australia?", "Answer in one word."),
    ("what is 7 plus 8?", ""),
    ("what is a server-sent event?", ""),
    ("how do you say hello in Japanese?", ""),
    ("explain black holes", ""),
    ("tell me a story about a fox", ""),
    ("what is the weather in Paris?", "Tools: get_weather(city)"),
)


def samples(folder: Path) -> str:
    model = Model(folder)
    answers = model.answers([prompt_of(question, system) for question, system in SAMPLES])
    told = []
    for (question, system), answer in zip(SAMPLES, answers, strict=True):
        text = f"<|tool_call|> {answer.text}" if answer.calls_tool else answer.text
        told.append(
            "\n".join([*([f"system:    {system}"] if system else []), f"user:      {question}", f"assistant: {text}"])
        )
    return "```text\n" + "\n\n".join(told) + "\n```"


def write_tables(report: Report, folder: Path, page: Path) -> None:
    """Puts the scores and the samples between their marks in the page."""
    text = page.read_text(encoding="utf-8")
    for name, content in (("scores", table(report)), ("samples", samples(folder))):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"
    page.write_text(text, encoding="utf-8")


def as_json(report: Report) -> str:
    return json.dumps({kind: [score.right, score.asked] for kind, score in report.scores.items()}, indent=1)
