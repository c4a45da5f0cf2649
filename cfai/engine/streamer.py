"""A `TextIteratorStreamer` whose pieces are the tokenizer's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from transformers import TextIteratorStreamer

from cfai.engine.tokenizer import Tokenizer
from cfai.tasks.output_parser import overlap

if TYPE_CHECKING:
    import torch

__all__ = ["PieceStreamer"]


class PieceStreamer(TextIteratorStreamer):  # type: ignore[misc]  # transformers is not typed
    """Hands over one piece of text per token, at constant cost per token.

    transformers' own streamer decodes its whole line again for every token and gives words with the space behind them
    ("New ", "York "). This one decodes incrementally and gives "New", " York". A character made of several tokens
    comes whole with its last one; special tokens give nothing. It works as `generate(streamer=...)` too.

    deliver  called with every piece, in the thread that puts the tokens; None puts them into `text_queue`, so that
             the streamer can be iterated as its parent can
    stop     texts at which the answer ends; they are not delivered
    shown    special tokens, by their texts, that are delivered like others
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        deliver: Callable[[str], None] | None = None,
        *,
        stop: tuple[str, ...] = (),
        shown: tuple[str, ...] = (),
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True)
        self._detokenizer = tokenizer.detokenizer(shown)
        self._deliver = deliver or self.text_queue.put
        self._stop = _StopTexts(stop) if stop else None
        self._has_queue = deliver is None
        self._is_prompt = True
        self._taken = self._delivered = 0
        """Characters of all tokens, and of what was delivered."""
        self._behind: deque[tuple[int, int]] = deque()
        """Where the text of each token begins and ends that is not counted yet."""
        self.tokens_delivered = 0
        """Tokens whose text, or its beginning, was delivered. Those of a stop text never are."""

    @property
    def is_stopped(self) -> bool:
        """A stop text was met; what follows is dropped."""
        return self._stop is not None and self._stop.is_met

    def put(self, value: int | torch.Tensor) -> None:
        """Take the next token: its id, or the tensor that `generate` passes."""
        if isinstance(value, int):
            self._put(value)
            return
        if self._is_prompt:  # generate puts the whole prompt first
            self._is_prompt = False
            return
        ids: list[int] = value.flatten().tolist()
        for token in ids:
            self._put(token)

    def _put(self, token: int) -> None:
        text = self._detokenizer.put(token)
        self._behind.append((self._taken, self._taken + len(text)))
        self._taken += len(text)
        self.on_finalized_text(text)

    def end(self) -> None:
        self._is_prompt = True
        self.on_finalized_text(self._detokenizer.flush(), stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if self._stop is not None:
            text = self._stop.put(text, is_last=stream_end)
        if text:
            self._delivered += len(text)
            while self._behind and (self._behind[0][0] < self._delivered or self._behind[0][1] <= self._delivered):
                self._behind.popleft()
                self.tokens_delivered += 1
            self._deliver(text)
        if stream_end and self._has_queue:
            self.text_queue.put(self.stop_signal)


class _StopTexts:
    """Holds back what may be the beginning of a stop text until it is known not to be one."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts
        self._held = ""
        self.is_met = False

    def put(self, piece: str, *, is_last: bool) -> str:
        if self.is_met:
            return ""
        text = self._held + piece
        if found := [at for at in map(text.find, self._texts) if at >= 0]:
            self.is_met, self._held = True, ""
            return text[: min(found)]
        keep = 0 if is_last else max(overlap(text, stop) for stop in self._texts)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]
