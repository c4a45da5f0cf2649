"""Reads the data files: tables with `|`, lists under a `[heading]`, and cards with one topic each."""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass
class Card:
    topic: str
    weight: float
    lines: dict[str, list[str]] = field(default_factory=dict)

    def all(self, mark: str) -> tuple[str, ...]:
        return tuple(self.lines.get(mark, ()))


def rows(table: str) -> list[list[str]]:
    lines = (DATA / f"{table}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("|") for line in lines if not line.startswith("#")]


@cache
def lists(name: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    heading = ""
    for line in content(name):
        if line.startswith("[") and line.endswith("]"):
            heading = line[1:-1]
        else:
            found.setdefault(heading, []).append(line)
    return {key: tuple(lines) for key, lines in found.items()}


def questions(kind: str) -> tuple[str, ...]:
    return lists("questions")[kind]


def unseen(kind: str) -> tuple[str, ...]:
    """The ways of asking that are kept for the examination."""
    return lists("questions")[f"{kind}, unseen"]


def cards(name: str) -> list[Card]:
    found: list[Card] = []
    for line in content(name):
        if heading := re.fullmatch(r"\[(.+)\] ([\d.]+)", line):
            found.append(Card(heading[1], float(heading[2])))
        else:
            mark, text = line.split(" ", 1)
            found[-1].lines.setdefault(mark, []).append(text.replace("\\n", "\n"))
    return found


def content(name: str) -> list[str]:
    lines = (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
