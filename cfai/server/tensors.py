"""The binding protocol of 2023: tensors in, tensors out, as npm's `@cloudflare/ai` up to 1.0.53 speaks it.

    {"input": [{"type": "str", "shape": [1], "name": "INPUT_0", "value": ["<prompt>"]}, ...], "stream": true}
    {"result": [{"type": "str", "shape": [1], "name": "name", "value": ["New"]}]}

The package knew the models: it put the messages into the model's template, so that a prompt arrives as the model reads
it, filled in `max_tokens`, and wrote every event anew for its caller. How a model took its tensors said which program
ran it: Triton (`INPUT_0`, `INPUT_1`), text-generation-inference (the same, and another name for the answer) or vLLM
(`text_input`, `sampling_parameters`), whose answers begin with the prompt.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cfai import sse
from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.errors import BadInput, IncompleteRequest, InvalidData, RequestTooLarge
from cfai.results import ByteSource, ByteStream
from cfai.server.body import MAX_BODY, parse_json

__all__ = ["TensorRun", "gunzipped", "messages_in"]

_GZIP = 16 + zlib.MAX_WBITS


def gunzipped(body: bytes) -> bytes:
    """The body without its compression, if it has one; `RequestTooLarge` where it grows beyond what a body may have."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise IncompleteRequest(f"body is not gzip: {error}") from None
    if inflater.unconsumed_tail:
        raise RequestTooLarge(f"the body may have {MAX_BODY} bytes")
    if not inflater.eof:
        raise IncompleteRequest("body: its gzip data stop in the middle")
    return plain


@dataclass(frozen=True, slots=True)
class TensorRun:
    """One run of the tensor protocol: the call that it means, and its reply in tensors."""

    call: Call
    answer_name: str
    """What the tensor of the answer is called."""
    echoed: str = ""
    """What the answer begins with: the prompt, where vLLM answered."""

    @classmethod
    def read(cls, model: str, body: bytes, headers: Mapping[str, str]) -> TensorRun:
        """The run that a request body, compressed or not, asks of `model`; raises what is wrong with it."""
        given = parse_json(gunzipped(body))
        tensors = given.get("input") if isinstance(given, dict) else None
        if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
            raise IncompleteRequest("input", hint="without ?version=3 a run has tensors")
        values = {str(tensor.get("name")): _value(tensor) for tensor in tensors}
        is_vllm = "text_input" in values
        if not is_vllm and "INPUT_0" not in values:
            raise BadInput(f"the tensors of {model} are not those of text generation: {', '.join(values) or 'none'}")
        prompt = values["text_input" if is_vllm else "INPUT_0"]
        messages = messages_in(prompt) if isinstance(prompt, str) else None
        inputs: dict[str, Any] = {"messages": messages} if messages else {"prompt": prompt, "raw": True}
        inputs |= _sampling(values["sampling_parameters"]) if "sampling_parameters" in values else {}
        if "INPUT_1" in values:
            inputs["max_tokens"] = values["INPUT_1"]
        if given.get("stream") or values.get("stream"):
            inputs["stream"] = True
        answer_name = "generated_text" if model.startswith("@hf/") and not is_vllm else "name"
        return cls(Call(model, inputs, {}, headers), answer_name, str(prompt) if is_vllm else "")

    def written(self, reply: Reply) -> Reply:
        """The reply in tensors; a refusal stays as it is."""
        if reply.error:
            return reply
        kind = reply.headers.get("content-type", "")
        if kind == JSON and isinstance(reply.body, Mapping):
            return Reply(self._tensors(self.echoed + str(reply.body.get("response", ""))), reply.status, reply.headers)
        if kind.startswith(EVENT_STREAM) and isinstance(reply.body, ByteStream):
            return Reply(ByteStream(_TensorEvents(reply.body, self)), reply.status, reply.headers)
        return reply

    def event(self, event: bytes, *, is_first: bool) -> bytes | None:
        """One event of a stream in tensors; None for one that this protocol does not have."""
        data = sse.Decoder().feed(event)
        if not data:
            return event  # a comment
        body = sse.loads(data[0])
        if not isinstance(body, dict) or "errors" in body:
            return event
        if "usage" in body and not body.get("response"):
            return None  # the package would print it as a piece
        return sse.encode(self._tensors((self.echoed if is_first else "") + str(body.get("response", ""))))

    def _tensors(self, text: str) -> dict[str, Any]:
        return {"result": [{"type": "str", "shape": [1], "name": self.answer_name, "value": [text]}]}


class _TensorEvents:
    def __init__(self, events: ByteSource, run: TensorRun) -> None:
        self._events = events
        self._run = run
        self._is_first = True

    async def __anext__(self) -> bytes:
        while True:
            event = await self._events.__anext__()
            written = self._run.event(event, is_first=self._is_first)
            if written is not None:
                self._is_first = self._is_first and event.startswith(b":")
                return written

    async def aclose(self) -> None:
        await self._events.aclose()


_LLAMA_2_TURN = re.compile(
    r"(?:<s>)?\[INST\] (?:<<SYS>>\n(?P<system>.*?)\n<</SYS>>\n\n)?(?P<user>.*?) \[/INST\](?: (?P<assistant>.*?)</s>)?",
    re.DOTALL,
)


def messages_in(prompt: str) -> list[dict[str, str]] | None:
    """The messages of a prompt that is in Llama 2's template; None for any other.

    The package wrote that template for models which other weights may stand in for here, with templates of their own.
    """
    messages: list[dict[str, str]] = []
    at = 0
    while turn := _LLAMA_2_TURN.match(prompt, at):
        messages += [{"role": role, "content": text} for role, text in turn.groupdict().items() if text is not None]
        at = turn.end()
    is_whole = at == len(prompt) and bool(messages) and messages[-1]["role"] == "user"
    return messages if is_whole else None


def _value(tensor: Mapping[str, Any]) -> Any:
    """The one value of a tensor of shape [1] or []."""
    if "b64Value" in tensor:
        raise InvalidData(str(tensor.get("type")))
    value = tensor.get("value")
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _sampling(text: Any) -> dict[str, Any]:
    try:
        sampling = json.loads(text)
    except (TypeError, ValueError):
        sampling = None
    if not isinstance(sampling, dict):
        raise BadInput("the tensor sampling_parameters is not the text of a JSON object")
    return sampling
