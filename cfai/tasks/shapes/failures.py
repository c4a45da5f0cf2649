"""The last events of a stream that failed."""

from __future__ import annotations

from cfai import sse
from cfai.errors import AiError

__all__ = ["native_failure", "openai_failure"]


def native_failure(error: AiError) -> list[bytes]:
    """What ends a stream of `run` that cannot go on: `[b'data: {"response":"","errors":[...]}\\n\\n', sse.DONE]`."""
    return [sse.encode(error.to_event()), sse.DONE]


def openai_failure(error: AiError) -> list[bytes]:
    """The same at OpenAI's endpoints: `[b'data: {"error":{...},"errors":[...]}\\n\\n', sse.DONE]`."""
    return [sse.encode(error.to_openai()), sse.DONE]
