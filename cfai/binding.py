"""The seam: a `Call` goes in, a `Reply` comes out.

Everything that answers an AI request is a `Binding` (the local runtime, an HTTP server, the fake); everything that
asks (`Ai`, the server's routes) holds one. Neither side knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from cfai.cost import Cost
from cfai.errors import AiError
from cfai.results import ByteStream

__all__ = [
    "ENDPOINTS",
    "EVENT_STREAM",
    "JSON",
    "Binding",
    "Call",
    "Form",
    "Listing",
    "Reply",
    "Searchable",
    "Stats",
    "Warmable",
]

# env.AI compares the content type of a JSON reply with ===, so there is no charset behind it.
# https://github.com/cloudflare/workerd/blob/main/src/cloudflare/internal/ai-api.ts
JSON = "application/json"
EVENT_STREAM = "text/event-stream"


Form = Literal["native", "chat", "completion", "responses"]
"""How a call is written and wants to be answered: as `run` has it, or as one of OpenAI's endpoints, `chat/completions`,
`completions` and `responses`."""

ENDPOINTS: Mapping[Form, str] = {"chat": "chat/completions", "completion": "completions", "responses": "responses"}
"""Where OpenAI's clients send a call of each form, behind `/v1/`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the model's id, its inputs, the options of the run, and headers to send along."""

    model: str
    inputs: Any
    """A JSON value, in which bytes may stand for an array of numbers. Anything may arrive here; the binding checks it
    and answers 5006 when it does not fit."""
    options: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Form = "native"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: an HTTP status, headers in lower case, and a JSON value or a stream of bytes."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cost: Callable[[], Cost] | None = field(default=None, compare=False, repr=False)
    """What the answer has cost so far, where the binding counts itself; else the body tells, at its end."""

    @classmethod
    def from_error(cls, error: AiError, headers: Mapping[str, str] | None = None) -> Reply:
        """The reply that describes `error`, as the inference service sends it to the binding."""
        return cls(error.to_body(), error.status, {**(headers or {}), "content-type": JSON})

    @property
    def error(self) -> AiError | None:
        """The error that the reply describes, if it does."""
        return None if 200 <= self.status < 300 else AiError.from_body(self.body, self.status)

    async def aclose(self) -> None:
        if isinstance(self.body, ByteStream):
            await self.body.aclose()


@runtime_checkable
class Binding(Protocol):
    """Whatever answers AI requests.

    `send` raises no `AiError` but a `ConnectionDropped`: a refusal is a reply with a status and a body. Cancelling it
    stops the work.
    """

    async def send(self, call: Call) -> Reply: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Stats(Protocol):
    """A binding that can say what it is doing, for `/health` and `cfai ps`."""

    def stats(self) -> dict[str, Any]: ...


@runtime_checkable
class Listing(Protocol):
    """A binding that can say which models it answers for, for `/v1/models` and the playground."""

    async def models_here(self) -> list[str]: ...


@runtime_checkable
class Searchable(Protocol):
    """A binding that can search the catalog, for `env.AI.models()`."""

    async def search_models(self, query: Mapping[str, str]) -> list[dict[str, Any]]: ...


@runtime_checkable
class Warmable(Protocol):
    """A binding that can do what takes seconds before the first answer is asked for."""

    async def warm_up(self) -> Any: ...
