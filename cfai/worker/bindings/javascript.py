"""Between a script and a binding: how arguments arrive there, and how results look, by the generation of the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai.worker.compat import current
from cfai.worker.web.conversion import as_plain
from cfai.worker.web.dicts import as_dict
from cfai.worker.web.nulls import number_text
from cfai.worker.web.values import JsObject, JsProxy, as_js, jsnull

__all__ = ["BindingObject", "as_json", "as_result", "as_text", "as_well_formed", "null", "with_keywords"]


class BindingObject(JsProxy):
    """A binding, or what one of its methods returns to be asked further."""

    __slots__ = ()


def with_keywords(args: tuple[Any, ...], keywords: Mapping[str, Any], count: int) -> list[Any]:
    """The `count` arguments of a call, keywords being one trailing object; None where there is none."""
    given = [*args, JsObject(keywords)] if keywords else [*args]
    return [*given, *[None] * (count - len(given))][:count]


def as_text(value: Any) -> str:
    """What JavaScript makes of `value` where it wants a string."""
    if isinstance(value, str):
        return as_well_formed(value)
    if value is None:
        # The external SDK turns None into null on the way to JavaScript, Pyodide alone into undefined.
        return "null" if current().compat.has_external_sdk else "undefined"
    if value is jsnull:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    return as_well_formed(str(value))


def as_json(value: Any) -> Any:
    """The JSON value that an argument is on Cloudflare: of None, the external SDK makes null, Pyodide undefined."""
    return as_plain(as_js(value) if current().compat.has_external_sdk else value)


def as_well_formed(text: str) -> str:
    """`text` with U+FFFD in the place of half a surrogate pair."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def null() -> Any:
    """JavaScript's null as the script sees it."""
    compat = current().compat
    return jsnull if compat.has_jsnull and not compat.has_external_sdk else None


def as_result(value: Any) -> Any:
    """A JSON value as a binding returns it to the script."""
    return as_dict(value) if current().compat.has_external_sdk else as_js(value)
