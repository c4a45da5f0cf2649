"""What to write in place of what only cfai takes: the words of the notes, of refusals, and of `cfai doctor`."""

from __future__ import annotations

__all__ = [
    "AS_OBJECT",
    "AS_PAIRS",
    "CREATE_PROXY",
    "GIVEN_AS_OBJECT",
    "IN_A_HANDLER",
    "TO_JS",
    "a_dict_of",
    "a_text_of",
    "as_it_is",
    "for_ai",
    "member_of",
    "of_self",
    "with_new",
]

AS_OBJECT = "to_js({...}, dict_converter=Object.fromEntries)"
GIVEN_AS_OBJECT = f"{AS_OBJECT}, or keywords: (..., name=value)"
AS_PAIRS = "Headers.new({...}.items())"
TO_JS = "to_js(...) around it"
CREATE_PROXY = "create_proxy(...) around it"
IN_A_HANDLER = "call it in a handler"


def a_dict_of(name: str) -> str:
    return f"{name}.to_py() makes a dict of it"


def a_text_of(name: str) -> str:
    return f"json.dumps({name}.to_py()), or js.JSON.stringify({name})"


def as_it_is(name: str) -> str:
    return f"use {name} as it is"


def for_ai(binding: str) -> str:
    return f"{AS_OBJECT}, or {binding}.run(model, prompt=...)"


def with_new(name: str) -> str:
    return f"{name}.new(...)"


def member_of(name: str, member: str) -> str:
    return f'{name}.{member}, or getattr({name}, "{member}", None)'


def of_self(name: str, member: str) -> str:
    return f"write self.{name}.{member}"
