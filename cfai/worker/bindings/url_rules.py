"""Rules for URLs, as `_headers` and `_redirects` have them: `/blog/:year/*`, `https://:sub.example.com/*`.

How they are read follows `packages/workers-shared/utils/configuration` of workers-sdk, how they are matched its
`asset-worker/src/utils/rules-engine.ts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cfai.worker.web.urls import URL
from cfai.worker.web.values import JsTypeError

__all__ = ["ABSOLUTE", "MAX_LINE", "PLACEHOLDER", "Problem", "checked_url", "filled", "pattern_of", "subject_of"]

MAX_LINE = 2000
PLACEHOLDER = re.compile(r":([A-Za-z]\w*)", re.ASCII)
ABSOLUTE = re.compile(r"https://+(?P<host>[^/]+)/?(?P<path>.*)")


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that is left out."""

    message: str
    line: int | None = None
    text: str | None = None

    def __str__(self) -> str:
        return self.message if self.line is None else f"{self.line}: {self.message} | {self.text}"


def subject_of(rule: str, host: str, path: str) -> str:
    # A rule with a host holds for http too.
    return f"https://{host}{path}" if rule.startswith("https://") else path


def pattern_of(rule: str) -> re.Pattern[str] | None:
    host = re.match(r"https://[^/]*", rule)
    end = 0 if host is None else host.end()
    try:
        return re.compile(_part(rule[:end], "[^/.]+") + _part(rule[end:], "[^/]+"), re.DOTALL)
    except re.error:  # the same name twice
        return None


def _part(text: str, placeholder: str) -> str:
    tokens = re.split(r"(\*|:[A-Za-z]\w*)", text, flags=re.ASCII)
    named = (
        "(?P<splat>.*)" if token == "*" else f"(?P<{token[1:]}>{placeholder})" if at % 2 else re.escape(token)
        for at, token in enumerate(tokens)
    )
    return "".join(named)


def filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f":{name}", value)
    return text


def checked_url(
    text: str, *, relative_only: bool = False, forbids_ports: bool = False, keeps_rest: bool = False
) -> tuple[str, str | None]:
    """A path, or an https URL, as a URL has it once it is parsed; or what is wrong with it."""
    if (found := ABSOLUTE.match(text)) is not None:
        if relative_only:
            return "", f"Only relative URLs are allowed. Skipping absolute URL {text}."
        if forbids_ports and re.fullmatch(r".*:\d+", found["host"]):
            return "", f"Specifying ports is not supported. Skipping absolute URL {text}."
        return f"https://{found['host']}{_parsed(found['path'], keeps_rest)}", None
    if relative_only and not text.startswith("/"):
        text = f"/{text}"
    if not text.startswith("/"):
        return "", (
            "URLs should either be relative (e.g. begin with a forward-slash), "
            'or use HTTPS (e.g. begin with "https://").'
        )
    try:
        return _parsed(text, keeps_rest), None
    except JsTypeError:
        return "", f"Error parsing URL segment {text}. Skipping."


def _parsed(path: str, keeps_rest: bool) -> str:
    url = URL.new(f"https://host{path if path.startswith('/') else f'/{path}'}")
    return f"{url.pathname}{url.search}{url.hash}" if keeps_rest else url.pathname
