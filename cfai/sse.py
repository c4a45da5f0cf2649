"""Server-sent events to bytes and back, without I/O.

Workers AI sends one JSON object per `data:` line, a blank line, and a last `data: [DONE]`. Nothing else: no `event:`,
no `id:`. The decoder takes whatever a server of the same kind may send, cut at any byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["DONE", "KEEP_ALIVE", "Decoder", "Splitter", "dumps", "encode", "is_done", "loads"]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

# These three end a line for clients that split text with str.splitlines; inside JSON an escape means the same.
_LINE_ENDS = str.maketrans({"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})

# Any of the three line ends of the standard, and the last byte of one with another behind it. A carriage return at the
# very end of what is there is not taken for a line end yet: a line feed may follow and belong to it.
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"\n(?:\r?\n|\r(?=[^\n]))|\r\r(?:\n|(?=[^\n]))")


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
    except (ValueError, RecursionError):
        return None


def is_done(event: bytes) -> bool:
    """Whether `event`, as a `Splitter` gives it, is the `[DONE]` that ends a stream, however a server writes it."""
    return event == DONE or (b"[DONE]" in event and Decoder().feed(event + b"\n\n") == ["[DONE]"])


class Splitter:
    """Cut a byte stream into whole events, bytes unchanged, wherever the network cut it.

    A blank line ends an event, whichever line ends the server writes: Workers AI has `\\n\\n`.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes."""
        scanned = max(0, len(self._pending) - 2)  # the most of a blank line that may wait for the rest of it
        self._pending += chunk
        events = []
        start = 0
        while blank_line := _BLANK_LINE.search(self._pending, scanned):
            scanned = blank_line.end()
            events.append(bytes(self._pending[start:scanned]))
            start = scanned
        del self._pending[:start]
        return events

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._pending)

    def end(self) -> list[bytes]:
        """The last event of a stream that ended without its blank line. One cut within a line is no event."""
        rest = bytes(self._pending)
        self._pending.clear()
        return [rest] if rest.endswith((b"\n", b"\r", b"[DONE]")) else []


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
        self._is_first_line = True
        self._is_after_return = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that `chunk` completes, in order. Comments and empty events give none."""
        events = []
        for line in self._lines(chunk):
            if line:
                self._take(line)
            elif self._data:
                events.append("\n".join(self._data))
                self._data.clear()
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        if not chunk:
            return []
        if self._is_after_return:
            chunk = chunk.removeprefix(b"\n")  # the other half of a line end that was cut
        self._is_after_return = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        if lines:
            lines[0] = bytes(self._pending + lines[0])
            self._pending.clear()
            if self._is_first_line:
                self._is_first_line, lines[0] = False, lines[0].removeprefix(b"\xef\xbb\xbf")
        self._pending += rest
        return lines

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
