"""The lines of a TOML text's tables and keys, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib

__all__ = ["lines_of", "told"]

Place = tuple[str | int, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)\s*({_NAME})\s*\]")
_KEY = re.compile(rf"[ \t]*({_NAME})[ \t]*=")
_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"""'
    r"|'''.*?'''"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|[\[{]|[\]}]|\n",
    re.DOTALL,
)


def told(error: tomllib.TOMLDecodeError) -> tuple[str, int | None]:
    """What a TOML error says, and the line."""
    at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
    return (str(error)[: at.start()], int(at[1]) if at[1] else None) if at else (str(error), None)


def lines_of(text: str) -> dict[Place, int]:
    """The line of each table and key in a valid TOML text; of what stands inside a value, that of the value."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    at = 0
    line = 1
    while at < len(text):
        if header := _HEADER.match(text, at):
            table = _latest(_parts(header[2]), counts)
            if header[1] == "[[":
                index = counts.get(table, -1) + 1
                counts[table] = index
                lines.setdefault(table, line)
                table = (*table, index)
            lines[table] = line
            _set_above(lines, table, line)
        elif key := _KEY.match(text, at):
            place = (*table, *_parts(key[1]))
            lines[place] = line
            _set_above(lines, place, line)
        end = _end_of_statement(text, at)
        line += text.count("\n", at, end)
        at = end
    return lines


def _set_above(lines: dict[Place, int], place: Place, line: int) -> None:
    # [a.b] makes an `a`, too.
    for length in range(1, len(place)):
        lines.setdefault(place[:length], line)


def _parts(name: str) -> list[str]:
    return [str(next(iter(tomllib.loads(f"{part}=0")))) for part in re.findall(_PART, name)]


def _latest(parts: list[str], counts: dict[Place, int]) -> Place:
    """The place that a header means: inside a list of tables, its last one."""
    place: Place = ()
    for number, part in enumerate(parts, 1):
        place = (*place, part)
        if number < len(parts) and place in counts:
            place = (*place, counts[place])
    return place


def _end_of_statement(text: str, start: int) -> int:
    header = _HEADER.match(text, start)
    depth = 0
    for piece in _PIECE.finditer(text, header.end() if header else start):
        if piece[0] == "\n" and depth <= 0:
            return piece.end()
        depth += (piece[0] in "[{") - (piece[0] in "]}")
    return len(text)
