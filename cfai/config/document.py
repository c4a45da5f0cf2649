"""A config file, JSON with comments or TOML: its values, and the line on which each stands."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cfai.config import jsonc, toml_lines
from cfai.config.problems import ConfigError, Remark, shown

__all__ = ["Document", "Table", "read_document", "read_text"]

Place = tuple[str | int, ...]
"""Where a value is: the keys and indexes that lead to it."""


def read_document(file: Path) -> dict[str, Any]:
    """All that stands in a config file, JSON with comments or TOML, unchecked."""
    return Document(file, read_text(file)).top.values


def read_text(file: Path) -> str:
    """The text of a file; whatever keeps it from being read is a `ConfigError`."""
    try:
        return file.read_text("utf-8-sig")
    except IsADirectoryError:
        raise ConfigError("this is a folder, and a file was expected", file=file) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot be read: it is not UTF-8 (byte {error.start})", file=file) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file) from error


class Document:
    """The values of one file. `remarks` collects what is odd about it and stops nothing."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.remarks: list[Remark] = []
        try:
            values, self._lines = self._toml(text) if file.suffix == ".toml" else self._jsonc(text)
        except RecursionError:
            raise ConfigError("its objects and lists are nested too deeply", file=file) from None
        if not isinstance(values, dict):
            raise ConfigError(f"expected an object at the top, not {shown(values)}", file=file, line=1)
        self.top = Table(self, values, ())

    def _toml(self, text: str) -> tuple[Any, Mapping[Place, int]]:
        try:
            return tomllib.loads(text), toml_lines.lines_of(text)
        except tomllib.TOMLDecodeError as error:
            problem, line = toml_lines.told(error)
            last = len(text.splitlines())
            raise ConfigError(f"not TOML: {problem}", file=self.file, line=line or last) from None
        except ValueError as error:  # a number of thousands of digits
            raise ConfigError(f"not TOML: {error}", file=self.file) from None

    def _jsonc(self, text: str) -> tuple[Any, Mapping[Place, int]]:
        if not text.strip():
            raise ConfigError('the file is empty; expected an object such as {"main": "src/entry.py"}', file=self.file)
        plain = jsonc.strip_comments(text)
        try:
            values = json.loads(plain, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            raise ConfigError(f"not JSON: {error.msg}", file=self.file, line=error.lineno) from None
        except ValueError as error:
            raise ConfigError(f"not JSON: {error}", file=self.file) from None
        lines, again = jsonc.lines_of(plain)
        for place, line in again:
            self.remark(f'"{_dotted(place)}" stands in line {lines[place]} too; the last of the two counts', line)
            lines[place] = line
        return values, lines

    def line_of(self, place: Place) -> int | None:
        """The line of the value at `place`, or of what holds it."""
        while place:
            if (line := self._lines.get(place)) is not None:
                return line
            place = place[:-1]
        return None

    def remark(self, problem: str, line: int | None) -> None:
        self.remarks.append(Remark(problem, self.file, line))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a value of JSON")


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


class Table:
    """One object of a document, whose values are checked as they are taken."""

    def __init__(self, document: Document, values: dict[str, Any], place: Place) -> None:
        self.document = document
        self.values = values
        self.place = place

    def __contains__(self, key: str) -> bool:
        # null means absent, as in wrangler.
        return self.values.get(key) is not None

    @property
    def name(self) -> str:
        """Its own name from the top of the file on; empty for the top."""
        return _dotted(self.place)

    def path(self, key: str) -> str:
        """The name of a key from the top of the file on, such as `env.staging.vars`."""
        return _dotted((*self.place, key))

    def line(self, key: str | None = None) -> int | None:
        return self.document.line_of(self.place if key is None else (*self.place, key))

    def text(self, key: str, expected: str) -> str | None:
        """A string, or None. `expected` says what it is for, in the error."""
        found: str | None = self._get(key, str, f"a string, {expected}")
        return found

    def table(self, key: str, expected: str) -> Table | None:
        found = self._get(key, dict, expected)
        return None if found is None else Table(self.document, found, (*self.place, key))

    def tables(self, key: str, expected: str) -> list[Table]:
        """A list of objects; empty where there is none."""
        found: list[Any] = self._get(key, list, expected) or []
        for index, one in enumerate(found):
            if not isinstance(one, dict):
                line = self.document.line_of((*self.place, key, index))
                raise ConfigError(
                    f'"{self.path(key)}" should be {expected}; its item {index + 1} is {shown(one)}',
                    file=self.document.file,
                    line=line,
                )
        return [Table(self.document, one, (*self.place, key, index)) for index, one in enumerate(found)]

    def texts(self, key: str, expected: str = "a list of strings") -> tuple[str, ...]:
        """A list of strings; empty where there is none."""
        found: list[Any] = self._get(key, list, expected) or []
        if wrong := [one for one in found if not isinstance(one, str)]:
            raise self.error(key, f'"{self.path(key)}" should be a list of strings, not of {shown(wrong[0])}')
        return tuple(found)

    def choice(self, key: str, default: str, among: Collection[str]) -> str:
        found = self.values.get(key, default)
        if found not in among:
            names = ", ".join(f'"{one}"' for one in among)
            raise self.error(key, f'"{self.path(key)}" should be one of {names}, not {shown(found)}')
        return str(found)

    def required(self, key: str, expected: str) -> str:
        """A string that is not empty and must be there."""
        found = self.text(key, expected)
        if not found:
            state = "is missing" if found is None else "is empty"
            raise self.error(key, f'"{self.path(key)}" {state}; expected a string, {expected}')
        return found

    def error(self, key: str | None, problem: str) -> ConfigError:
        return ConfigError(problem, file=self.document.file, line=self.line(key))

    def remark(self, key: str | None, problem: str) -> None:
        self.document.remark(problem, self.line(key))

    def remark_unknown(self, known: Collection[str]) -> None:
        """A line for each key that is not among `known`, with the one that was likely meant."""
        for key, problem in self._unknown(known):
            self.remark(key, problem)

    def refuse_unknown(self, known: Collection[str], *, advice: Mapping[str, str] | None = None) -> None:
        """The same as an error, which has a line for each; `advice` says what to write for a key that is likely."""
        problems = [
            Remark(f"{problem}; {(advice or {})[key]}" if key in (advice or {}) else problem, self.document.file, line)
            for key, problem in self._unknown(known)
            for line in [self.line(key)]
        ]
        if problems:
            first, *others = problems
            raise ConfigError(first.problem, file=first.file, line=first.line, remarks=others)

    def _unknown(self, known: Collection[str]) -> Iterator[tuple[str, str]]:
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.74)
                within = f' in "{self.name}"' if self.place else ""
                meant = f', did you mean "{near[0]}"?' if near else ""
                yield key, f'unknown key "{key}"{within}{meant}'

    def _get(self, key: str, kind: type, expected: str) -> Any:
        found = self.values.get(key)
        if found is None or isinstance(found, kind):
            return found
        raise self.error(key, f'"{self.path(key)}" should be {expected}, not {shown(found)}')
