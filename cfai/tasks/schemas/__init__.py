"""The schemas of inputs and outputs, as data: one file per form, and `parts.json` for what several forms share.

The files are JSON schema with three rules of their own, which are gone from what `schema` gives:

1. `"$ref": "#/name"` stands for the members of the entry `name` of the same file, `"parts#/name"` for one of another
   file, a list of them for all of theirs. They come where the reference stands, and what else the object has is added
   behind them. So a reference may stand among properties too, and the order of properties, which decides what is
   refused first, can be read from the file.
2. `eras` has entries that were different before a day. Of several that hold, the earliest counts.
3. `source` says where the figures are from.

A choice that is no refusal of its own stands in `allOf`, which the validator does not read: what it notes while it
tries the options would stand in the refusals of everything else. The readers of the fields refuse in its place.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import date
from importlib import resources
from typing import Any

__all__ = ["schema"]


def schema(form: str, entry: str, as_of: date | None = None) -> Mapping[str, Any]:
    """The entry of that name in the file of a form, as it was on the day `as_of`, or as it is today.

    ```python
    schema("classic", "input")["oneOf"][0]["required"]  # ['prompt']
    ```
    """
    eras = _read(form).get("eras", [])
    held = 0 if as_of is None else sum(as_of < date.fromisoformat(era["before"]) for era in eras)
    return _resolved(form, entry, held)


@functools.cache
def _read(form: str) -> Mapping[str, Any]:
    read: dict[str, Any] = json.loads((resources.files("cfai.tasks.schemas") / f"{form}.json").read_text("utf-8"))
    read.get("eras", []).sort(key=lambda era: era["before"], reverse=True)
    return read


@functools.cache
def _resolved(form: str, entry: str, eras: int) -> Mapping[str, Any]:
    """The entry with the newest `eras` of the changes undone."""
    entries = dict(_read(form))
    for era in entries.get("eras", [])[:eras]:
        entries.update(era)
    resolved: Mapping[str, Any] = _without_references(entries[entry], form, eras)
    return resolved


def _without_references(node: Any, form: str, eras: int) -> Any:
    if isinstance(node, list):
        return [_without_references(item, form, eras) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for name, value in node.items():
        if name != "$ref":
            found[name] = _without_references(value, form, eras)
            continue
        for reference in value if isinstance(value, list) else [value]:
            file, _, entry = reference.partition("#/")
            found.update(_resolved(file, entry, 0) if file else _resolved(form, entry, eras))
    return found
