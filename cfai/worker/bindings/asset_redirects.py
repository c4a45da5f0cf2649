"""`_redirects`: the paths that lead to other ones, before any file is looked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cfai.worker.bindings.url_rules import (
    ABSOLUTE,
    MAX_LINE,
    PLACEHOLDER,
    Problem,
    checked_url,
    filled,
    pattern_of,
    subject_of,
)

__all__ = ["RedirectRule", "RedirectRules", "parse_redirects"]

_MAX_STATIC = 2000
_MAX_DYNAMIC = 100
_STATUSES = (200, 301, 302, 303, 307, 308)
_LOOP = (
    "Infinite loop detected in this rule and has been ignored. This will cause a redirect to strip `.html` or `/index` "
    "and end up triggering this rule again. Please fix or remove this rule to silence this warning."
)
_INDEX = re.compile(r"/index(.html)?$")


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """A line of `_redirects`. Status 200 serves what is at `to`, without a redirect."""

    path: str
    to: str
    status: int
    line: int = 0

    @property
    def is_static(self) -> bool:
        return "*" not in self.path and not PLACEHOLDER.search(self.path)


class RedirectRules:
    """The rules of a `_redirects` file: those without placeholders first, then the others in their order."""

    def __init__(self, rules: list[RedirectRule]) -> None:
        first_dynamic = next((rule.line for rule in rules if not rule.is_static), None)
        self._static = {
            rule.path: rule for rule in rules if rule.is_static and (first_dynamic is None or rule.line < first_dynamic)
        }
        rest = [rule for rule in rules if rule.path not in self._static]
        self._dynamic = [(pattern, rule) for rule in rest if (pattern := pattern_of(rule.path))]

    def matching(self, host: str, path: str) -> RedirectRule | None:
        """The rule that holds for a URL, with its target complete."""
        found = [rule for key in (f"https://{host}{path}", path) if (rule := self._static.get(key))]
        if found:
            return min(found, key=lambda rule: rule.line)
        for pattern, rule in self._dynamic:
            if (match := pattern.fullmatch(subject_of(rule.path, host, path))) is not None:
                to = filled(rule.to, match.groupdict()).strip()
                if not re.match(r"\w+://", to):
                    to = re.sub("/+", "/", to)
                return RedirectRule(rule.path, to, rule.status, rule.line)
        return None


def parse_redirects(text: str, html_handling: str) -> tuple[list[RedirectRule], list[Problem]]:
    """The rules of a `_redirects` file, and what is wrong in it."""
    rules: dict[str, RedirectRule] = {}
    problems: list[Problem] = []
    counts = {True: 0, False: 0}
    lines = text.split("\n")
    for number, line in enumerate((one.strip() for one in lines), 1):
        if not line or line.startswith("#"):
            continue
        if len(line) > MAX_LINE:
            problems.append(Problem(f"Ignoring line {number} as it exceeds the maximum allowed length of {MAX_LINE}."))
            continue
        rule = _redirect(line, number, html_handling)
        if isinstance(rule, str):
            problems.append(Problem(rule, number, line))
            continue
        # Behind the first rule with a placeholder all rules count as such.
        static = rule.is_static and not counts[False]
        counts[static] += 1
        if static and counts[True] > _MAX_STATIC:
            problem = f"Maximum number of static rules supported is {_MAX_STATIC}. Skipping line."
            problems.append(Problem(problem))
        elif not static and counts[False] > _MAX_DYNAMIC:
            problem = f"Maximum number of dynamic rules supported is {_MAX_DYNAMIC}."
            problems.append(Problem(f"{problem} Skipping remaining {len(lines) - number + 1} lines of file."))
            break
        elif rule.path in rules:
            problems.append(Problem(f"Ignoring duplicate rule for path {rule.path}.", number, line))
        else:
            rules[rule.path] = rule
    return list(rules.values()), problems


def _redirect(line: str, number: int, html_handling: str) -> RedirectRule | str:
    """A line as a rule, or what is wrong with it."""
    tokens = re.sub(r"\s+#.*$", "", line).split()
    if len(tokens) not in (2, 3):
        return f"Expected exactly 2 or 3 whitespace-separated tokens. Got {len(tokens)}."
    path, problem = checked_url(tokens[0], relative_only=True)
    if problem:
        return problem
    to, problem = checked_url(tokens[1], keeps_rest=True)
    if problem:
        return problem
    given = tokens[2] if len(tokens) == 3 else "302"
    if not given.isascii() or not given.isdigit() or int(given) not in _STATUSES:
        return f"Valid status codes are 200, 301, 302 (default), 303, 307, or 308. Got {given}."
    has_host = ABSOLUTE.match(to) is not None
    loops = path.endswith("/*") or (path.endswith("/") and html_handling != "none")
    if loops and not has_host and _INDEX.search(to):
        return _LOOP
    if given == "200" and has_host:
        return f"Proxy (200) redirects can only point to relative paths. Got {to}"
    return RedirectRule(path, to, int(given), number)
