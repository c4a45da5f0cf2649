"""A tape's text, read: whatever is wrong with it is told with its line."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from cfai.binding import ENDPOINTS, Call
from cfai.bindings.tape.entries import FORMAT, Chunk, End, Entry, Failure, Tape
from cfai.bindings.tape.errors import BadTape
from cfai.bindings.tape.layout import BYTES

__all__ = ["read", "version_of"]

_REMEDY = 'restore it from version control, or delete it and record it again with record="once"'
_Path = tuple[str | int, ...]


def read(text: str, path: Path) -> Tape:
    """The tape that `text`, the content of `path`, is. Raises `BadTape`."""
    return _Reading(text, path).tape()


def version_of(text: str, path: Path) -> Any:
    """The format that the text says it has; a `BadTape` if it is no tape at all."""
    return _Reading(text, path).version()


class _Reading:
    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        try:
            self._document = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadTape(path, error.lineno, f"this is no JSON: {error.msg}", _REMEDY) from error
        except RecursionError as error:
            raise BadTape(path, None, "this is nested too deep", _REMEDY) from error

    def version(self) -> Any:
        if not isinstance(self._document, dict) or "cfai-tape" not in self._document:
            raise BadTape(self._path, 1, 'this is no tape: it has no "cfai-tape"', "name another file")
        return self._document["cfai-tape"]

    def tape(self) -> Tape:
        version = self.version()
        if type(version) is not int or version < 1:
            self._refuse(("cfai-tape",), f"{version!r} is no version of a tape")
        if version > FORMAT:
            raise BadTape(
                self._path,
                _line_of(self._text, ("cfai-tape",)),
                f"a newer cfai wrote this, in format {version}; this one reads up to {FORMAT}",
                "upgrade with `pip install -U cfai`",
            )
        rows = self._get(self._document, (), "entries", list)
        if not rows:
            self._refuse(("entries",), "the tape has no entry, so that whatever it is to test is not tested")
        salt = self._document.get("salt", "")
        if not isinstance(salt, str):
            self._refuse(("salt",), "the salt is a string")
        return Tape([self._entry(row, ("entries", at)) for at, row in enumerate(rows)], salt)

    def _entry(self, row: Any, path: _Path) -> Entry:
        call = self._get(row, path, "call", dict)
        reply = self._get(row, path, "reply", dict)
        of_reply = (*path, "reply")
        at = self._seconds(reply.get("at"), (*of_reply, "at"))
        if "broken" in reply:
            broken = self._failure(reply["broken"], (*of_reply, "broken"))
            return Entry(self._call(call, (*path, "call")), at=at, broken=broken)
        headers = self._get(reply, of_reply, "headers", dict)
        if not all(isinstance(value, str) for value in headers.values()):
            self._refuse((*of_reply, "headers"), "each header is a string")
        entry = Entry(
            self._call(call, (*path, "call")),
            self._get(reply, of_reply, "status", int),
            headers,
            at,
        )
        kinds = [kind for kind in ("body", "bytes", "chunks") if kind in reply]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            self._refuse(of_reply, f"a reply has one of body, bytes and chunks, this has {found}")
        match kinds[0]:
            case "body":
                entry.body = reply["body"]
            case "bytes":
                entry.body = self._base64(reply["bytes"], (*of_reply, "bytes"))
            case _:
                self._stream(entry, reply, of_reply)
        return entry

    def _call(self, row: Mapping[str, Any], path: _Path) -> Call:
        form = row.get("form", "native")
        if form not in ("native", *ENDPOINTS):
            self._refuse((*path, "form"), f"{form!r} is no form of a call")
        if "inputs" not in row:
            self._refuse(path, 'the call has no "inputs"')
        options = row.get("options", {})
        if not isinstance(options, dict):
            self._refuse((*path, "options"), "options are an object")
        inputs = self._with_bytes(row["inputs"], (*path, "inputs"))
        return Call(self._get(row, path, "model", str), inputs, options, form=form)

    def _with_bytes(self, value: Any, path: _Path) -> Any:
        if isinstance(value, list):
            return [self._with_bytes(item, (*path, at)) for at, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if value.keys() == {BYTES}:
            return self._base64(value[BYTES], (*path, BYTES))
        return {name: self._with_bytes(item, (*path, name)) for name, item in value.items()}

    def _stream(self, entry: Entry, reply: Mapping[str, Any], path: _Path) -> None:
        rows = self._get(reply, path, "chunks", list)
        entry.chunks = [self._chunk(row, (*path, "chunks", at)) for at, row in enumerate(rows)]
        entry.end = self._end(self._get(reply, path, "end", dict), (*path, "end"))
        if entry.has_no_bytes:
            self._refuse((*path, "chunks"), "the stream has not a single byte, so that whatever reads it tests nothing")

    def _chunk(self, row: Any, path: _Path) -> Chunk:
        if not isinstance(row, list) or len(row) != 2:
            self._refuse(path, "a chunk is a list of its seconds and its text")
        at, data = row
        seconds = self._seconds(at, (*path, 0))
        if isinstance(data, str):
            try:
                return Chunk(seconds, data.encode())
            except UnicodeEncodeError:
                self._refuse(path, "the text has half a surrogate pair")
        if not isinstance(data, dict) or set(data) != {"base64"}:
            self._refuse(path, 'a chunk holds a string or {"base64": ...}')
        return Chunk(seconds, self._base64(data["base64"], path))

    def _end(self, row: Mapping[str, Any], path: _Path) -> End:
        kind, at = row.get("kind"), self._seconds(row.get("at"), (*path, "at"))
        if kind == "done" or kind == "closed":
            return End(at, kind)
        if kind != "error":
            self._refuse((*path, "kind"), f"a stream ends with done, closed or error, not {kind!r}")
        return End(at, "error", self._failure(row.get("error"), (*path, "error")))

    def _failure(self, row: Any, path: _Path) -> Failure:
        name, status = self._get(row, path, "name", str), self._get(row, path, "status", int)
        return Failure(name, status, self._get(row, path, "body", dict))

    def _seconds(self, value: Any, path: _Path) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            self._refuse(path, f"{value!r} is no number of seconds")
        return float(value)

    def _base64(self, value: Any, path: _Path) -> bytes:
        try:
            return base64.b64decode(value, validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            self._refuse(path, f"this is no base64: {error}")

    def _get(self, row: Any, path: _Path, name: str, kind: type) -> Any:
        if not isinstance(row, dict):
            self._refuse(path, "an object is expected here")
        value = row.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            self._refuse((*path, name) if name in row else path, f'"{name}" is missing, or not of its type')
        return value

    def _refuse(self, path: _Path, problem: str) -> NoReturn:
        raise BadTape(self._path, _line_of(self._text, path), problem, _REMEDY)


def _line_of(text: str, path: _Path) -> int:
    """The line at which the value that `path` leads to begins, in a text that is JSON."""
    at = _start(text, 0)
    for step in path:
        at = _inside(text, at, step)
    return text.count("\n", 0, at) + 1


def _inside(text: str, at: int, step: str | int) -> int:
    """Where a member of the object or array that begins at `at` begins."""
    decoder = json.JSONDecoder()
    place, found = _start(text, at + 1), at
    for number in itertools.count():
        if text[place] in "]}":
            return found  # the last of several keys of one name counts
        name: str | int = number
        if isinstance(step, str):
            name, place = decoder.raw_decode(text, place)
            place = _start(text, _start(text, place) + 1)
        if name == step:
            found = place
            if isinstance(step, int):
                return found
        _, place = decoder.raw_decode(text, place)
        place = _start(text, place)
        if text[place] == ",":
            place = _start(text, place + 1)
    raise AssertionError("the counter never ends")


def _start(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
