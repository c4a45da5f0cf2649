"""Server-sent events to bytes and back, without I/O.

Workers AI sends one JSON object per `data:` line, a blank line, and a last `data: [DONE]`. Nothing else: no `event:`,
no `id:`. The decoder takes whatever a server of the same kind may send, cut at any byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["DONE", "KEEP_ALIVE", "Decoder", "Splitter", "dumps", "encode", "loads"]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

# These three end a line for clients that split text with str.splitlines; inside JSON an escape means the same.
_LINE_ENDS = str.maketrans({"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def dumps(data: object) -> str:
    """Compact JSON as Workers AI writes it, always on one line."""
    return _JSON.encode(data).translate(_LINE_ENDS)


def encode(data: Mapping[str, Any]) -> bytes:
    """One JSON object as one event."""
    return f"data: {dumps(data)}\n\n".encode()


def loads(data: str) -> Any:
    """The JSON value of one event's data; None where it is not JSON, as for `[DONE]`."""
    try:
        return json.loads(data)
    except ValueError:
        return None


class Splitter:
    """Cut a byte stream into whole events, bytes unchanged, wherever the network cut it.

    The blank line that ends an event is the one that Workers AI sends, `\\n\\n`.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes."""
        start = max(0, len(self._pending) - 1)
        self._pending += chunk
        if self._pending.find(b"\n\n", start) < 0:
            return []
        *events, rest = bytes(self._pending).split(b"\n\n")
        self._pending[:] = rest
        return [event + b"\n\n" for event in events]

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._pending)


class Decoder:
    """Cut a byte stream into the `data` of its events.

    ```python
    decoder = Decoder()
    decoder.feed(b'data: {"response":"New"}\\n\\ndata: [DO')  # ['{"response":"New"}']
    decoder.feed(b"NE]\\n\\n")                                 # ['[DONE]']
    ```
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._data: list[str] = []
        self._first = True

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that `chunk` completes, in order. Comments and empty events give none."""
        self._pending += chunk
        events = []
        while (line := self._next_line()) is not None:
            if line:
                self._take(line)
            elif self._data:
                events.append("\n".join(self._data))
                self._data.clear()
        return events

    def _next_line(self) -> bytes | None:
        ends = [at for at in (self._pending.find(b"\n"), self._pending.find(b"\r")) if at >= 0]
        if not ends:
            return None
        end = min(ends)
        after = end + 1
        if self._pending[end : end + 1] == b"\r":
            if after == len(self._pending):
                return None  # a line feed may still follow and belongs to the same line end
            if self._pending[after : after + 1] == b"\n":
                after += 1
        line = bytes(self._pending[:end])
        del self._pending[:after]
        if self._first:
            self._first, line = False, line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
