"""A stream among the inputs of `env.AI.run`: audio, or a form, as the request brings it.

    await env.AI.run("@cf/deepgram/nova-3", {"audio": {"body": request.body, "contentType": "audio/mpeg"}})

workerd sends it as the body of its request, so there may be one, it needs a type, and a gateway takes none.
https://github.com/cloudflare/workerd/blob/main/src/cloudflare/internal/ai-api.ts
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai.worker.web.errors import JsException
from cfai.worker.web.forms import FormData
from cfai.worker.web.messages import Response
from cfai.worker.web.streams import ReadableStream

__all__ = ["with_stream_read"]


async def with_stream_read(inputs: Any, options: Mapping[str, Any]) -> Any:
    """The inputs with the bytes of the stream in its place, if there is one."""
    names = [name for name, value in inputs.items() if _is_stream(value)] if isinstance(inputs, dict) else []
    if not names:
        return inputs
    if len(names) > 1:
        found = ", ".join(names)
        raise _refused(f"Multiple ReadableStreams are not supported. Found streams in keys: [{found}]")
    (name,) = names
    given = inputs[name] if isinstance(inputs[name], dict) else {}
    if isinstance(gateway := options.get("gateway"), Mapping) and gateway.get("id"):
        raise _refused("AI Gateway does not support ReadableStreams yet.")
    if not given.get("contentType"):
        raise _refused("Content-Type is required with ReadableStream inputs")
    message = Response.new(given["body"])
    content_type = given["contentType"]
    if isinstance(given["body"], FormData):  # whose boundary nobody else knows
        content_type = message.headers.get("content-type")
    return {**inputs, name: {"body": await message.read(), "contentType": content_type}}


def _is_stream(value: Any) -> bool:
    return isinstance(value.get("body") if isinstance(value, dict) else value, ReadableStream | FormData)


def _refused(message: str) -> JsException:
    return JsException(message, "AiInternalError")
