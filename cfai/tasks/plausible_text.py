"""A text that fits a regular expression, made up."""

from __future__ import annotations

import re
import string
from random import Random
from re import _constants as codes  # type: ignore[attr-defined]  # the parser that `re` itself uses
from re import _parser as parser  # type: ignore[attr-defined]  # as above
from typing import Any

__all__ = ["text_of_pattern"]

MOST_MORE = 4
"""How often, beyond the least, what may be repeated without end is."""

_CLASSES = {
    codes.CATEGORY_DIGIT: string.digits,
    codes.CATEGORY_WORD: string.ascii_lowercase + string.digits,
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_DIGIT: string.ascii_lowercase,
    codes.CATEGORY_NOT_WORD: "-",
    codes.CATEGORY_NOT_SPACE: string.ascii_lowercase,
}
_PRINTABLE = string.ascii_lowercase + string.digits + string.ascii_uppercase + string.punctuation + " "


def text_of_pattern(pattern: str, rng: Random) -> str | None:
    """A text in which `pattern` is found, the shorter its repetitions the likelier; None where none was.

    ```python
    text_of_pattern("^[A-Z]{2}-[0-9]+$", Random(0))  # 'YW-6486'
    ```
    """
    try:
        made = _text(parser.parse(pattern), rng, {})
        return made if re.search(pattern, made) else None
    except (re.error, _Unknown, IndexError):
        return None


class _Unknown(Exception):
    """What has no text of its own: looking around."""


def _text(parsed: Any, rng: Random, groups: dict[int, str]) -> str:
    return "".join(_piece(code, argument, rng, groups) for code, argument in parsed)


def _piece(code: Any, argument: Any, rng: Random, groups: dict[int, str]) -> str:
    match code:
        case codes.LITERAL:
            return chr(argument)
        case codes.NOT_LITERAL:
            return rng.choice([letter for letter in _PRINTABLE if ord(letter) != argument])
        case codes.ANY:
            return rng.choice(string.ascii_lowercase)
        case codes.IN:
            return rng.choice(_letters(argument))
        case codes.BRANCH:
            return _text(rng.choice(argument[1]), rng, groups)
        case codes.SUBPATTERN:
            groups[argument[0]] = made = _text(argument[3], rng, groups)
            return made
        case codes.MAX_REPEAT | codes.MIN_REPEAT | codes.POSSESSIVE_REPEAT:
            least, most, repeated = argument
            count = rng.randint(least, min(most, least + MOST_MORE))
            return "".join(_text(repeated, rng, groups) for _ in range(count))
        case codes.GROUPREF:
            return groups.get(argument, "")
        case codes.AT:
            return ""
    raise _Unknown(code)


def _letters(choices: Any) -> str:
    """The letters of a class in brackets."""
    found = ""
    for code, argument in choices:
        match code:
            case codes.LITERAL:
                found += chr(argument)
            case codes.RANGE:
                low, high = argument
                found += "".join(map(chr, range(low, min(high, low + 200) + 1)))
            case codes.CATEGORY:
                found += _CLASSES[argument]
    if choices and choices[0][0] is codes.NEGATE:
        found = "".join(letter for letter in _PRINTABLE if letter not in found)
    return found
