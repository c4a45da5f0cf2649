"""JSON with comments and trailing commas: as plain JSON, and the lines of its values."""

from __future__ import annotations

import json
import re

__all__ = ["lines_of", "strip_comments"]

Place = tuple[str | int, ...]

_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|/\*.*\Z', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])', re.DOTALL)


def strip_comments(text: str) -> str:
    """JSON with comments and trailing commas as plain JSON. Every character stays on its line and column."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])

    return _TRAILING_COMMA.sub(lambda found: found[1] or " ", _COMMENT.sub(blank, text))


_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],]|\n')


def lines_of(text: str) -> tuple[dict[Place, int], list[tuple[Place, int]]]:
    """The line of every key and list item in a valid JSON text, and those of keys that their object has already."""
    lines: dict[Place, int] = {}
    again: list[tuple[Place, int]] = []
    line = 1
    at: list[str | int] = []
    # One frame per open object or list: whether it is a list, and whether its next string is a key.
    frames: list[list[bool]] = []
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token == "\n":
            line += 1
        elif token in "{[":
            frames.append([token == "[", token == "{"])
            at.append(0 if token == "[" else "")
            if token == "[":
                lines[tuple(at)] = line + _line_ends(text, found.end())
        elif token in "}]":
            frames.pop()
            at.pop()
        elif token == ",":
            frame = frames[-1]
            if frame[0]:
                at[-1] = int(at[-1]) + 1
                lines[tuple(at)] = line + _line_ends(text, found.end())
            frame[1] = not frame[0]
        elif frames and frames[-1][1]:
            at[-1] = json.loads(token)
            frames[-1][1] = False
            place = tuple(at)
            if place in lines:
                again.append((place, line))
            else:
                lines[place] = line
    return lines, again


def _line_ends(text: str, start: int) -> int:
    """How many line ends stand between `start` and the next value."""
    value = re.compile(r"\s*").match(text, start)
    return value[0].count("\n") if value else 0
