"""Faults in what a stream says and in how it is cut: pure functions of its events, one small class each.

A rewriter takes one event and gives those that come in its place; a cutter does the same with chunks, behind every
rewriter, and may hold some back. What they did they say to `happened`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cfai import sse
from cfai.bindings.faults.fault import Fault
from cfai.tasks.shapes.classic import NULL_CALL, NUMBER

__all__ = ["CUTTERS", "REWRITERS", "Cutter", "Happened", "Rewriter", "number_in_answer"]

Happened = Callable[[str], None]


class Rewriter(Protocol):
    def feed(self, event: bytes) -> list[bytes]:
        """What comes in place of `event`."""


class Cutter(Rewriter, Protocol):
    def end(self) -> list[bytes]:
        """What was held back, when nothing more comes for now."""


class _Direct:
    """Holds nothing back."""

    def __init__(self, fault: Fault, happened: Happened) -> None:
        self._fault = fault
        self._happened = happened

    def end(self) -> list[bytes]:
        return []


class _NoDone(_Direct):
    def feed(self, event: bytes) -> list[bytes]:
        if not sse.is_done(event):
            return [event]
        self._happened("no [DONE]")
        return []


class _TwoDones(_Direct):
    def feed(self, event: bytes) -> list[bytes]:
        if not sse.is_done(event):
            return [event]
        self._happened("two [DONE]s")
        return [event, event]


_RESPONSE = re.compile(rb'("response"\s*:\s*)"([^"\\]*)"')


class _NumberResponse(_Direct):
    def feed(self, event: bytes) -> list[bytes]:
        body = _body(event)
        piece = body.get("response")
        if not isinstance(piece, str) or not NUMBER.fullmatch(piece):
            return [event]
        self._happened(f"the piece {piece!r} as a number")
        # The text as it is: "1.50" arrives as 1.50, as it does from production.
        return [_RESPONSE.sub(rb"\1\2", event, count=1)]


def number_in_answer(body: Any) -> Any:
    """`body`, its `response` a number if the text is one."""
    if isinstance(body, Mapping) and isinstance(text := body.get("response"), str) and NUMBER.fullmatch(text):
        return {**body, "response": json.loads(text)}
    return body


class _NullFinaliser(_Direct):
    """Before what says that the answer is over: a finish reason, the usage, `[DONE]`; whichever comes first.

    The forms of completions and of responses have no such call.
    """

    def __init__(self, fault: Fault, happened: Happened) -> None:
        super().__init__(fault, happened)
        self._is_over = False
        self._is_classic = False
        self._has_begun = False
        self._chunk: dict[str, Any] = {}

    def feed(self, event: bytes) -> list[bytes]:
        if self._is_over:
            return [event]
        body = _body(event)
        self._is_over = sse.is_done(event) or self._ends_answer(body)
        self._look_at(body)
        if not self._is_over or (finaliser := self._finaliser()) is None:
            return [event]
        self._happened("a tool call of nulls")
        return [sse.encode(finaliser), event]

    def _ends_answer(self, body: Mapping[str, Any]) -> bool:
        choices = body.get("choices")
        if isinstance(choices, list):
            return any(isinstance(choice, Mapping) and choice.get("finish_reason") for choice in choices)
        # Production tells the usage of the prompt before the first piece.
        has_usage = self._has_begun and bool(body.get("usage")) and not body.get("response")
        return bool(body.get("finish_reason")) or (has_usage and "tool_calls" not in body)

    def _look_at(self, body: dict[str, Any]) -> None:
        if "choices" in body:
            self._chunk = body
        elif "type" not in body and ("response" in body or "tool_calls" in body):
            self._is_classic = True
            self._has_begun = self._has_begun or bool(body.get("response") or body.get("tool_calls"))

    def _finaliser(self) -> dict[str, Any] | None:
        if not self._chunk:
            return {"tool_calls": [NULL_CALL]} if self._is_classic else None
        if self._chunk.get("object") == "text_completion":
            return None
        around = {name: value for name, value in self._chunk.items() if name not in ("usage", "p")}
        return {**around, "choices": [{"index": 0, "delta": {"tool_calls": [NULL_CALL]}, "finish_reason": None}]}


class _SplitBytes(_Direct):
    def feed(self, event: bytes) -> list[bytes]:
        self._happened("every byte by itself")
        return [event[at : at + 1] for at in range(len(event))]


class _Merge(_Direct):
    def __init__(self, fault: Fault, happened: Happened) -> None:
        super().__init__(fault, happened)
        self._held: list[bytes] = []

    def feed(self, event: bytes) -> list[bytes]:
        assert self._fault.events is not None
        self._held.append(event)
        return self.end() if len(self._held) == self._fault.events else []

    def end(self) -> list[bytes]:
        if len(self._held) > 1:
            self._happened(f"{self._fault.events} events in a chunk")
        merged = b"".join(self._held)
        self._held.clear()
        return [merged] if merged else []


class _SplitCharacter(_Direct):
    def __init__(self, fault: Fault, happened: Happened) -> None:
        super().__init__(fault, happened)
        self._has_split = False

    def feed(self, event: bytes) -> list[bytes]:
        cuts = [at + 1 for at, byte in enumerate(event) if byte >= 0xC0 and at + 1 < len(event)]
        if cuts:
            self._happened("characters cut in two")
        elif sse.is_done(event) and not self._has_split:
            cuts = [len(event) // 2]
            self._happened("no character of more than one byte to cut; [DONE] cut in two")
        self._has_split = self._has_split or bool(cuts)
        return [event[start:end] for start, end in zip([0, *cuts], [*cuts, len(event)], strict=True)]


def _body(event: bytes) -> dict[str, Any]:
    for data in sse.Decoder().feed(event):
        body = sse.loads(data)
        return body if isinstance(body, dict) else {}
    return {}


REWRITERS: Mapping[str, Callable[[Fault, Happened], Rewriter]] = {
    "no-done": _NoDone,
    "two-dones": _TwoDones,
    "number-response": _NumberResponse,
    "null-finaliser": _NullFinaliser,
}
CUTTERS: Mapping[str, Callable[[Fault, Happened], Cutter]] = {
    "split-bytes": _SplitBytes,
    "merge": _Merge,
    "split-character": _SplitCharacter,
}
