"""A checked request, written for an OpenAI-compatible server: the endpoint and the JSON of its body."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from cfai.bindings.asked import Asked
from cfai.errors import LoraUnsupported
from cfai.tasks import text_generation
from cfai.tasks.messages import Message
from cfai.tasks.response_format import ANY_OBJECT
from cfai.tasks.text_generation import TextGeneration

__all__ = ["Endpoint", "check_fits", "endpoint_of", "request_body"]

Endpoint = str
"""`chat/completions`, or `completions` for a prompt that no chat template shall see."""

_SPARE_ESTIMATE = 2
"""The estimate of a prompt's tokens may be twice what they are: what is refused here must not fit for certain."""


def endpoint_of(asked: Asked) -> Endpoint:
    """Where the request is sent."""
    request = asked.request
    if request.raw or (request.prompt is not None and text_generation.prompt_form(asked.terms.as_of) == "raw"):
        return "completions"
    return "chat/completions"


def request_body(asked: Asked, name: str, *, choice: int = 0) -> dict[str, Any]:
    """The body for the answer number `choice` of a call, for the model that the server calls `name`.

    ```python
    request_body(asked, "llama-2-7b-chat")  # {"model": "llama-2-7b-chat", "messages": [...], "stream": True, ...}
    ```

    Always a stream, with its usage: a server notices only there that its client has left. Of what a server may not
    know, only what the caller has asked for is in it. Raises `ContextExceeded` for what cannot fit.
    """
    request = asked.request
    if request.lora is not None:
        raise LoraUnsupported(asked.model.id)
    most = check_fits(asked)
    body: dict[str, Any] = {"model": name, "stream": True, "stream_options": {"include_usage": True}}
    if endpoint_of(asked) == "completions":
        body["prompt"] = request.prompt or "".join(message.content for message in request.messages or ())
    else:
        body["messages"] = _messages(request)
        body |= _tools(request)
    if most is not None:
        body["max_tokens"] = most
    temperature = request.temperature
    body["temperature"] = text_generation.usual_temperature(asked.model) if temperature is None else temperature
    given = {
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "seed": None if request.seed is None else request.seed + choice,
        # vLLM, SGLang and cfai have the first name, llama.cpp the second.
        "repetition_penalty": request.repetition_penalty,
        "repeat_penalty": request.repetition_penalty,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "stop": [*request.stop] or None,
        "logit_bias": {str(token): bias for token, bias in (request.logit_bias or {}).items()} or None,
    }
    body |= {key: value for key, value in given.items() if value is not None}
    return {**body, **_logprobs(request, body), **_format(request), **_template(request.template_options)}


def check_fits(asked: Asked) -> int | None:
    """Tokens to make at most; None lets the server go on to the end of its window.

    Raises `ContextExceeded` for what cannot fit the limits of the model, however the server counts.
    """
    least = max(1, asked.estimated_tokens() // _SPARE_ESTIMATE)
    most = asked.max_tokens(least, capacity=sys.maxsize)
    limits = asked.limits
    default = limits.default_max_tokens_streaming if asked.request.stream else limits.default_max_tokens
    goes_on = asked.request.max_tokens is None and default is None and limits.max_output_tokens is None
    return None if goes_on else most


def _messages(request: TextGeneration) -> list[dict[str, Any]]:
    if request.prompt is not None:
        return [{"role": "user", "content": request.prompt}]
    return [_message(message) for message in request.messages or ()]


def _message(message: Message) -> dict[str, Any]:
    """The message as OpenAI has it: the arguments of a call are text, where a chat template wants them as JSON."""
    written = message.to_json()
    if message.reasoning is not None:
        written["reasoning"] = message.reasoning  # vLLM's word; that of others is there
    if message.tool_calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return written


def _tools(request: TextGeneration) -> dict[str, Any]:
    if not request.tools or request.tool_choice == "none":
        return {}
    choice: Any = request.tool_choice
    if request.forced_tool is not None:
        choice = {"type": "function", "function": {"name": request.forced_tool}}
    told: dict[str, Any] = {"tools": [tool.to_json() for tool in request.tools]}
    if choice != "auto":
        told["tool_choice"] = choice
    if not request.parallel_tool_calls:
        told["parallel_tool_calls"] = False
    return told


def _logprobs(request: TextGeneration, body: Mapping[str, Any]) -> dict[str, Any]:
    if request.logprobs is None:
        return {}
    if "prompt" in body:
        return {"logprobs": request.logprobs}
    return {"logprobs": True, "top_logprobs": request.logprobs}


def _format(request: TextGeneration) -> dict[str, Any]:
    if request.answer_schema is None:
        return {}
    if request.answer_schema == ANY_OBJECT:
        return {"response_format": {"type": "json_object"}}
    named = {"name": "answer", "schema": request.answer_schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _template(options: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    others = dict(options)
    if (effort := others.pop("reasoning_effort", None)) is not None:
        told["reasoning_effort"] = effort
    if others:
        told["chat_template_kwargs"] = others
    return told
