"""Other ways to write the same events, all of them allowed by https://html.spec.whatwg.org/#server-sent-events."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cfai import sse
from cfai.testing.fuzz.case import Level

__all__ = ["FRAMES", "Frame"]

Events = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Frame:
    about: str
    level: Level
    write: Callable[[Events], Events]


def _keep_alive(events: Events) -> Events:
    return [sse.KEEP_ALIVE, *(part for event in events for part in (event, sse.KEEP_ALIVE))][:-1]


def _escaped(events: Events) -> Events:
    return [_with_data(event, lambda data: json.dumps(json.loads(data), separators=(",", ":"))) for event in events]


def _spaced(events: Events) -> Events:
    return [_with_data(event, lambda data: json.dumps(json.loads(data), ensure_ascii=False)) for event in events]


def _slashes(events: Events) -> Events:
    return [_with_data(event, lambda data: data.replace("/", "\\/")) for event in events]


def _line_ends(end: bytes) -> Callable[[Events], Events]:
    return lambda events: [event.replace(b"\n", end) for event in events]


def _byte_order_mark(events: Events) -> Events:
    return [b"\xef\xbb\xbf" + events[0], *events[1:]]


def _no_space(events: Events) -> Events:
    return [re.sub(rb"^(data|event): ", rb"\1:", event, flags=re.MULTILINE) for event in events]


def _many_lines(events: Events) -> Events:
    def lines(data: str) -> str:
        return json.dumps(json.loads(data), ensure_ascii=False, indent=1).replace("\n", "\ndata: ")

    return [_with_data(event, lines) for event in events]


def _fields_before(events: Events) -> Events:
    named = [b"" if event.startswith(b"event:") else b"event: message\n" for event in events]
    return [
        b"id: %d\n%b%b" % (number, name, event) for number, (name, event) in enumerate(zip(named, events, strict=True))
    ]


def _fields_behind(events: Events) -> Events:
    return [event.removesuffix(b"\n") + b"id: %d\nretry: 3000\n\n" % number for number, event in enumerate(events)]


def _comment_lines(events: Events) -> Events:
    return [b": a comment\n" + event.removesuffix(b"\n") + b":\n\n" for event in events]


def _unknown_fields(events: Events) -> Events:
    return [b"database: no\nData: no\n" + event for event in events]


def _blank_lines(events: Events) -> Events:
    return [b"\n\n", *(event + b"\n\n" for event in events)]


def _two_dones(events: Events) -> Events:
    return [*events, sse.DONE]


def _no_blank_line(events: Events) -> Events:
    return [*events[:-1], events[-1].removesuffix(b"\n")]


def _no_line_end(events: Events) -> Events:
    return [*events[:-1], events[-1].removesuffix(b"\n\n")]


def _raw_separators(events: Events) -> Events:
    def raw(data: str) -> str:
        return re.sub(r"\\u(0085|2028|2029)", lambda found: chr(int(found[1], 16)), data)

    return [_with_data(event, raw) for event in events]


def _data_behind_done(events: Events) -> Events:
    return [*events, sse.encode({"response": "", "p": "abc"})]


def _with_data(event: bytes, change: Callable[[str], str]) -> bytes:
    """`event`, if it has JSON, with that written otherwise."""
    head, mark, rest = event.partition(b"data: ")
    data, end, more = rest.partition(b"\n\n")
    if not mark or data == b"[DONE]":
        return event
    return head + mark + change(data.decode()).encode() + end + more


FRAMES: Mapping[str, Frame] = {
    "keep-alive": Frame("comments between the events, which keep the connection alive", "workers-ai", _keep_alive),
    "escaped": Frame("JSON in which all but ASCII is escaped, emoji as two escapes", "workers-ai", _escaped),
    "spaced JSON": Frame("JSON with spaces behind its colons and commas", "standard", _spaced),
    "escaped slashes": Frame("JSON with its slashes escaped", "standard", _slashes),
    "CRLF": Frame("lines that end in a carriage return and a line feed", "standard", _line_ends(b"\r\n")),
    "CR": Frame("lines that end in a carriage return alone", "standard", _line_ends(b"\r")),
    "byte order mark": Frame("a byte order mark before the first event", "standard", _byte_order_mark),
    "no space": Frame("no space behind data:", "standard", _no_space),
    "many lines": Frame("events with several data: lines, to be joined by line feeds", "standard", _many_lines),
    "fields before": Frame("id: and event: lines before the data", "standard", _fields_before),
    "fields behind": Frame("id: and retry: lines behind the data", "standard", _fields_behind),
    "comment lines": Frame("comments within the events", "standard", _comment_lines),
    "unknown fields": Frame("fields that nobody knows, to be ignored", "standard", _unknown_fields),
    "blank lines": Frame("blank lines too many, which are no events", "standard", _blank_lines),
    "raw separators": Frame("U+0085, U+2028 and U+2029 as they are; they end no line", "standard", _raw_separators),
    "two [DONE]s": Frame("[DONE] twice", "standard", _two_dones),
    "data behind [DONE]": Frame("an event behind [DONE]", "standard", _data_behind_done),
    "no blank line": Frame("no blank line behind [DONE]", "standard", _no_blank_line),
    "no line end": Frame("no line end behind [DONE]", "standard", _no_line_end),
}
"""What is odd about each, and who sends it."""
