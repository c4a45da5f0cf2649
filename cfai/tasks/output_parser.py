"""Tool calls and thinking, told from the text of an answer as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from cfai.tasks.call_readers import READERS, MessageReader, Reader, Said
from cfai.tasks.parts import CallArguments, CallStart, Part, Reasoning, Text, TokenLogprob
from cfai.tasks.tool_formats import CHANNEL_MARKS, THINK, THINK_END, Thinking, ToolFormat, ToolLike

__all__ = ["OutputParser", "overlap"]


class OutputParser:
    """Pieces of an answer to parts, as they come.

    ```python
    parser = OutputParser(tool_format(template), tools=request.tools)
    parser.put("It is ")  # [Text("It is ")]
    ```

    Text passes piece by piece, unchanged and at once, unless it may begin a marker: then it waits until that is clear.
    A call whose JSON breaks off or has no name that the caller knows is text like any other, if nothing of it was told.

    form      None reads no calls out of the text
    tools     the tools that may be called; None lets every name pass
    thinking  see `Thinking`
    """

    def __init__(
        self, form: ToolFormat | None, *, tools: Iterable[ToolLike] | None = None, thinking: Thinking = "off"
    ) -> None:
        self._format = form
        self._schemas = None if tools is None else {tool.name: tool.parameters for tool in tools}
        self._held = _Held()
        self._thinking = thinking
        self._calls = 0
        self._reader: Reader | None = None
        """Of the call that is being read."""
        self._read = 0
        """Characters of what is held that the reader has seen."""
        self._state: Literal["begin", "text", "think", "calls", "header", "hidden"] = "begin"
        """Where it is: before the first word; in text; in thinking; behind a call, or a list's bracket; in the line
        that says what a channel is; in a channel that nobody reads."""
        if thinking == "open":
            self._state = "think"

    def put(self, piece: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Part]:
        """The parts that a piece completes; `logprobs` are of the tokens that ended with it, and stay with its text."""
        self._held.append(piece, logprobs)
        return self._advance(is_last=False)

    def end(self) -> list[Part]:
        """What is left when no piece follows."""
        parts = self._advance(is_last=True)
        if self._reader is not None and self._reader.has_begun:
            parts += self._of_call(self._reader.end())
            self._held.clear()
        self._reader = None
        if self._state == "header" or (self._state == "calls" and not self._held.text.strip()):
            self._held.clear()
        return [*parts, *self._released(len(self._held.text))]

    def _advance(self, *, is_last: bool) -> list[Part]:
        parts: list[Part] = []
        while True:
            before = (self._state, self._reader, len(self._held.text), self._read)
            parts += self._read_call() if self._reader is not None else self._STEPS[self._state](self, is_last)
            if before == (self._state, self._reader, len(self._held.text), self._read):
                return parts

    # text and thinking

    def _begin(self, is_last: bool) -> list[Part]:
        """Before the first word: thinking, a bare call, or text."""
        text = self._held.text
        word = text.lstrip()
        marks = [THINK] if self._thinking != "off" else []
        is_bare = self._format is not None and self._format.kind == "bare"
        if any(word.startswith(mark) for mark in marks):
            self._held.take(len(text) - len(word) + len(THINK))
            self._state = "think"
        elif is_bare and word.startswith("{"):
            self._held.skip = len(text) - len(word)
            self._open()
        elif word or is_last:
            if not any(mark.startswith(word) for mark in marks) or is_last:
                self._state = "text"
        elif text and not (marks or is_bare):
            self._state = "text"
        return []

    def _text(self, is_last: bool) -> list[Part]:
        found, at, mark = self._held.find(self._markers, is_last=is_last)
        parts = self._released(at)
        if found:
            self._meet(mark)
        return parts

    @property
    def _markers(self) -> tuple[str, ...]:
        if self._format is None:
            return ()
        if self._format.kind == "channels":
            return CHANNEL_MARKS
        return ("<|python_tag|>",) if self._format.kind == "bare" else (self._format.begin,)

    def _meet(self, mark: str) -> None:
        """What is held begins with a marker."""
        if self._format is not None and self._format.kind == "channels":
            self._held.take(len(mark))
            self._state = "header" if mark in ("<|start|>", "<|channel|>") else "hidden"
        else:
            self._held.skip = len(mark)
            self._open()

    def _think(self, is_last: bool) -> list[Part]:
        marks = CHANNEL_MARKS if self._format is not None and self._format.kind == "channels" else (THINK_END,)
        found, at, mark = self._held.find(marks, is_last=is_last)
        parts: list[Part] = [Reasoning(piece) for piece, _ in self._held.take(at) if piece]
        if not found:
            return parts
        if mark in CHANNEL_MARKS:
            self._meet(mark)
        else:
            self._held.take(len(THINK_END))
            self._state = "calls"  # white space before the answer is not part of it, nor of the thinking
        return parts

    # calls

    def _open(self) -> None:
        """A call begins behind the marker that is held."""
        assert self._format is not None
        self._reader = READERS[self._format.kind](self._format, self._schemas)
        self._read = self._held.skip

    def _read_call(self) -> list[Part]:
        reader = self._reader
        assert reader is not None
        text = self._held.text
        said: Said = []
        while self._read < len(text) and not (reader.is_over or reader.is_broken):
            said += reader.put(text[self._read])
            self._read += 1
        if reader.is_broken and not reader.has_begun:
            self._reader, self._state = None, "text"
            # The first character is the marker's own: what stands behind it may hold another call.
            return self._released(max(self._held.skip, 1))
        if reader.is_over or reader.is_broken:
            said += reader.end()
        parts = self._of_call(said)
        if reader.is_over or reader.is_broken:
            self._held.take(self._read)
            self._calls += 1
            self._reader, self._state = None, "calls"
        return parts

    def _of_call(self, said: Iterable[tuple[Literal["name", "arguments"], str]]) -> list[Part]:
        assert self._format is not None
        parts: list[Part] = []
        for kind, text in said:
            if kind == "name":
                parts.append(CallStart(self._calls, self._format.new_id(), text))
            elif parts and isinstance(last := parts[-1], CallArguments):
                parts[-1] = CallArguments(self._calls, last.text + text)
            else:
                parts.append(CallArguments(self._calls, text))
        return parts

    def _between(self, is_last: bool) -> list[Part]:
        """Behind a call or behind thinking: white space, an end marker, the next call, or text."""
        text = self._held.text
        word = text.lstrip()
        if not word:
            return []
        ends: list[str] = []
        if self._format is not None and self._calls:
            ends = ["]"] if self._format.kind == "list" else []
            ends += [self._format.end] if self._format.end else []
        for end in ends:
            if word.startswith(end):
                self._held.take(len(text) - len(word) + len(end))
                return []
        kind = self._format.kind if self._format is not None else None
        if self._calls and ((kind == "list" and word[0] == ",") or (kind == "bare" and word[0] == ";")):
            self._held.skip = len(text) - len(word) + 1
            self._open()
        elif any(end.startswith(word) for end in ends) and not is_last:
            return []
        elif kind == "bare" and word.startswith("{"):
            self._held.skip = len(text) - len(word)
            self._open()
        else:
            begins = kind is not None and word.startswith(self._markers)
            if begins or not self._calls:
                self._held.take(len(text) - len(word))
            elif any(mark.startswith(word) for mark in self._markers) and not is_last:
                return []
            self._state = "text"
        return []

    # channels

    def _header(self, is_last: bool) -> list[Part]:
        """`<|channel|>commentary to=functions.add <|constrain|>json<|message|>`, up to the message."""
        text = self._held.text
        at = text.find("<|message|>")
        if at < 0:
            return []
        recipient = re.search(r"to=(?:functions\.)?([\w.-]+)", text[:at])
        names = self._schemas
        if recipient is not None and (names is None or recipient[1] in names):
            self._held.take(at + len("<|message|>"))
            self._reader, self._read = MessageReader(recipient[1]), 0
        else:
            channel = re.search(r"analysis|commentary|final", text[:at])
            self._held.take(at + len("<|message|>"))
            self._state = "think" if channel is not None and channel[0] == "analysis" else "text"
        return []

    def _hidden(self, is_last: bool) -> list[Part]:
        """Behind an end marker, where only another beginning is looked for."""
        self._state = "text"
        return []

    def _released(self, count: int) -> list[Part]:
        held = self._held.take(count)
        if self._state == "think":
            return [Reasoning(piece) for piece, _ in held if piece]
        return [Text(piece, logprobs) for piece, logprobs in held if piece or logprobs]

    _STEPS = {  # noqa: RUF012  # the methods are not made before the class is
        "begin": _begin,
        "text": _text,
        "think": _think,
        "calls": _between,
        "header": _header,
        "hidden": _hidden,
    }


class _Held:
    """Pieces that wait, and their text."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, tuple[TokenLogprob, ...]]] = []
        self.text = ""
        self.skip = 0
        """Characters of a marker, before the call that is being read."""

    def append(self, piece: str, logprobs: tuple[TokenLogprob, ...]) -> None:
        self._pieces.append((piece, logprobs))
        self.text += piece

    def find(self, marks: Sequence[str], *, is_last: bool) -> tuple[bool, int, str]:
        """Whether a marker stands here whole, where the first one begins or may begin, and which it is."""
        found = [(at, mark) for mark in marks if (at := self.text.find(mark)) >= 0]
        if found:
            at, mark = min(found)
            return True, at, mark
        keep = 0 if is_last else max((overlap(self.text, mark) for mark in marks), default=0)
        return False, len(self.text) - keep, ""

    def take(self, count: int) -> list[tuple[str, tuple[TokenLogprob, ...]]]:
        """The pieces of the first `count` characters; the one that goes on behind them is cut."""
        taken: list[tuple[str, tuple[TokenLogprob, ...]]] = []
        self.text = self.text[count:]
        while self._pieces and (count > 0 or not self._pieces[0][0]):
            piece, logprobs = self._pieces[0]
            if len(piece) > count:
                self._pieces[0] = (piece[count:], logprobs)
                taken.append((piece[:count], ()))
                break
            taken.append(self._pieces.pop(0))
            count -= len(piece)
        return taken

    def clear(self) -> None:
        self.take(len(self.text))


def overlap(text: str, mark: str) -> int:
    """The length of the longest end of `text` that begins `mark`."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
