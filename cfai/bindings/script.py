"""What a fake is told to say: an answer as a test writes it, and the script that it stands for.

"New York"                                  a text, a piece for each word
["New", " York"]                            its pieces
{"city": "Paris"}                           JSON: the value in JSON mode, else the whole result as it is
[{"name": "add", "arguments": {"a": 1}}]    tool calls
OutOfCapacity()                             an error before the first piece
["New", OutOfCapacity()]                    an error behind pieces
b"...", [b"da", b"ta: "]                    the bytes of the body, chunk by chunk
Script(...)                                 all of it, with usage, reasoning, headers and timing
in_turn("one", "two")                       one answer for each call
lambda call: ...                            any of these, made of the call; may be async
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from cfai import sse
from cfai.binding import Call
from cfai.tasks.parts import Finish, Usage
from cfai.wording import choose

__all__ = [
    "Answer",
    "InTurn",
    "Piece",
    "Said",
    "Script",
    "check_answer",
    "in_turn",
    "resolved",
    "script_of",
    "words_of_json",
]

Piece = str | bytes | Exception | Mapping[str, Any]
"""One item of a list: a piece of text, a chunk of bytes, an error, or a tool call."""

_WORDS = re.compile(r"\s*\S+|\s+")
_JSON_WORDS = re.compile(r"[^\s,:]*[,:]?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """An answer with everything about it said.

    ```python
    Script(pieces=["New", " York"], usage={"prompt_tokens": 5, "completion_tokens": 2}, first_piece_after=3.0)
    Script(tool_calls=[{"name": "get_weather", "arguments": {"city": "Paris"}}])
    ```

    pieces             a text, or its pieces; bytes, or their chunks, for a body that is no answer of the model's form
    json               a JSON value in place of pieces
    tool_calls         `{"name", "arguments"}` each, and an `id` if it matters; arguments as text stay as they are
    reasoning          what the model thinks before it answers, a text or its pieces
    usage              `prompt_tokens`, `completion_tokens`, `cached_tokens`; default: counted
    finish_reason      "stop", "length" or "tool_calls"; default: what is true
    error              raised behind the pieces, before the first if there are none
    headers            more headers of the reply, and others in place of its own
    first_piece_after  seconds until the first piece; default: the fake's
    between_pieces     seconds between two pieces; default: the fake's
    """

    pieces: str | bytes | Iterable[str | bytes] = ()
    json: Any = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    reasoning: str | Iterable[str] = ()
    usage: Usage | Mapping[str, Any] | None = None
    finish_reason: Finish | None = None
    error: Exception | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    first_piece_after: float | None = None
    between_pieces: float | None = None

    def __post_init__(self) -> None:
        if self.json is not None and (self.pieces or self.tool_calls):
            raise TypeError("a Script has pieces and tool_calls, or json, not both")
        if self.finish_reason is not None:
            choose("finish_reason", self.finish_reason, get_args(Finish))
        for name, seconds in (("first_piece_after", self.first_piece_after), ("between_pieces", self.between_pieces)):
            if seconds is not None and seconds < 0:
                raise ValueError(f"{name} must be at least 0, it is {seconds}")
        if self.error is not None and not isinstance(self.error, Exception):
            raise TypeError(f"error is an exception, such as OutOfCapacity(), not {_kind(self.error)}")
        for call in self.tool_calls:
            if not (isinstance(call, Mapping) and isinstance(call.get("name"), str)):
                raise TypeError(f'a tool call is {{"name": ..., "arguments": {{...}}}}, not {call!r:.80}')

    @property
    def is_raw(self) -> bool:
        """Whether the pieces are bytes, which are the body as it is."""
        return isinstance(self.pieces, bytes) or (
            isinstance(self.pieces, Sequence) and any(isinstance(piece, bytes) for piece in self.pieces)
        )

    def texts(self) -> Iterable[str]:
        """The pieces of text."""
        if self.json is not None:
            return words_of_json(sse.dumps(self.json))
        return _pieces(self.pieces)

    def chunks(self) -> list[bytes]:
        """The pieces of a body that is given as bytes."""
        pieces = (self.pieces,) if isinstance(self.pieces, str | bytes) else self.pieces
        return [piece.encode() if isinstance(piece, str) else piece for piece in pieces]

    def thoughts(self) -> Iterable[str]:
        """The pieces of reasoning."""
        return _pieces(self.reasoning)

    def calls(self) -> list[tuple[str | None, str, list[str]]]:
        """The id, the name and the pieces of the arguments of each tool call."""
        told = []
        for call in self.tool_calls:
            given = call.get("arguments", {})
            text = given if isinstance(given, str) else sse.dumps(given)
            told.append((call.get("id"), call["name"], words_of_json(text)))
        return told

    def counted(self) -> Usage | None:
        """The usage that the script gives, if it does."""
        if self.usage is None or isinstance(self.usage, Usage):
            return self.usage
        return Usage.from_json(self.usage)


@dataclass(frozen=True, slots=True)
class InTurn:
    """Answers to one call after the other, as `in_turn` makes them."""

    each: tuple[Answer, ...]
    then: Answer | None = None
    repeat: bool = False

    def at(self, turn: int) -> Answer | None:
        """The answer to the call of that number, from 0; None where there is none any more."""
        if turn < len(self.each):
            return self.each[turn]
        if self.repeat:
            return self.each[turn % len(self.each)]
        return self.then


Said = str | bytes | Iterable[Piece] | Mapping[str, Any] | Exception | Script
"""What a function of a call may answer."""

Answer = (
    str
    | bytes
    | Sequence[Piece]
    | Mapping[str, Any]
    | Exception
    | Script
    | InTurn
    | Callable[[Call], Said | Awaitable[Said]]
)
"""What a fake says to a call, in any of the ways above."""


def in_turn(*answers: Answer, then: Answer | None = None, repeat: bool = False) -> InTurn:
    """`answers`, one for each call.

    ```python
    fake.answers[MODEL] = in_turn(OutOfCapacity(), "New York")  # the second try succeeds
    ```

    then    what is answered to every call after the last one
    repeat  begin again after the last one

    With neither, a call too many is one that nobody expected.
    """
    if not answers:
        raise TypeError("in_turn() needs an answer, it has none")
    if then is not None and repeat:
        raise TypeError("in_turn() goes on with `then` or with `repeat`, not with both")
    for answer in (*answers, then):
        if isinstance(answer, InTurn):
            raise TypeError("in_turn() in in_turn(): write all its answers in one")
        if answer is not None:
            check_answer(answer)
    return InTurn(answers, then, repeat)


def check_answer(answer: object) -> None:
    """Raise a `TypeError` for what no call can be answered with, where the test writes it."""
    if isinstance(answer, type):
        raise TypeError(f"{answer.__name__} is a class, and an answer is an object: {answer.__name__}()")
    if isinstance(answer, Iterator):
        raise TypeError("an iterator has nothing left for the second call: give a list, or a function that makes one")
    if not (isinstance(answer, InTurn) or callable(answer)):
        script_of(answer)


async def resolved(answer: Answer, call: Call) -> Script:
    """The script that `answer` stands for, its function called."""
    said: Any = answer
    if callable(said):
        said = said(call)
        if inspect.isawaitable(said):
            said = await said
    return script_of(said)


def script_of(said: object) -> Script:
    """The script that one answer stands for, unless it is a function or several answers."""
    match said:
        case Script():
            return said
        case str() | bytes():
            return Script(pieces=said)
        case Exception():
            return Script(error=said)
        case Mapping():
            return Script(json=said)
        case Sequence():
            return _of_items(said)
        case Iterator():
            first = [*itertools.islice(said, 1)]
            if any(isinstance(piece, bytes) for piece in first):
                return Script(pieces=[*first, *said])
            return Script(pieces=itertools.chain(first, said))
    raise TypeError(
        f"{_kind(said)} is no answer: give a text, a list of pieces, a dict, bytes, an exception, a Script, "
        "in_turn(...) or a function of the call"
    )


def words_of_json(text: str) -> list[str]:
    """JSON text in pieces that end behind a comma, a colon or white space."""
    return [word for word in _JSON_WORDS.findall(text) if word]


def _of_items(items: Sequence[object]) -> Script:
    *before, last = items or [None]
    error = last if isinstance(last, Exception) else None
    said = before if isinstance(last, Exception) else items
    if said and all(isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in said):
        return Script(tool_calls=[item for item in said if isinstance(item, Mapping)], error=error)
    if all(isinstance(item, str | bytes) for item in said):
        return Script(pieces=[item for item in said if isinstance(item, str | bytes)], error=error)
    if error is None and not any(isinstance(item, str | bytes | Exception) for item in said):
        return Script(json=items)
    raise TypeError(
        "a list has pieces of text, chunks of bytes or tool calls, and last an error if there is one, not "
        f"{items!r:.80}"
    )


def _pieces(given: Any) -> Iterable[str]:
    return _WORDS.findall(given) if isinstance(given, str) else given


def _kind(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
