"""`multipart/form-data` (RFC 7578) while it comes: a file of hundreds of megabytes is never in memory. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from cfai.errors import IncompleteRequest

__all__ = ["Data", "FormReader", "Part", "boundary_of"]

LONGEST_HEAD = 16 * 1024
"""Bytes of the headers of one part."""

_FORM = "send multipart/form-data, such as `curl -F file_name=... -F file=@...`"


@dataclass(frozen=True, slots=True)
class Part:
    """A field begins; its `Data` follow. `filename` is None for one that is no file."""

    name: str
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """Some bytes of the field that began last."""

    bytes: bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary in a `Content-Type`. Raises `IncompleteRequest`.

    ```python
    boundary_of('multipart/form-data; boundary="x"')  # b"x"
    ```
    """
    message = Message()
    message["content-type"] = content_type.replace("\n", " ")
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise IncompleteRequest("multipart body", hint=_FORM)
    return boundary.encode("latin-1", "replace")


class FormReader:
    """Cuts a form into its parts, however the bytes come.

    ```python
    reader = FormReader(b"x")
    events = [*reader.feed(b'--x\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\n1\\r\\n--x--')]
    ```
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first one need not have a line before it.
        self._buffer = b"\r\n"
        self._in_part = False
        self.is_over = False
        """The last delimiter was read."""

    def feed(self, data: bytes) -> Iterator[Part | Data]:
        """What is known to be there with these bytes. Raises `IncompleteRequest` for what is no form."""
        self._buffer += data
        while not self.is_over:
            before, found, rest = self._buffer.partition(self._delimiter)
            if not found:
                # Its end may be a delimiter's beginning.
                sure = max(0, len(self._buffer) - len(self._delimiter) + 1)
                if self._in_part and sure:
                    yield Data(self._buffer[:sure])
                self._buffer = self._buffer[sure:]
                return
            if self._in_part and before:
                yield Data(before)
            self._in_part = False
            self._buffer = found + rest
            head, blank, body = rest.partition(b"\r\n\r\n")
            if rest.startswith(b"--"):
                self.is_over = True
            elif blank:
                yield _part(head)
                self._in_part, self._buffer = True, body
            elif len(rest) > LONGEST_HEAD:
                raise IncompleteRequest("multipart body", hint="the headers of a part do not end")
            else:
                return


_QUOTED = re.compile(rb';\s*(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def _part(head: bytes) -> Part:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            # Quotes are escaped as %22 by browsers and with a backslash by others.
            found = {name.lower(): text.decode("utf-8", "replace") for name, text in _QUOTED.findall(value)}
            if b"name" in found:
                return Part(found[b"name"], found.get(b"filename"))
    raise IncompleteRequest("multipart body", hint=_FORM)
