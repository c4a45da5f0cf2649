"""How a value looks on the console: as `util.inspect` of Node.js shows it, which workerd has taken over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cfai.worker.web.arrays import JsArray, items_of
from cfai.worker.web.buffers import ArrayBuffer
from cfai.worker.web.dates import Date
from cfai.worker.web.jsontext import JSON
from cfai.worker.web.maps import JsMap, JsSet, map_entries
from cfai.worker.web.nulls import jsnull, number_text
from cfai.worker.web.objects import JsObject, members
from cfai.worker.web.primitives import number_of
from cfai.worker.web.proxies import JsProxy
from cfai.worker.web.typed_arrays import TypedArray

__all__ = ["formatted", "inspect", "rows_and_columns"]

DEEPEST = 2
MOST_ITEMS = 100
WIDTH = 72

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def inspect(value: Any, depth: int = 0) -> str:
    """`value` in words; what is nested deeper than three levels is only named."""
    if value is None:
        return "undefined"
    if value is jsnull:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, str):
        return value if depth == 0 else _quoted(value)
    if isinstance(value, TypedArray):
        return _in_brackets(f"{value.js_name}({len(value)}) ", "[]", map(number_text, value), len(value))
    if isinstance(value, JsArray):
        items = items_of(value)
        if depth > DEEPEST:
            return "[Array]"
        return _in_brackets("", "[]", (inspect(item, depth + 1) for item in items[:MOST_ITEMS]), len(items))
    if isinstance(value, JsMap):
        if depth > DEEPEST:
            return "[Map]"
        pairs = (f"{inspect(key, 1)} => {inspect(item, depth + 1)}" for key, item in map_entries(value).items())
        return _in_brackets(f"Map({len(map_entries(value))}) ", "{}", pairs, 0)
    if isinstance(value, JsSet):
        items = list(value)
        return _in_brackets(f"Set({len(items)}) ", "{}", (inspect(item, depth + 1) for item in items), 0)
    if isinstance(value, JsObject):
        if depth > DEEPEST:
            return "[Object]"
        pairs = (f"{_key(key)}: {inspect(item, depth + 1)}" for key, item in members(value).items())
        return _in_brackets("", "{}", pairs, 0)
    if isinstance(value, ArrayBuffer):
        data = value.to_bytes()
        return f"ArrayBuffer {{ [Uint8Contents]: <{data[:50].hex(' ')}>, byteLength: {len(data)} }}"
    if isinstance(value, Date):
        return str(value.toISOString())
    if isinstance(value, BaseException):
        return str(value) if isinstance(value, JsProxy) or not str(value) else f"{type(value).__name__}: {value}"
    return repr(value) if isinstance(value, dict | list | tuple | bytes) else str(value)


def _in_brackets(name: str, brackets: str, items: Iterable[str], count: int) -> str:
    shown = list(items)
    if count > MOST_ITEMS:
        left = count - MOST_ITEMS
        shown = [*shown[:MOST_ITEMS], f"... {left} more item{'s' * (left > 1)}"]
    if not shown:
        return f"{name}{brackets}"
    line = ", ".join(shown)
    if len(line) <= WIDTH and "\n" not in line:
        return f"{name}{brackets[0]} {line} {brackets[1]}"
    inner = ",\n".join(shown).replace("\n", "\n  ")
    return f"{name}{brackets[0]}\n  {inner}\n{brackets[1]}"


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    mark = "'" if "'" not in text else '"' if '"' not in text else "`"
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return f"{mark}{escaped}{mark}"


_PLACES = re.compile(r"%([sdifjoOc%])")


def formatted(values: tuple[Any, ...]) -> str:
    """The values in a row; `%s` and its like in the first take the ones after it."""
    left = list(values)
    if left and isinstance(left[0], str) and len(left) > 1:
        text = left.pop(0)
        left.insert(0, _PLACES.sub(lambda place: _filled(place[1], left), text))
    return " ".join(inspect(value) for value in left)


def _filled(kind: str, left: list[Any]) -> str:
    if kind == "%":
        return "%"
    if not left:
        return f"%{kind}"
    value = left.pop(0)
    if kind == "c":
        return ""
    if kind == "j":
        return JSON.stringify(value) or "undefined"
    if kind in "di" and not isinstance(value, str | int | float):
        return "NaN"
    if kind in "df":
        return number_text(number_of(value))
    if kind == "i":
        number = number_of(value)
        return number_text(number if number != number else int(number))
    return inspect(value, 1 if kind in "oO" and isinstance(value, str) else 0)


def rows_and_columns(value: Any) -> str | None:
    """A list of things as a table; None where it is no list."""
    rows = _entries(value)
    if rows is None:
        return None
    columns: dict[str, None] = {}
    cells: list[dict[str, str]] = []
    for index, item in rows:
        fields = _entries(item)
        row = {"(index)": index} | (
            {"Values": inspect(item, 1)} if fields is None else {name: inspect(field, 2) for name, field in fields}
        )
        columns |= dict.fromkeys(name for name in row if name != "Values")
        cells.append(row)
    names = [*(columns or {"(index)": None}), *(["Values"] if any("Values" in row for row in cells) else [])]
    wide = {name: max(len(name), *(len(row.get(name, "")) for row in cells), 0) + 2 for name in names}

    def line(row: dict[str, str]) -> str:
        return "│" + "│".join(f" {row.get(name, ''):<{wide[name] - 1}}" for name in names) + "│"

    def rule(left: str, middle: str, right: str) -> str:
        return left + middle.join("─" * wide[name] for name in names) + right

    top = [rule("┌", "┬", "┐"), line({name: name for name in names}), rule("├", "┼", "┤")]
    return "\n".join([*top, *map(line, cells), rule("└", "┴", "┘")])


def _entries(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, JsArray):
        value = items_of(value)
    elif isinstance(value, JsObject):
        value = members(value)
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    return [(str(at), item) for at, item in enumerate(value)] if isinstance(value, list | tuple) else None
