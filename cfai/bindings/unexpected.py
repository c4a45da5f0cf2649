"""What a test reads when a fake was asked something that it was not told to answer."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cfai.bindings.call_log import LoggedCall
from cfai.bindings.registered import Registered
from cfai.catalog import Model
from cfai.wording import nearest

__all__ = ["UnexpectedCall"]

LONGEST_INPUTS = 400
MOST_SHOWN = 12


class UnexpectedCall(AssertionError):
    """A call that a strict fake has no answer for, or none that a model could give.

    ```python
    with pytest.raises(UnexpectedCall):
        await Ai(FakeBinding()).run("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi"})
    ```
    """

    @classmethod
    def of(
        cls, call: LoggedCall, model: Model, number: int, reasons: Sequence[tuple[Registered, str]]
    ) -> UnexpectedCall:
        """The one about a call that nothing fits; `reasons` says of each answer why not."""
        lines = [
            "FakeBinding has no answer for this call",
            *_told("model", [f"{call.model} (call {number} of this fake{_in_form(call)})"]),
            *_told("inputs", [_shown(call.inputs)]),
            *_told("registered", _rows(reasons) or ["nothing"]),
        ]
        own = [f"{one} ({why})" for one, why in reasons if one.model == call.model]
        models = [one.model for one, _ in reasons if one.model is not None]
        if near := own[0] if own else nearest(call.model, models):
            lines += _told("nearest", [near])
        lines += _told(
            "write",
            [
                f'fake.answers["{call.model}"] = {_example(model)}',
                "or fake.strict = False for answers that are made up",
                "(of a fixture ai.answers, ai.fake.strict)",
            ],
        )
        return cls("\n".join(lines))

    @classmethod
    def of_tool(cls, call: LoggedCall, name: str, offered: Sequence[str]) -> UnexpectedCall:
        """The one about an answer that calls a tool which the call does not offer."""
        lines = [
            f"the answer of FakeBinding calls the tool {name!r}, which no model can: the call does not offer it",
            *_told("model", [call.model]),
            *_told("inputs", [_shown(call.inputs)]),
            *_told("offered", [", ".join(offered) or "no tools"]),
        ]
        if (near := nearest(name, offered)) is not None:
            lines += _told("nearest", [near])
        return cls("\n".join(lines))


def _example(model: Model) -> str:
    return '"what the model says"' if model.generates_text else "{...}  # the result, or its bytes"


def _told(what: str, rows: Sequence[str]) -> list[str]:
    return [f"  {what if index == 0 else '':<12}{row}" for index, row in enumerate(rows)]


def _rows(reasons: Sequence[tuple[Registered, str]]) -> list[str]:
    rows = [f"{one} ({why})" for one, why in reasons[:MOST_SHOWN]]
    more = len(reasons) - len(rows)
    return [*rows, f"and {more} more"] if more else rows


def _in_form(call: LoggedCall) -> str:
    return "" if call.form == "native" else f", in the form {call.form}"


def _shown(inputs: object) -> str:
    try:
        text = json.dumps(inputs, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(inputs)
    return text if len(text) <= LONGEST_INPUTS else f"{text[:LONGEST_INPUTS]}... ({len(text)} characters)"
