"""Reasoning in forms that have no place for it: as text between tags, the way most models write it themselves."""

from __future__ import annotations

from cfai.tasks.parts import Answer, Part, Reasoning, Text

__all__ = ["ThinkTags"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Remembers whether the tag is open.

    is_left_out  for answers in JSON, which tags would break
    """

    def __init__(self, *, is_left_out: bool = False) -> None:
        self.is_open = False
        self._is_left_out = is_left_out

    def text(self, part: Part) -> str:
        """What to write for `part`: its text, and the tag that opens or closes before it."""
        if isinstance(part, Reasoning):
            if self._is_left_out:
                return ""
            opening = "" if self.is_open else _OPEN
            self.is_open = True
            return opening + part.text
        return self.close() + (part.text if isinstance(part, Text) else "")

    def close(self) -> str:
        """The closing tag, if one is due."""
        closing = _CLOSE if self.is_open else ""
        self.is_open = False
        return closing

    def whole(self, answer: Answer) -> str:
        """The text of a whole answer."""
        if self._is_left_out or not answer.reasoning:
            return answer.text
        return f"{_OPEN}{answer.reasoning}{_CLOSE}{answer.text}"
