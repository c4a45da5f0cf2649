"""The events of a stream as they came: when, which bytes, and what each of them is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cfai import sse
from cfai.tasks.text_generation import ShapeName
from cfai.tasks.told import Told, form_of, loads, told_by

__all__ = ["Chunk", "Event", "EventKind", "cut_events"]

EventKind = Literal["piece", "thought", "call", "usage", "finish", "other", "error", "done", "comment", "junk"]
"""The most that an event tells. `other` is JSON that tells nothing of these, `junk` no JSON at all."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes as they came, and when, in seconds from the start."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    number: int
    at: float
    raw: bytes
    """Its bytes, the blank line included."""
    kind: EventKind
    name: str | None = None
    """What its `event:` line says."""
    data: str | None = None
    """What its `data:` lines say; None where it has none, as a comment."""
    value: Any = None
    """The JSON value of its data."""
    form: ShapeName | None = None
    told: Told = Told()  # noqa: RUF009  # it is frozen
    flaw: str = ""
    """Why it is no whole event."""

    @property
    def is_cut(self) -> bool:
        """Whether the stream ends within it."""
        return not self.raw.endswith((b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\r\n"))

    @property
    def text(self) -> str:
        return self.told.text


def cut_events(chunks: Iterable[Chunk]) -> Iterator[Event]:
    """The events of a stream, each at the time of the chunk that completed it."""
    splitter = sse.Splitter()
    number, at = 0, 0.0
    for chunk in chunks:
        at = chunk.at
        for raw in splitter.feed(chunk.data):
            number += 1
            yield _event(number, at, raw)
    if splitter.rest.strip(b"\r\n"):
        number += 1
        yield _event(number, at, splitter.rest, is_cut=True)
    elif splitter.rest:
        number += 1
        yield Event(number, at, splitter.rest, "junk", flaw="a line end that belongs to no event")


def _event(number: int, at: float, raw: bytes, *, is_cut: bool = False) -> Event:
    name, data, has_comment = _fields(raw)
    flaw = "the stream ends within it: there is no blank line behind it" if is_cut else ""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        flaw = f"byte {error.start} is half a character: {raw[error.start : error.end].hex(' ')} is not UTF-8"
    if data is None:
        if has_comment and not flaw:
            return Event(number, at, raw, "comment", name)
        return Event(number, at, raw, "junk", name, flaw=flaw or _no_data(name))
    if data == "[DONE]":
        return Event(number, at, raw, "done", name, data, flaw=flaw)
    try:
        value = loads(data)
    except ValueError as error:
        return Event(number, at, raw, "junk", name, data, flaw=flaw or f"its data is not JSON: {error}")
    if not isinstance(value, dict):
        return Event(
            number, at, raw, "junk", name, data, value, flaw=flaw or "its data is JSON, and no object as events have it"
        )
    told = told_by(value)
    return Event(number, at, raw, _kind(told), name, data, value, form_of(value), told, flaw)


def _no_data(name: str | None) -> str:
    return "it has no data" if name else "it is no event: no line of it begins with data:"


def _fields(raw: bytes) -> tuple[str | None, str | None, bool]:
    """What its `event:` line and its `data:` lines say, and whether it has a comment."""
    decoder = sse.Decoder()
    found = [*decoder.feed(raw), *decoder.feed(b"\n\n")]
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removeprefix(b"\xef\xbb\xbf").split(b"\n")
    names = [line[6:].removeprefix(b" ").decode("utf-8", "replace") for line in lines if line.startswith(b"event:")]
    return names[-1] if names else None, found[0] if found else None, any(line.startswith(b":") for line in lines)


def _kind(told: Told) -> EventKind:
    if told.error:
        return "error"
    if told.text:
        return "piece"
    if told.reasoning:
        return "thought"
    if told.calls:
        return "call"
    if told.finish:
        return "finish"
    return "usage" if told.usage else "other"
