"""What a tape must not show, taken out before anything is written, and out of a call before it is compared.

A rule is a function of a text and of its place in the call or the reply: `("inputs", "messages", 0, "content")`. It
gives the text to write instead, the same one to leave it, or None for a salted hash of it, `<hashed 5f3a...>`. A call
that is to be answered goes through the same rules, so that a tape matches prompts that it does not show.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cfai.binding import Call
from cfai.bindings.tape.entries import Chunk, Entry, Failure
from cfai.bindings.tape.hashes import hashed
from cfai.bindings.tape.masking import Find, Found, without_found
from cfai.bindings.tape.normal import options
from cfai.results import plain

__all__ = ["DEFAULT_RULES", "Field", "Pattern", "Place", "Prompts", "Redaction", "Rule", "redacted", "redacted_call"]

Place = tuple[str | int, ...]
"""Where a text stands: `inputs`, `options`, `headers`, `body`, `chunks` or `error` first."""

Rule = Callable[[str, Place], str | None]

REDACTED = "<redacted>"


@dataclass(frozen=True, slots=True)
class Field:
    """Take out whatever the fields and headers of these names hold.

    ```python
    rules = [*DEFAULT_RULES, Field("customer_id")]
    ```
    """

    names: frozenset[str]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", frozenset(map(_plain_name, names)))

    def __call__(self, text: str, place: Place) -> str:
        return REDACTED if self.names_one_of(place) else _without(text, self.find(text))

    def names_one_of(self, place: Place) -> bool:
        """Whether what stands at `place` is in such a field; a schema has names of fields and not what they hold."""
        steps = itertools.pairwise(place)
        return any(
            isinstance(step, str) and before != "properties" and _plain_name(step) in self.names
            for before, step in steps
        )

    def find(self, text: str) -> Iterator[Found]:
        """Where such fields stand in `text` that is, or has in it, JSON."""
        for match in _JSON_FIELD.finditer(text):
            if _plain_name(match[1]) in self.names:
                is_number = match[2] is None
                yield Found(*match.span(3 if is_number else 2), f'"{REDACTED}"' if is_number else REDACTED)


_JSON_FIELD = re.compile(r'"([\w -]+)"\s*:\s*(?:"((?:[^"\\\n]|\\.)*)"|(-?[0-9][0-9.eE+-]*))')


def _without(text: str, found: Iterable[Found]) -> str:
    for one in reversed(list(found)):
        text = text[: one.start] + one.written + text[one.end :]
    return text


def _plain_name(name: str) -> str:
    """`X-Api-Key`, `x_api_key` and `xApiKey` are one name."""
    return re.sub(r"[-_\s]", "", name).lower()


@dataclass(frozen=True, slots=True)
class Pattern:
    """Take out what `regex` finds in any text; with a group in it, only what the first group matches.

    ```python
    rules = [*DEFAULT_RULES, Pattern(r"customer-[0-9]+")]
    ```
    """

    regex: re.Pattern[str]
    written: str

    def __init__(self, regex: str | re.Pattern[str], written: str = REDACTED) -> None:
        object.__setattr__(self, "regex", re.compile(regex))
        object.__setattr__(self, "written", written)

    def __call__(self, text: str, place: Place) -> str:
        return _without(text, self.find(text))

    def find(self, text: str) -> Iterator[Found]:
        """Where it stands in `text`."""
        for match in self.regex.finditer(text):
            group = 1 if self.regex.groups and match[1] is not None else 0
            if match[group]:
                yield Found(*match.span(group), self.written)


PROMPT_FIELDS = frozenset(
    {
        *("prompt", "negative_prompt", "initial_prompt", "content", "input", "instructions", "instruction", "system"),
        *("text", "input_text", "prefix", "suffix", "arguments", "question", "query", "queries", "documents"),
        *("source", "sentences"),
    }
)
"""Where texts of the user's stand, among the inputs of all tasks."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Write a salted hash in place of what is asked: prompts, messages, texts. The answers stay readable.

    ```python
    tape = TapeBinding("tape.json", inner, redact=[*DEFAULT_RULES, Prompts()])
    ```
    """

    fields: frozenset[str] = PROMPT_FIELDS

    def __call__(self, text: str, place: Place) -> str | None:
        is_prompt = place[0] == "inputs" and not self.fields.isdisjoint(place)
        return text if not is_prompt or place[-1] in _WORDS or not _SCHEMAS.isdisjoint(place) else None


_WORDS = ("role", "type", "name", "id", "call_id", "tool_call_id", "status")
"""Where a word of the protocol stands, which the check of the inputs reads."""

_SCHEMAS = frozenset({"tools", "functions", "response_format", "guided_json", "format"})
"""Where there are schemas, whose properties may have any names."""


DEFAULT_RULES: tuple[Rule, ...] = (
    Field(
        *("authorization", "proxy-authorization", "cf-aig-authorization", "x-auth-key", "x-auth-email"),
        *("api-key", "x-api-key", "apikey", "access-token", "refresh-token", "id-token", "auth-token", "api-token"),
        *("cf-access-client-secret", "client-secret", "secret", "password", "cookie", "set-cookie"),
    ),
    Pattern(r"(?i)\bbearer\s+((?=\S*\d)[\w.~+/=-]{4,}|[\w.~+/=-]{20,})"),
    Pattern(r"\bcf[ua]t_[\w-]{16,}"),
    # The keys of OpenAI, Anthropic, Hugging Face, GitHub, AWS and Google, as each of them documents its own.
    Pattern(r"\b(?:sk|rk|pk)-(?=[\w-]*\d)[\w-]{8,}"),
    Pattern(r"\b(?:hf_|gh[opsur]_|github_pat_)[A-Za-z0-9_]{20,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{35}"),
    Pattern(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"),  # a JSON Web Token
    Pattern(r"/accounts/([0-9a-fA-F]{32})\b"),
    Pattern(r"(?i)\baccount[_ -]?id['\"]?\s*[:=]\s*['\"]?([0-9a-f]{32})\b"),
    # Whom a URL names with a password, and what it has for one among its parameters.
    Pattern(r"://[^\s/?#:@\"']*:([^\s/?#@\"']+)@"),
    Pattern(
        r"(?i)[?&](?:[\w-]*(?:token|secret|password|signature)|(?:[\w-]*api[_-]?)?key|auth)=((?!<redacted>)[^\s&#\"'\\]+)"
    ),
    Pattern(r"\bgateway\.ai\.cloudflare\.com/v1/([0-9a-fA-F]{32})\b"),
)
"""Authorization, keys, passwords and cookies by their names, and keys, tokens and account ids by their looks."""


class Redaction:
    """Rules, applied in their order."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._fields = [rule for rule in self._rules if isinstance(rule, Field)]
        for rule in self._rules:
            if not callable(rule):
                raise TypeError(f"a rule of redaction is a function of a text and its place, not {rule!r}")

    @property
    def patterns(self) -> list[Find]:
        """Those that are found also where the chunks of a stream cut them."""
        return [rule.find for rule in self._rules if isinstance(rule, Pattern | Field)]

    def of(self, value: Any, place: Place, salt: str) -> Any:
        """`value` with what the rules take out of each text in it, wherever that is."""
        if isinstance(value, str):
            return self.text(value, place, salt)
        if isinstance(value, Mapping):
            return {name: self.of(item, (*place, name), salt) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, (*place, at), salt) for at, item in enumerate(value)]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and isinstance(place[-1], str) and any(field.names_one_of(place) for field in self._fields):
            return REDACTED
        return value

    def text(self, text: str, place: Place, salt: str) -> str:
        for rule in self._rules:
            changed = rule(text, place)
            if changed is None:
                return hashed(text, salt)
            text = changed
        return text


def redacted_call(call: Call, rules: Redaction, salt: str) -> Call:
    """The call as a tape has it: what changes the answer and nothing else. Its headers are not kept."""
    inputs = plain(call.inputs)
    if isinstance(inputs, Mapping):
        inputs = {name: inputs[name] for name in sorted(inputs, key=str) if inputs[name] is not None}
    kept = rules.of(options(call), ("options",), salt)
    return Call(call.model, rules.of(inputs, ("inputs",), salt), kept, form=call.form)


_VOLATILE = frozenset(
    {"cf-ai-req-id", "cf-ray", "date", "age", "expires", "x-request-id", "content-length", "cfai-stream-id"}
)
"""Headers that are others every time and that a replay makes itself, or does without."""


_BINARY = ("audio/", "image/", "video/", "application/octet-stream")
"""Content types of streams in which nothing is looked for."""


def redacted(entry: Entry, rules: Redaction, salt: str) -> Entry:
    """The entry as it is written."""
    headers = {name: value for name, value in entry.headers.items() if name not in _VOLATILE}
    is_text = not entry.headers.get("content-type", "").lower().startswith(_BINARY)
    return replace(
        entry,
        call=redacted_call(entry.call, rules, salt),
        headers=rules.of(headers, ("headers",), salt),
        body=rules.of(entry.body, ("body",), salt),
        chunks=_chunks(entry.chunks, rules, salt) if is_text else entry.chunks,
        end=entry.end and replace(entry.end, failure=_failure(entry.end.failure, rules, salt)),
        broken=_failure(entry.broken, rules, salt),
    )


def _chunks(chunks: Sequence[Chunk], rules: Redaction, salt: str) -> list[Chunk]:
    found = without_found([chunk.data for chunk in chunks], rules.patterns)
    texts = [data.decode("utf-8", "surrogateescape") for data in found]
    written = [rules.text(text, ("chunks", at), salt) for at, text in enumerate(texts)]
    return [
        replace(chunk, data=text.encode("utf-8", "surrogateescape"))
        for chunk, text in zip(chunks, written, strict=True)
    ]


def _failure(failure: Failure | None, rules: Redaction, salt: str) -> Failure | None:
    return failure and replace(failure, body=rules.of(dict(failure.body), ("error",), salt))
