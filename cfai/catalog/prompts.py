"""How the text for a model was made of a prompt or a conversation while clients did that, and not Cloudflare's servers.

`prompts.json` has the templates by name; rows say which a model had before a day. From then on it is the chat template
of the weights, for nothing is published of Cloudflare's own.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any, Literal

from cfai.catalog.model import PromptEra
from cfai.errors import BadInput

__all__ = ["PromptTemplate", "bare_form", "system_names", "system_of", "template_names", "template_of"]


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The text of each turn, with `{system}`, `{user}` and `{assistant}` where the message stands.

    ```python
    template_of("chatml").render([{"role": "user", "content": "hi"}])  # '<|im_start|>user\\nhi<|im_end|>\\n...'
    ```
    """

    user: str = ""
    assistant: str = ""
    system: str = ""
    with_system: str = ""
    """A user's turn behind a system message, where that has no turn of its own."""
    between: str = ""
    """What separates turns, but not from the system's."""
    end: str = ""
    only_last: str = ""
    """The whole text, where only the last message of the user and of the system counts."""
    no_system: str = ""
    """What stands for the system's message in it where there is none."""

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text of a conversation. Raises `BadInput` for a role that nobody had then."""
        for message in messages:
            if message["role"] not in ("system", "user", "assistant"):
                raise BadInput(f"Invalid role: {message['role']}")
        if self.only_last:
            last = {message["role"]: str(message["content"]) for message in messages}
            return _filled(self.only_last, {"user": "", "system": self.no_system, **last})
        return self._turns(messages) + self.end

    def _turns(self, messages: Sequence[Mapping[str, Any]]) -> str:
        text, before = "", None
        for message in messages:
            role, values = message["role"], {message["role"]: str(message["content"])}
            is_joined = role == "user" and before is not None and before["role"] == "system" and self.with_system
            if is_joined and before is not None:
                turn, values = self.with_system, {**values, "system": str(before["content"])}
            else:
                turn = {"system": self.system, "user": self.user, "assistant": self.assistant}[role]
            if text and before is not None and before["role"] != "system":
                text += self.between
            text += _filled(turn, values)
            before = message
        return text


def template_of(name: str) -> PromptTemplate:
    """The template of that name. Raises a KeyError for one that there is not.

    ```python
    template_of("bare").between  # ' '
    ```
    """
    return PromptTemplate(**_read()["templates"][name])


def system_of(era: PromptEra) -> str | None:
    """The system message that a bare prompt got then; None for none.

    ```python
    system_of(model.prompt_era(date(2024, 2, 1)))  # 'A chat between a curious human and ...'
    ```
    """
    return None if era.system is None else str(_read()["systems"][era.system])


def template_names() -> list[str]:
    """The names of the templates.

    ```python
    template_names()[:2]  # ['bare', 'chatml']
    ```
    """
    return [*_read()["templates"]]


def system_names() -> list[str]:
    """The names of the system messages that a bare prompt got.

    ```python
    system_names()  # ['chat', 'code']
    ```
    """
    return [*_read()["systems"]]


def bare_form(as_of: date | None = None) -> Literal["raw", "template"]:
    """How a bare `prompt` reached a model on a day: as it was, or through the template as a user's message.

    ```python
    bare_form(date(2023, 11, 14))  # 'raw'
    ```
    """
    for era in _read()["bare"]:
        if as_of is not None and as_of < date.fromisoformat(era["until"]):
            return "raw"
    return "template"


def _filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values in their places; what stands in a value is not looked at."""
    return re.sub(r"\{(system|user|assistant)\}", lambda found: values[found[1]], text)


@functools.cache
def _read() -> Mapping[str, Any]:
    read: dict[str, Any] = json.loads((resources.files("cfai.catalog") / "prompts.json").read_text("utf-8"))
    return read
