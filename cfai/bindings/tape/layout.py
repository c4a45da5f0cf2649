"""A tape as text: JSON in which every chunk is one line, so that a changed answer shows as changed lines.

    {
      "cfai-tape": 1,
      "entries": [
        {
          "call": {"model": ..., "form": ..., "inputs": {...}, "options": {...}},
          "reply": {
            "status": 200,
            "headers": {"content-type": "text/event-stream"},
            "at": 0.012,
            "chunks": [
              [0.012, "data: {\\"response\\":\\"New\\"}\\n\\n"],
              [0.034, {"base64": "5Lm="}]
            ],
            "end": {"kind": "done", "at": 0.051}
          }
        }
      ]
    }

A reply that is no stream has a `body`, or `bytes`, in place of `chunks` and `end`; where none came, it is `broken`.
Bytes among the inputs are `{"$bytes": ...}`, in base64.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cfai.bindings.tape.entries import FORMAT, Chunk, End, Entry, Failure, Tape
from cfai.bindings.tape.hashes import HASH_MARK
from cfai.results import plain

__all__ = ["BYTES", "texts_of", "written"]

BYTES = "$bytes"
_ONE_LINE_KEYS = frozenset({"chunks"})

# Editors and str.splitlines take the first three for line ends; half a surrogate pair is no UTF-8.
_ESCAPED = re.compile("[\u0085\u2028\u2029\ufeff\ud800-\udfff]")


def written(tape: Tape) -> str:
    """The text of the file. Raises a TypeError for a reply that is no JSON."""
    entries = [_entry(entry) for entry in tape.entries]
    # A salt that nothing was hashed with is only noise.
    salt = {"salt": tape.salt} if HASH_MARK in json.dumps(entries, ensure_ascii=False) else {}
    text = _text({"cfai-tape": FORMAT, **salt, "entries": entries}, "")
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def texts_of(entries: Iterable[Entry]) -> list[str]:
    """Each entry as it stands in a file: what is read again has the text that was written."""
    return [written(Tape([entry])) for entry in entries]


def _entry(entry: Entry) -> dict[str, Any]:
    call: dict[str, Any] = {"model": entry.call.model}
    if entry.call.form != "native":
        call["form"] = entry.call.form
    call["inputs"] = _without_bytes(entry.call.inputs)
    if entry.call.options:
        call["options"] = dict(entry.call.options)
    if entry.broken is not None:
        return {"call": call, "reply": {"at": entry.at, "broken": _failure(entry.broken)}}
    reply: dict[str, Any] = {"status": entry.status, "headers": dict(sorted(entry.headers.items())), "at": entry.at}
    if entry.end is not None:
        reply["chunks"] = [_chunk(chunk) for chunk in entry.chunks]
        reply["end"] = _end(entry.end)
    elif isinstance(entry.body, bytes):
        reply["bytes"] = base64.b64encode(entry.body).decode()
    else:
        reply["body"] = plain(entry.body)
    return {"call": call, "reply": reply}


def _chunk(chunk: Chunk) -> list[Any]:
    try:
        return [chunk.at, chunk.data.decode()]
    except UnicodeDecodeError:  # a character is cut, or it is no text at all
        return [chunk.at, {"base64": base64.b64encode(chunk.data).decode()}]


def _end(end: End) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": end.kind, "at": end.at}
    if end.failure is not None:
        row["error"] = _failure(end.failure)
    return row


def _failure(failure: Failure) -> dict[str, Any]:
    return {"name": failure.name, "status": failure.status, "body": dict(failure.body)}


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {BYTES: base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {name: _without_bytes(item) for name, item in value.items()}
    return [_without_bytes(item) for item in value] if isinstance(value, list | tuple) else value


def _text(value: Any, indent: str, *, one_line: bool = False) -> str:
    """`value` as JSON, with two spaces for each level."""
    deeper = f"{indent}  "
    if isinstance(value, Mapping) and value:
        members = (
            f"{deeper}{_flat(name)}: {_text(item, deeper, one_line=name in _ONE_LINE_KEYS)}"
            for name, item in value.items()
        )
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        if not one_line and all(isinstance(item, int | float) for item in value):
            return _flat(value)  # a vector, or the bytes of a picture
        items = (f"{deeper}{_flat(item) if one_line else _text(item, deeper)}" for item in value)
        return "[\n" + ",\n".join(items) + f"\n{indent}]"
    return _flat(value)


def _flat(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
