"""A binding that answers from a script: for tests, and for trying a Worker without a model."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from cfai import sse
from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.errors import AiError
from cfai.request_id import of_request
from cfai.results import ByteStream
from cfai.tasks import parts, text_generation
from cfai.tasks.shapes import Shape, shape_for

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
        headers = {"cf-ai-req-id": of_request()}
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
        if call.form != "native":
            return _in_form(call, pieces, headers)
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


def _in_form(call: Call, pieces: Sequence[str], headers: Mapping[str, str]) -> Reply:
    try:
        request = text_generation.check(call.inputs, form=call.form)
    except AiError as error:
        return Reply.from_error(error, headers)
    shape = shape_for(request, call.model, as_of=None, fidelity="clean")
    asked = [request.prompt or "", *(message.content for message in request.messages or ())]
    usage = parts.Usage(sum(len(text.split()) for text in asked), request.n * len(pieces))
    if request.stream:
        events = _shaped(shape, pieces, usage, choices=request.n)
        return Reply(ByteStream(events), headers={**headers, "content-type": EVENT_STREAM})
    answers = [parts.Answer.of(map(parts.Text, pieces), "stop")] * request.n
    return Reply(shape.whole(answers, usage), headers={**headers, "content-type": JSON})


async def _shaped(shape: Shape, pieces: Sequence[str], usage: parts.Usage, *, choices: int) -> AsyncGenerator[bytes]:
    for event in shape.begin(usage):
        yield event
    for choice in range(choices):
        for piece in pieces:
            for event in shape.part(parts.Text(piece), choice):
                yield event
        for event in shape.finish("stop", choice):
            yield event
    for event in shape.end(usage):
        yield event
