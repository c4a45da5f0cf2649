"""Completions: `text_completion` objects, one for the whole answer or one for each piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cfai.errors import AiError
from cfai.tasks.parts import Answer, Finish, Part, Text, TokenLogprob, Usage
from cfai.tasks.shapes.envelope import Envelope
from cfai.tasks.shapes.logprobs import finite
from cfai.tasks.shapes.think_tags import ThinkTags
from cfai.tasks.text_generation import TextGeneration

__all__ = ["CompletionShape"]


class CompletionShape:
    """A bare prompt brings no tools, so its answer is text only.

    Through `run`, a stream ends as that of a chat does, with the usage as an event of the classic form.
    """

    def __init__(self, request: TextGeneration, envelope: Envelope) -> None:
        self._has_logprobs = request.logprobs is not None
        self._envelope = envelope
        is_json = request.answer_schema is not None
        self._written = [_Written(ThinkTags(is_left_out=is_json)) for _ in range(request.n)]

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        return []

    def part(self, part: Part, choice: int = 0) -> list[bytes]:
        tokens = part.logprobs if isinstance(part, Text) else ()
        text = self._written[choice].tags.text(part)
        return [self._chunk(text, choice, tokens)] if text or tokens else []

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        return [self._chunk(self._written[choice].tags.close(), choice, finish_reason=finish)]

    def end(self, usage: Usage) -> list[bytes]:
        return self._envelope.end(usage)

    def failure(self, error: AiError) -> list[bytes]:
        return self._envelope.failure(error)

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        choices = [
            self._envelope.choice(
                index,
                text=self._written[index].tags.whole(answer),
                logprobs=self._logprobs(answer.logprobs, index),
                finish_reason=answer.finish,
            )
            for index, answer in enumerate(answers)
        ]
        return self._envelope.around(choices, usage=self._envelope.usage(usage))

    def _chunk(
        self, text: str, choice: int, tokens: Sequence[TokenLogprob] = (), finish_reason: Finish | None = None
    ) -> bytes:
        logprobs = self._logprobs(tokens, choice) if tokens else None
        return self._envelope.chunk(
            [self._envelope.choice(choice, text=text, logprobs=logprobs, finish_reason=finish_reason)]
        )

    def _logprobs(self, tokens: Sequence[TokenLogprob], choice: int) -> dict[str, Any] | None:
        """The form that completions had before chats: a list for each thing told, and where each token begins."""
        if not self._has_logprobs:
            return None
        written = self._written[choice]
        offsets = []
        for token in tokens:
            offsets.append(written.length)
            written.length += len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [finite(token.logprob) for token in tokens],
            "top_logprobs": [{other.text: finite(other.logprob) for other in (*token.top, token)} for token in tokens],
            "text_offset": offsets,
        }


class _Written:
    """What has been written of one choice."""

    def __init__(self, tags: ThinkTags) -> None:
        self.tags = tags
        self.length = 0
        """Of its tokens, in characters."""
