"""OpenAI's endpoint for embeddings, over the models that make them: `text` in, `data` out, written as OpenAI does.

    {"model", "input": "a text" | ["some", "texts"], "encoding_format": "float" | "base64", "dimensions": 256}

The SDKs ask for base64, which is the bytes of little-endian floats of 32 bits, and read nothing else then.
https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from cfai.binding import JSON, Binding, Call, Reply
from cfai.bindings.faults.asked import AskedFaults, with_faults
from cfai.catalog import Catalog, catalog_of
from cfai.errors import AiError, BadInput, EngineFailure, InvalidModelName, NoSuchModel
from cfai.server.body import read_json
from cfai.server.exchange import respond, send_reply
from cfai.server.openai import model_in, openai_error, rendered
from cfai.server.rest import options_of, passed_headers
from cfai.tasks import fields
from cfai.tasks.words import tokens_in

__all__ = ["Embeddings"]

_TASK = "Text Embeddings"
_FORMATS = ("float", "base64")


class Embeddings:
    """The endpoint for embeddings over `binding`; an ASGI endpoint."""

    def __init__(self, binding: Binding, faults: AskedFaults | None = None) -> None:
        self._binding = binding
        self._catalog = catalog_of(binding)
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = _Asked.read(await read_json(receive), self._catalog)
            call = Call(asked.model, {"text": asked.texts}, options_of(scope), passed_headers(scope))
        except AiError as error:
            await send_reply(openai_error(error), send)
            return
        answer = with_faults(self._faults, self._binding.send)
        await respond(lambda: answer(call), receive, send, render=asked.written)


@dataclass(frozen=True, slots=True)
class _Asked:
    model: str
    texts: list[str]
    format: str
    dimensions: int | None

    @classmethod
    def read(cls, body: Any, catalog: Catalog) -> _Asked:
        model = model_in(body)
        _check_task(model, catalog)
        given = body.get("input")
        if given is None:
            fields.missing("/", "input")
        texts = [given] if isinstance(given, str) else list(fields.array(given, "/input"))
        if not all(isinstance(text, str) for text in texts):
            raise BadInput("'/input' must be a text or texts, not tokens", hint="tokens of one model mean nothing here")
        encoding = body.get("encoding_format") or "float"
        if encoding not in _FORMATS:
            raise BadInput(f"enum {str(encoding)[:40]} not in {','.join(_FORMATS)} at '/encoding_format'")
        dimensions = body.get("dimensions")
        if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool)):
            fields.mismatch(dimensions, "/dimensions", "integer")
        if dimensions is not None and dimensions < 1:
            raise BadInput("'/dimensions' must be >= 1")
        return cls(model, texts, encoding, dimensions)

    def written(self, reply: Reply) -> Reply:
        """The reply as OpenAI writes it, with its error for both kinds of client."""
        if reply.error is not None:
            return rendered(reply)
        try:
            rows = [self._row(at, vector) for at, vector in enumerate(_vectors(reply.body))]
        except AiError as error:
            return openai_error(error)
        tokens = tokens_in(*self.texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        body = {"object": "list", "data": rows, "model": self.model, "usage": usage}
        return Reply(body, reply.status, {**reply.headers, "content-type": JSON})

    def _row(self, index: int, vector: Sequence[float]) -> dict[str, Any]:
        if self.dimensions is not None:
            if self.dimensions > len(vector):
                raise BadInput(f"'/dimensions' must be <= {len(vector)}", hint="the model's vectors are no longer")
            vector = _shortened(vector, self.dimensions)
        shown: Any = list(vector)
        if self.format == "base64":
            shown = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        return {"object": "embedding", "index": index, "embedding": shown}


def _check_task(name: str, catalog: Catalog) -> None:
    try:
        model = catalog.get(name)
    except (NoSuchModel, InvalidModelName):
        return  # whoever answers may know it
    if model.task != _TASK:
        raise NoSuchModel(name, hint=f"its task is {model.task}, and this endpoint is for {_TASK}")


def _vectors(body: Any) -> list[Sequence[float]]:
    data = body.get("data") if isinstance(body, Mapping) else None
    is_vectors = isinstance(data, list) and all(isinstance(vector, list | tuple) for vector in data)
    if not is_vectors:
        raise EngineFailure("the answer has no vectors", hint='an answer is {"shape": [1, 768], "data": [[0.1, ...]]}')
    return list(data or ())


def _shortened(vector: Sequence[float], dimensions: int) -> list[float]:
    """The first numbers of a vector, brought to length 1 again, as OpenAI and the models that are made for it do."""
    first = vector[:dimensions]
    length = math.hypot(*first) or 1.0
    return [number / length for number in first]
