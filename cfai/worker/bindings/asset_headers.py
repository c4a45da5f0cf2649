"""`_headers`: the headers that are set and taken away for assets, by path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cfai.worker.bindings.url_rules import MAX_LINE, Problem, checked_url, filled, pattern_of, subject_of

__all__ = ["HeaderRule", "HeaderRules", "parse_headers"]

_MAX_RULES = 100


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """What a path of `_headers` sets, and takes away."""

    path: str
    sets: dict[str, str] = field(default_factory=dict)
    unsets: list[str] = field(default_factory=list)


class HeaderRules:
    """The rules of a `_headers` file."""

    def __init__(self, rules: list[HeaderRule]) -> None:
        # Of two rules for one path the last one counts.
        self._rules = [
            (pattern, rule)
            for rule in {rule.path: rule for rule in rules}.values()
            if (pattern := pattern_of(rule.path))
        ]

    def matching(self, host: str, path: str) -> Iterator[HeaderRule]:
        """The rules that hold for a URL, what its placeholders stand for put into the values."""
        for pattern, rule in self._rules:
            if (found := pattern.fullmatch(subject_of(rule.path, host, path))) is not None:
                sets = {name: filled(value, found.groupdict()) for name, value in rule.sets.items()}
                yield HeaderRule(rule.path, sets, rule.unsets)


def parse_headers(text: str) -> tuple[list[HeaderRule], list[Problem]]:
    """The rules of a `_headers` file, and what is wrong in it."""
    rules: list[HeaderRule] = []
    problems: list[Problem] = []
    rule: HeaderRule | None = None
    skips = False
    lines = text.split("\n")
    for number, line in enumerate((one.strip() for one in lines), 1):
        if not line or line.startswith("#"):
            continue
        if len(line) > MAX_LINE:
            problems.append(Problem(f"Ignoring line {number} as it exceeds the maximum allowed length of {MAX_LINE}."))
            continue
        if re.match(r"[^\s]+://|/", line):
            if len(rules) >= _MAX_RULES:
                rest = len(lines) - number + 1
                limit = f"Maximum number of rules supported is {_MAX_RULES}."
                problems.append(Problem(f"{limit} Skipping remaining {rest} lines of file."))
                break
            path, problem = checked_url(line, forbids_ports=True)
            problem = problem or _twice_splat(path)
            skips = bool(problem)
            if problem:
                problems.append(Problem(problem, number, line))
                continue
            rule = HeaderRule(path)
            rules.append(rule)
        elif not skips and (problem := _read_header(line, rule)) is not None:
            problems.append(Problem(problem, number, line))
    problems += [Problem("No headers specified") for one in rules if not one.sets and not one.unsets]
    return [one for one in rules if one.sets or one.unsets], problems


def _read_header(line: str, rule: HeaderRule | None) -> str | None:
    """Add a header to `rule`, or say what is wrong."""
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon:
        if rule is None:
            return "Expected a path beginning with at least one forward-slash"
        if not line.startswith("! "):
            return "Expected a colon-separated header pair (e.g. name: value)"
        rule.unsets.append(line.removeprefix("! "))
        return None
    name = name.lower()
    if " " in name:
        return "Header name cannot include spaces"
    if not name:
        return "No header name specified"
    if not value:
        return "No header value specified"
    if rule is None:
        return f"Path should come before header ({name}: {value})"
    rule.sets[name] = f"{rule.sets[name]}, {value}" if name in rule.sets else value
    return None


def _twice_splat(path: str) -> str | None:
    if path.count("*") > 1:
        hint = "Use a named placeholder (e.g. :project) instead"
        return f"Only one wildcard is allowed per rule. {hint}. Skipping {path}."
    if "*" in path and re.search(r":splat(?!\w)", path):
        why = "because wildcards are converted to :splat at runtime"
        return f"Cannot combine a wildcard * with a :splat placeholder {why}. Skipping {path}."
    return None
