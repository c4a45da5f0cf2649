"""What an OpenAI-compatible server refuses, as the error that Workers AI has for it.

    status and body -> the server's own words -> AiError, which names the server and what to do

How the servers word a prompt that is too long is theirs to change; where the numbers are not found, the error is a
plain refusal with their sentence in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cfai import sse
from cfai.errors import (
    AiError,
    BadInput,
    ContextExceeded,
    EngineFailure,
    Forbidden,
    NoSuchModel,
    OutOfCapacity,
    RequestTimeout,
    RequestTooLarge,
)
from cfai.wording import shortened

__all__ = ["Server", "listed", "refusal", "words_in"]

LONGEST_WORDS = 300
"""Characters of a server's own words that an error repeats."""

_TOO_LONG = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # cfai, Cloudflare
        r"tokens \((?P<asked>\d+)\) exceeded .*?limit \((?P<limit>\d+)\)",
        # vLLM since 0.15: "This model's maximum context length is 16384 tokens. However, you requested 8192 output
        # tokens and your prompt contains at least 8193 input tokens, for a total of at least 16385 tokens"
        r"maximum context length is (?P<limit>\d+) tokens.*?total of (?:at least )?(?P<asked>\d+)",
        # vLLM, OpenAI: "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (...)"
        r"maximum context length is (?P<limit>\d+) tokens.*?(?:requested|resulted in|request has) (?P<asked>\d+)",
        # vLLM: "You passed 5001 input tokens and requested 10 output tokens. However, the model's context
        # length is only 4096 tokens"
        r"passed (?P<asked>\d+) input .*?context length is only (?P<limit>\d+)",
        # vLLM: "The decoder prompt (length 5000) is longer than the maximum model length of 4096"
        r"prompt \(length (?P<asked>\d+)\).*?maximum model length of (?P<limit>\d+)",
        # SGLang: "The input (5000 tokens) is longer than the model's context length (4096 tokens)"
        r"input \((?P<asked>\d+) tokens\) is longer than .*?\((?P<limit>\d+) tokens\)",
        # SGLang: "... maximum context length of 4096 tokens. You requested a total of 5000 tokens: ..."
        r"maximum context length of (?P<limit>\d+) tokens.*?total of (?P<asked>\d+)",
        # llama.cpp: "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it"
        r"request \((?P<asked>\d+) tokens\) exceeds .*?\((?P<limit>\d+) tokens\)",
        # llama.cpp, of embeddings: "input (3002 tokens) is too large to process. increase the physical batch size
        # (current batch size: 512)"
        r"input \((?P<asked>\d+) tokens\) is too large .*?size: (?P<limit>\d+)",
        # llama-cpp-python: "Requested tokens (5000) exceed context window of 4096"
        r"requested tokens \((?P<asked>\d+)\) exceed context window of (?P<limit>\d+)",
    )
)


@dataclass(frozen=True, slots=True)
class Server:
    """Who is spoken of, as messages may show it."""

    url: str
    """Without a user, a password or a query."""
    model: str
    """The id that was asked for."""
    name: str
    """What the server calls the model."""
    secrets: tuple[str, ...] = ()
    """What must stand in no message."""


def refusal(server: Server, status: int, body: Any, *, endpoint: str) -> AiError:
    """The error for an answer of that status; `body` is JSON or text.

    ```python
    refusal(server, 429, {"error": {"message": "busy"}}, endpoint="embeddings")  # an OutOfCapacity
    ```
    """
    words = words_in(body, server.secrets)
    said = f"{server.url}/{endpoint} answers {status}{f': {words}' if words else ''}"
    if (numbers := _numbers(words, body)) is not None:
        return ContextExceeded(*numbers, hint=said)
    if status in (401, 403):
        return Forbidden(
            f"The account is not allowed to access this model: {said}",
            hint=f"give the upstream of {server.model} the server's token: `token_env` names the variable that has it",
        )
    if _is_no_such_model(words, body) or (status == 404 and "model" in words.lower()):
        return NoSuchModel(
            server.model,
            hint=f"{said}; what it is asked for is {server.name!r}: name another as `model` of the upstream",
        )
    if status in (404, 405):
        return EngineFailure(said, hint="is that one of its endpoints? With most servers their address ends in /v1")
    if status in (408, 504):
        return AiError.of(RequestTimeout.code, RequestTimeout().description, status=RequestTimeout.status, hint=said)
    if status == 413:
        return RequestTooLarge(hint=said)
    if status in (429, 503):
        return OutOfCapacity(hint=said)
    if 400 <= status < 500:
        return BadInput(said, hint="the inputs are right for Workers AI, and the server does not take them")
    return EngineFailure(said, hint="its own log says more")


def words_in(body: Any, secrets: Iterable[str]) -> str:
    """What a body says, on one line and not long, in whichever of the usual forms of an error it is."""
    found = _words(body)
    for secret in secrets:  # before it is cut, since half a secret is one too
        found = found.replace(secret, "***")
    return shortened(re.sub(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+", " ", found).strip(), LONGEST_WORDS)


def _words(body: Any) -> str:
    if isinstance(body, Mapping):
        for name in ("error", "message", "detail", "errors"):
            if body.get(name):
                return _words(body[name])
        return sse.dumps(dict(body))[: 2 * LONGEST_WORDS]
    if isinstance(body, list):
        return "; ".join(_complaint(item) for item in body[:3])
    text = "" if body is None else str(body)
    if "<html" in text[:200].lower() or "<!doctype" in text[:200].lower():
        text = re.sub(r"<[^>]*>", " ", text[:5000])
    return text[: 4 * LONGEST_WORDS]


def _complaint(item: Any) -> str:
    """One of a list: FastAPI's servers say what is wrong and where in the body."""
    if isinstance(item, Mapping) and "msg" in item:
        place = ".".join(str(step) for step in item.get("loc") or () if step != "body")
        return f"{place}: {item['msg']}" if place else str(item["msg"])
    return _words(item)


def _numbers(words: str, body: Any) -> tuple[int, int] | None:
    """How many tokens were asked for and how many there may be, if that is what the server complains of."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        asked, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
        if isinstance(asked, int) and isinstance(limit, int):
            return asked, limit
    for pattern in _TOO_LONG:
        if found := pattern.search(words):
            return int(found["asked"]), int(found["limit"])
    return None


def _is_no_such_model(words: str, body: Any) -> bool:
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    return code in ("model_not_found", 5007) or bool(re.search(r"\bpinned to '", words))


def listed(names: Iterable[str]) -> str:
    """The names that a server has, for a message."""
    shown = [*names]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "") if shown else "none"
