"""`env`: the bindings and vars of a Worker, and the AI binding as a script sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cfai.ai import Ai
from cfai.binding import Reply
from cfai.errors import AiError
from cfai.results import ByteStream
from cfai.worker.ctx import current
from cfai.worker.web.messages import Response
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.values import JSON, JsException, as_js

__all__ = ["Env", "NotSimulated", "WorkerAi", "as_js_error"]


class NotSimulated(NotImplementedError):
    """The config declares a binding that cfai does not have. No AttributeError, which `getattr(env, ..)` would hide."""


class Env:
    """Bindings and vars by name: `env.AI`, `getattr(env, "X", None)`. Its repr shows names, never values."""

    def __init__(
        self,
        bindings: Mapping[str, Any],
        variables: Mapping[str, Any] | None = None,
        not_simulated: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._not_simulated = dict(not_simulated)
        self.__dict__.update({name: as_js(value) for name, value in (variables or {}).items()})
        self.__dict__.update(bindings)

    @property
    def _env(self) -> Env:
        # Cloudflare's SDK keeps the unwrapped env under this name, and scripts reach for it.
        return self

    def __getattr__(self, name: str) -> Any:
        if kind := self.__dict__["_not_simulated"].get(name):
            raise NotSimulated(f"env.{name}: {kind} bindings are not simulated yet (docs/workers.md)")
        has = ", ".join(self._names) or "nothing"
        raise AttributeError(f"env has no {name!r} (it has: {has}); bindings and vars come from the wrangler config")

    @property
    def _names(self) -> list[str]:
        return [name for name in self.__dict__ if name != "_not_simulated"]

    def __repr__(self) -> str:
        return f"Env({', '.join(self._names)})"


class WorkerAi(Ai):
    """`env.AI`: `Ai` with JavaScript's manners.

    Inputs may be keywords (`env.AI.run(model, prompt="hi", stream=True)`), a stream is a `ReadableStream`, an error is
    a `JsException` as well as the `AiError` it is, and a stream that nobody reads ends with the request.
    """

    # Names are inputs here, so the parameters of Ai.run cannot be given by name.
    async def run(  # type: ignore[override]
        self, model: str, inputs: Any = None, options: Any = None, /, **named: Any
    ) -> Any:
        # Keywords are one trailing object: the inputs where there are none, otherwise the options.
        if named and inputs is None:
            inputs = named
        elif named:
            options = {**(options or {}), **named}
        try:
            answer = await super().run(model, inputs, options)
        except AiError as error:
            as_js_error(error)
            raise
        if isinstance(answer, Reply):
            return _raw_response(answer)
        if not isinstance(answer, ByteStream):
            return answer
        stream = ReadableStream.of(_Answer(answer))
        if (ctx := current.get(None)) is not None:
            ctx.owns(stream)
        return stream

    async def aclose(self) -> None:
        """Nothing: the binding belongs to the process, and a script's `async with Ai(env.AI)` must not end it."""


class _Answer:
    """The events of an answer, with errors that a script can catch as JavaScript's."""

    def __init__(self, events: ByteStream) -> None:
        self._events = events

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._events)
        except AiError as error:
            as_js_error(error)
            raise

    async def aclose(self) -> None:
        await self._events.aclose()


def _raw_response(reply: Reply) -> Response:
    is_stream = isinstance(reply.body, ByteStream)
    body = ReadableStream.of(_Answer(reply.body)) if is_stream else JSON.stringify(reply.body)
    return Response.new(body, {"status": reply.status, "headers": reply.headers})


class _JsAiError(AiError, JsException):
    @property
    def message(self) -> str:  # type: ignore[override]
        return AiError.__str__(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


_both: dict[type[AiError], type[AiError]] = {}


def as_js_error(error: AiError) -> None:
    """Make `error` a `JsException` too, in place: its class, traceback and notes stay what they were."""
    kind = type(error)
    if isinstance(error, JsException):
        return
    if kind not in _both:
        _both[kind] = type(kind.__name__, (_JsAiError, kind), {"__module__": kind.__module__})
    error.__class__ = _both[kind]
