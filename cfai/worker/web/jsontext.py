"""JavaScript's `JSON`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring as in_quotes
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.arrays import JsArray, items_of
from cfai.worker.web.conversion import PyProxy, as_js, members_of
from cfai.worker.web.errors import JsSyntaxError, JsTypeError, destroyed_proxy
from cfai.worker.web.nulls import jsnull, number_text, seen
from cfai.worker.web.objects import JsObject, members
from cfai.worker.web.primitives import text_of
from cfai.worker.web.proxies import JsProxy, Shown
from cfai.worker.web.typed_arrays import TypedArray

__all__ = ["JSON"]


class JSON(Shown):
    """JavaScript's `JSON`."""

    js_name = "JSON"

    @staticmethod
    def parse(text: Any, reviver: Callable[[str, Any], Any] | None = None) -> Any:
        source = text if isinstance(text, str) else text_of(text)
        try:
            value = as_js(json.loads(source, parse_constant=_no_constant))
        except (ValueError, RecursionError) as error:
            raise JsSyntaxError(_problem_with(source, error)) from None
        if reviver is not None:
            value = _revived("", value, reviver)
        return seen(value)

    @staticmethod
    def stringify(value: Any, replacer: Any = None, indent: int | str | None = None) -> str | None:
        step = " " * min(10, indent) if isinstance(indent, int) else (indent or "")[:10]
        writer = _Writer(replacer, step)
        return writer.text("", value, "", inside_list=False)

    def __str__(self) -> str:
        return "[object JSON]"


def _no_constant(name: str) -> Any:
    raise ValueError(f"Unexpected token {name}")


def _problem_with(source: str, error: Exception) -> str:
    """V8's words for what is wrong with `source`."""
    if isinstance(error, RecursionError):
        return "Maximum call stack size exceeded"
    at = error.pos if isinstance(error, json.JSONDecodeError) else 0
    if isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated string"):
        return f"Unterminated string in JSON at position {len(source)}"
    while at < len(source) and source[at] in " \t\r\n":
        at += 1
    if not isinstance(error, json.JSONDecodeError):
        found = re.search(r"-?Infinity|NaN", source)
        at = found.start() if found else 0
    if at >= len(source):
        return "Unexpected end of JSON input"
    if source == "undefined":
        return '"undefined" is not valid JSON'
    if isinstance(error, json.JSONDecodeError):
        place = f"in JSON at position {at}"
        if error.msg.startswith("Extra data"):
            return f"Unexpected non-whitespace character after JSON at position {at}"
        if error.msg.startswith("Expecting property name"):
            before = source[: error.pos].rstrip()[-1:]
            what = "property name or '}'" if before == "{" else "double-quoted property name"
            return f"Expected {what} {place}"
        if error.msg.startswith("Expecting ':'"):
            return f"Expected ':' after property name {place}"
        if error.msg.startswith("Expecting ','"):
            inside = source[: error.pos]
            in_array = inside.rfind("[") > inside.rfind("{")
            return f"Expected ',' or '{']' if in_array else '}'}' after {_element(in_array)} {place}"
    shown = source if len(source) <= 40 else f"{'...' if at > 10 else ''}{source[max(0, at - 10) : at + 10]}..."
    return f"Unexpected token '{source[at]}', \"{shown}\" is not valid JSON"


def _element(in_array: bool) -> str:
    return "array element" if in_array else "property value"


def _revived(key: str, value: Any, reviver: Callable[[str, Any], Any]) -> Any:
    if isinstance(value, JsObject):
        for name, item in list(members(value).items()):
            members(value)[name] = _revived(name, item, reviver)
    elif isinstance(value, JsArray):
        items_of(value)[:] = [_revived(str(at), item, reviver) for at, item in enumerate(items_of(value))]
    return reviver(key, seen(value))


class _Writer:
    """Writes one value. `text` is None for what JSON leaves out, JavaScript's undefined and functions."""

    def __init__(self, replacer: Any, step: str) -> None:
        # A list or function of Python's is called too; only an Array of JavaScript's is a list of names.
        self._call = replacer if callable(replacer) and not isinstance(replacer, JsArray) else None
        self._names = [text_of(name) for name in replacer] if isinstance(replacer, JsArray) else None
        self._step = step
        self._around: set[int] = set()

    def text(self, key: str, value: Any, margin: str, *, inside_list: bool) -> str | None:
        if self._call is not None:
            value = self._call(key, seen(value))
        if (found := self._scalar(value)) is not None:
            return found
        if value is None:
            return None
        if isinstance(value, JsProxy) and not isinstance(value, PyProxy) and hasattr(value, "toJSON"):
            return self.text(key, value.toJSON(), margin, inside_list=inside_list)
        if id(value) in self._around:
            raise JsTypeError("Converting circular structure to JSON")
        self._around.add(id(value))
        try:
            return self._container(value, margin, inside_list)
        finally:
            self._around.discard(id(value))

    def _scalar(self, value: Any) -> str | None:
        if isinstance(value, str):
            quoted: str = in_quotes(value)
            if quoted.isascii():
                return quoted
            return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", quoted)
        if value is jsnull:
            return "null"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            if abs(value) >= 2**53:
                raise JsTypeError("Do not know how to serialize a BigInt")
            return str(int(value))
        if isinstance(value, float):
            return number_text(value) if math.isfinite(value) else "null"
        return None

    def _container(self, value: Any, margin: str, inside_list: bool) -> str | None:
        if isinstance(value, PyProxy):
            return self._container(value.held, margin, inside_list=False)
        if isinstance(value, JsArray):
            return self._array(items_of(value), margin, of_python=False)
        if isinstance(value, JsProxy) and not isinstance(value, TypedArray):
            return None if callable(value) else self._object(members_of(value) or {}, margin)
        if isinstance(value, TypedArray):
            return self._object({str(at): item for at, item in enumerate(value)}, margin)
        if inside_list:
            current().lenient(
                "a dict or list inside a list that is given to JavaScript without to_js",
                lambda: destroyed_proxy("when an iterator was exhausted."),
                instead=instead.AS_OBJECT,
            )
        if isinstance(value, list | tuple):
            return self._array(value, margin, of_python=True)
        if callable(value):
            return None
        if isinstance(value, Mapping) and self._is_hidden(value):
            return "{}"
        if isinstance(value, bytes | bytearray | memoryview):
            return self._array(list(bytes(value)), margin, of_python=True)
        return self._object(members_of(value) or {}, margin)

    def _is_hidden(self, value: Mapping[Any, Any]) -> bool:
        """Whether JavaScript sees no members of this dict."""
        if not value or (type(value) is dict and current().compat.sees_keys_of_dicts):
            return False
        what = "<dict>" if type(value) is dict else f"<{type(value).__name__}>"
        return current().differs(f"js.JSON.stringify({what})", "gives '{}'", instead=instead.AS_OBJECT)

    def _array(self, items: Any, margin: str, *, of_python: bool) -> str:
        inner = margin + self._step
        texts = [self.text(str(at), item, inner, inside_list=of_python) or "null" for at, item in enumerate(items)]
        return self._joined("[", texts, "]", margin, inner)

    def _object(self, found: Mapping[str, Any], margin: str) -> str:
        inner = margin + self._step
        colon = ": " if self._step else ":"
        names = found.keys() if self._names is None else [name for name in self._names if name in found]
        texts = [
            f"{in_quotes(name)}{colon}{text}"
            for name in names
            if (text := self.text(name, found[name], inner, inside_list=False)) is not None
        ]
        return self._joined("{", texts, "}", margin, inner)

    def _joined(self, start: str, texts: list[str], end: str, margin: str, inner: str) -> str:
        if not texts or not self._step:
            return f"{start}{','.join(texts)}{end}"
        return f"{start}\n{inner}" + f",\n{inner}".join(texts) + f"\n{margin}{end}"
