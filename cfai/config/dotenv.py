"""`.dev.vars` and `.env` files, in dotenv's syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Dotenv", "expand", "parse_dotenv"]


@dataclass(frozen=True, slots=True)
class Dotenv:
    """What a dotenv text says, and the lines that say nothing: dotenv, too, passes over those."""

    values: Mapping[str, str]
    wrong_lines: tuple[int, ...] = ()


_ASSIGNMENT = re.compile(
    r"""[^\S\n]*(?:export[^\S\n]+)?
        (?P<name>[\w.-]+)(?:[^\S\n]*=|:(?=[^\S\n]))[^\S\n]*
        (?: (?: "(?P<double>(?:\\"|[^"])*)" | '(?P<single>(?:\\'|[^'])*)' | `(?P<tick>(?:\\`|[^`])*)` )
            (?=[^\S\n]*(?:\#|\n|\Z))
          | (?P<bare>[^#\n]*) )
        [^\S\n]*(?:\#[^\n]*)?(?:\n|\Z)""",
    re.VERBOSE,
)
_EMPTY_LINE = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
_ANY_LINE = re.compile(r"[^\n]*(?:\n|\Z)")


def parse_dotenv(text: str) -> Dotenv:
    r"""The names and values of a dotenv text.

    ```python
    parse_dotenv("KEY='a b'  # a comment\nexport URL=http://x\n").values  # {"KEY": "a b", "URL": "http://x"}
    ```
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    values: dict[str, str] = {}
    wrong: list[int] = []
    at = 0
    line = 1
    while at < len(text):
        found = _EMPTY_LINE.match(text, at)
        if found is None and (found := _ASSIGNMENT.match(text, at)) is not None:
            values[found["name"]] = _value(found)
        if found is None:
            wrong.append(line)
            found = _ANY_LINE.match(text, at)
            assert found is not None  # it matches any text
        line += text.count("\n", at, found.end())
        at = found.end()
    return Dotenv(values, tuple(wrong))


def _value(found: re.Match[str]) -> str:
    if (double := found["double"]) is not None:
        # As dotenv does it: inside double quotes \n and \r are line ends, any other backslash stays.
        return double.replace("\\n", "\n").replace("\\r", "\r")
    for quoted in ("single", "tick"):
        if found[quoted] is not None:
            return found[quoted]
    return found["bare"].strip()


_REFERENCE = re.compile(r"(?<!\\)\$(?:\{(?P<braced>[^{}]+)\}|(?P<bare>[A-Za-z_]\w*))", re.ASCII)
_OPERATOR = re.compile(r":\+|\+|:-|-")


def expand(values: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    r"""The values with `$NAME`, `${NAME}`, `${NAME:-otherwise}` and `${NAME:+instead}` put in, as dotenv-expand does.

    A name of `given` wins over the same one in `values`; `\$` is a dollar sign.

    ```python
    expand({"HOST": "x.dev", "URL": "https://$HOST/"}, {})  # {"HOST": "x.dev", "URL": "https://x.dev/"}
    ```
    """
    done: dict[str, str] = {}
    for name, value in values.items():
        whole = given[name] if given.get(name) else _expanded(value, {**done, **given})
        done[name] = whole.replace("\\$", "$")
    return done


_PASSES = 8
"""A reference may stand for another one, though not for itself without end."""


def _expanded(value: str, known: Mapping[str, str]) -> str:
    def put_in(found: re.Match[str]) -> str:
        expression = found["braced"] or found["bare"]
        operator = _OPERATOR.search(expression)
        if operator is None:
            return known.get(expression, "")
        there, otherwise = known.get(expression[: operator.start()], ""), expression[operator.end() :]
        if operator[0].endswith("+"):
            return otherwise if there else ""
        return there or otherwise

    for _ in range(_PASSES):
        before, value = value, _REFERENCE.sub(put_in, value)
        if value == before:
            break
    return value
