"""A binding that answers from a script: for tests, and for trying a Worker without a model."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from cfai import sse
from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.errors import AiError
from cfai.results import ByteStream

__all__ = ["Answer", "FakeBinding"]

Answer = str | Sequence[str] | Mapping[str, Any] | AiError | Callable[[Call], Any]
"""What a fake says: a text, a text in pieces, a whole JSON result, an error to raise, or a function of the call."""


class FakeBinding:
    """Answer from `answers`, by model id, and remember every call.

    ```python
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": ["New", " York"]})
    stream = await Ai(fake).run("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi", "stream": True})
    assert fake.calls[0].inputs["prompt"] == "hi"
    ```

    A call for which there is no answer raises `AssertionError`, so that a test sees it.
    """

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers: dict[str, Answer] = dict(answers or {})
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        if call.model not in self.answers:
            known = ", ".join(self.answers) or "none"
            raise AssertionError(f"FakeBinding has no answer for {call.model!r} (it has: {known})")
        headers = {"cf-ai-req-id": str(uuid.uuid4())}
        answer: Any = self.answers[call.model]
        if callable(answer):
            answer = answer(call)
            if inspect.isawaitable(answer):
                answer = await answer
        if isinstance(answer, AiError):
            return Reply.from_error(answer, headers)
        if isinstance(answer, Mapping):
            return Reply(dict(answer), headers={**headers, "content-type": JSON})
        pieces = [answer] if isinstance(answer, str) else list(answer)
        if isinstance(call.inputs, Mapping) and call.inputs.get("stream"):
            return Reply(ByteStream(_events(pieces)), headers={**headers, "content-type": EVENT_STREAM})
        return Reply({"response": "".join(pieces)}, headers={**headers, "content-type": JSON})

    async def models_here(self) -> list[str]:
        """The models that there are answers for."""
        return list(self.answers)

    async def aclose(self) -> None:
        """A fake holds nothing."""


async def _events(pieces: Sequence[str]) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield sse.encode({"response": piece})
    yield sse.DONE
