"""What a tape holds: calls, and for each the reply as it came, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cfai.binding import Call
from cfai.errors import AiError

__all__ = ["FORMAT", "Chunk", "End", "Entry", "Failure", "Tape"]

FORMAT = 1
"""The version of the file format. A tape of a higher one is not read."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that came in one piece, `at` so many seconds after the call."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that broke a stream, as data: two of them are equal when they say the same."""

    name: str
    """Of its class."""
    status: int
    body: Mapping[str, Any]

    @classmethod
    def of(cls, error: AiError) -> Failure:
        return cls(type(error).__name__, error.status, error.to_body())

    @property
    def error(self) -> AiError:
        error = AiError.from_body(self.body, self.status)
        kind = next((kind for kind in _kinds(AiError) if kind.__name__ == self.name), None)
        # Several classes may share a code.
        if kind is not None and issubclass(kind, type(error)):
            error.__class__ = kind
        return error


def _kinds(kind: type[AiError]) -> Iterator[type[AiError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ended: by itself, closed by its reader, or with an error."""

    at: float
    kind: Literal["done", "closed", "error"]
    failure: Failure | None = None


@dataclass(slots=True)
class Entry:
    """One call and its reply: `chunks` and `end` of a stream, `body` of any other, `broken` if none came."""

    call: Call
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0
    """Seconds from the call to the head of the reply."""
    body: Any = None
    """A JSON value, or bytes."""
    chunks: list[Chunk] = field(default_factory=list)
    end: End | None = None
    """None where the reply is no stream."""
    broken: Failure | None = None
    """Why there was no reply at all: the connection was lost before."""

    @property
    def is_stream(self) -> bool:
        return self.end is not None

    @property
    def has_no_bytes(self) -> bool:
        """Whether it is a stream that ended by itself without having said anything, which no answer does."""
        return self.end is not None and self.end.kind == "done" and not any(chunk.data for chunk in self.chunks)


@dataclass(slots=True)
class Tape:
    entries: list[Entry] = field(default_factory=list)
    salt: str = ""
    """What was hashed together with each prompt that the tape does not show."""
