"""`env.AI`: `cfai.Ai` with the manners that the AI binding has in Python, generation by generation."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from cfai.ai import Ai
from cfai.binding import Reply
from cfai.errors import AiError, BadInput
from cfai.results import ByteStream
from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.ctx import current as current_context
from cfai.worker.stream_inputs import with_stream_read
from cfai.worker.web.conversion import PyProxy
from cfai.worker.web.dicts import as_dict
from cfai.worker.web.errors import destroyed_proxy
from cfai.worker.web.messages import Response
from cfai.worker.web.promises import Promise
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.values import (
    JSON,
    JsException,
    JsObject,
    JsProxy,
    as_js,
    as_plain,
    jsnull,
    members_of,
    options_of,
    seen,
)

__all__ = ["WorkerAi", "as_js_error"]


class WorkerAi(Ai):
    """`env.AI`.

    `run` begins at once and returns a promise. Inputs may be a dict, a `to_js` object or keywords; a stream is a
    `ReadableStream` of the bytes that come, also where they end without `[DONE]` or in an error event; an error is a
    `JsException` as well as the `AiError` it is, and a stream that nobody reads ends with the request. Results are
    proxies, or, `wrapped` as the external SDK does it, dicts with attributes.
    """

    _is_wrapped = False

    def _checked(self, body: ByteStream) -> ByteStream:
        return body

    def wrapped(self) -> WorkerAi:
        """This binding as the external SDK's `env` has it."""
        made = _WrappedAi(self._binding)
        made.__dict__ = self.__dict__  # one binding for JavaScript, which remembers one last request
        return made

    # Names are inputs here, so the parameters of Ai.run cannot be given by name.
    def run(  # type: ignore[override]
        self, model: str, inputs: Any = None, options: Any = None, /, **named: Any
    ) -> Any:
        # Keywords are one trailing object: the inputs where there are none, otherwise the options.
        if named and inputs is None:
            inputs = JsObject(named)
        elif named:
            options = JsObject({**options_of(options), **named})
        given = options_of(options)
        if given.get("websocket"):
            raise NotImplementedError("env.AI.run(..., websocket=True): models over a WebSocket are not simulated")
        signal = given.pop("signal", None)
        call = (model, self._inputs(inputs), as_plain(given))
        return self._begin(self._converted(*call), signal)

    def models(self, query: Any = None, /, **named: Any) -> Any:
        """The models of the catalog, as `models/search` lists them."""
        wanted = as_plain({**options_of(query), **named})
        return self._begin(self._listed(wanted), None)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name, name=name)

    @property
    def aiGatewayLogId(self) -> Any:  # noqa: N802  # JavaScript's spelling
        found = self.ai_gateway_log_id
        return seen(jsnull) if found is None and not self._is_wrapped else found

    async def _listed(self, query: Mapping[str, Any]) -> Any:
        try:
            return self._given(await super()._models(query))
        except AiError as error:
            as_js_error(error)
            raise

    def _begin(self, work: Coroutine[Any, Any, Any], signal: Any) -> Any:
        if (ctx := current_context.get(None)) is None:
            work.close()
            raise JsException(_NOT_IN_GLOBAL_SCOPE)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return work  # a thread of a framework, where run_sync takes a coroutine
        kind = _Wrapped if self._is_wrapped else _Answer
        promise = kind.of(work)
        if promise._task is not None:
            ctx.keep(promise._task)
        if signal is not None:
            _obey(signal, promise)
        # One that nobody awaits ends with the request; that is no mistake, and so is its failure.
        return promise.mark_handled()

    async def _converted(self, model: str, inputs: Any, options: dict[str, Any]) -> Any:
        answer = await self._answer(model, await with_stream_read(inputs, options), options)
        if isinstance(answer, Reply):
            return self._given(_raw_response(answer))
        return answer if isinstance(answer, ReadableStream) else self._given(answer)

    def _given(self, value: Any) -> Any:
        if isinstance(value, Response):
            from cfai.worker.sdk import Response as SdkResponse

            return SdkResponse(value) if self._is_wrapped else value
        return as_dict(value) if self._is_wrapped else as_js(value)

    async def _answer(self, model: str, inputs: Any, options: Mapping[str, Any] | None) -> Any:
        """What `cfai.Ai` gives, errors and streams as scripts know them."""
        try:
            answer = await super()._answer(model, inputs, options)
        except AiError as error:
            as_js_error(error)
            raise
        if not isinstance(answer, ByteStream):
            return answer
        stream = ReadableStream.of(_Events(answer))
        if (ctx := current_context.get(None)) is not None:
            ctx.owns(stream)
        return stream

    def _inputs(self, inputs: Any) -> Any:
        if inputs is None:
            return {}
        if self._is_wrapped:
            _check_rpc(inputs)
            return _with_nulls(inputs)
        if isinstance(inputs, Mapping) and not isinstance(inputs, JsProxy):
            return as_plain(_lent(inputs))
        found = members_of(inputs)
        return as_plain(inputs if found is None else {key: _lent(value) for key, value in found.items()})

    async def aclose(self) -> None:
        """Nothing: the binding belongs to the process, and a script's `async with Ai(env.AI)` must not end it."""


class _WrappedAi(WorkerAi):
    _is_wrapped = True


# What workerd says (src/workerd/io/io-context.c++).
_NOT_IN_GLOBAL_SCOPE = (
    "Disallowed operation called within global scope. Asynchronous I/O (ex: fetch() or connect()), setting a timeout, "
    "and generating random values are not allowed within global scope. To fix this error, perform this operation "
    "within a handler. https://developers.cloudflare.com/workers/runtime-apis/handlers/"
)


class _Answer(Promise):
    """What `run` returns. `asyncio.create_task` takes it too, which a promise of Pyodide's is refused by."""

    _steps: Generator[Any, None, Any] | None = None

    def send(self, value: Any) -> Any:
        if self._steps is None:
            self._check_is_coroutine()
            self._steps = self.__await__()
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        self._steps = self._steps or self.__await__()
        return self._steps.throw(*error)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()

    def _check_is_coroutine(self) -> None:
        shown = "<PyodideFuture pending cb=[WebLoop._decrement_in_progress()]>"
        current().lenient(
            "asyncio.create_task(env.AI.run(...))",
            lambda: TypeError(f"a coroutine was expected, got {shown}"),
            instead="asyncio.ensure_future(...)",
        )


class _Wrapped(_Answer):
    """What `run` returns in the generation of the external SDK, where it is a coroutine and no promise."""

    def _check_is_coroutine(self) -> None:
        pass

    def then(self, fulfilled: Callable[[Any], Any] | None = None, rejected: Callable[[Any], Any] | None = None) -> Any:
        self._is_no_promise("then")
        return super().then(fulfilled, rejected)

    def catch(self, rejected: Callable[[Any], Any]) -> Any:
        self._is_no_promise("catch")
        return Promise.then(self, None, rejected)

    def finally_(self, call: Callable[[], Any]) -> Any:
        self._is_no_promise("finally_")
        return super().finally_(call)

    def _is_no_promise(self, name: str) -> None:
        problem = f"'coroutine' object has no attribute '{name}'"
        current().lenient(f"env.AI.run(...).{name}(...)", lambda: AttributeError(problem))


# Deriving from it would mix two metaclasses.
Coroutine.register(_Answer)


def _obey(signal: Any, promise: Promise) -> None:
    """End `promise` when `signal` is aborted."""

    def abort(event: Any = None) -> None:
        task = promise._task
        promise.fail(signal.reason)
        if task is not None:
            task.cancel()

    if signal.aborted:
        abort()
    else:
        signal.addEventListener("abort", PyProxy(abort))


def _lent(value: Any) -> Any:
    """What JavaScript makes of a Python value that it is given as it is."""
    if isinstance(value, JsProxy) or not isinstance(value, Mapping | list | tuple):
        return value
    runtime = current()
    if isinstance(value, Mapping) and value and not runtime.compat.sees_keys_of_dicts:
        if runtime.strict:
            return {}
        idiom = "env.AI.run(model, <dict>), of which JavaScript sees no key,"
        runtime.lenient(idiom, lambda: as_js_error(BadInput(_NOTHING_GIVEN)), kind="a dict as inputs", instead=_FOR_AI)
    elif _has_nested(value):
        runtime.lenient(
            "a dict or list inside a list of env.AI.run's inputs, without to_js,",
            lambda: destroyed_proxy("when an iterator was exhausted."),
            instead=_FOR_AI,
        )
    return value


_FOR_AI = instead.for_ai("env.AI")

# The service's schema for text generation, asked about {}.
_NOTHING_GIVEN = (
    "Error: oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
    "required properties at '/' are 'messages'"
)


def _has_nested(value: Any) -> bool:
    """Whether a list of Python's holds a container of Python's: JavaScript lets go of it before it looks into it."""
    if isinstance(value, JsProxy):
        return False
    if isinstance(value, Mapping):
        return any(map(_has_nested, value.values()))
    if isinstance(value, list | tuple):
        return any(isinstance(one, Mapping | list | tuple) and not isinstance(one, JsProxy) for one in value)
    return False


def _check_rpc(value: Any) -> None:
    """What the SDK's `python_to_rpc` refuses to send."""
    if isinstance(value, tuple | bytearray) and not isinstance(value, JsProxy):
        kind = type(value)
        problem = f"{kind} cannot be sent over RPC."
        current().lenient(f"a {kind.__name__} in the inputs of env.AI.run", lambda: TypeError(problem))
    if isinstance(value, Mapping) and not isinstance(value, JsProxy):
        for one in value.values():
            _check_rpc(one)
    elif isinstance(value, list | tuple) and not isinstance(value, JsProxy):
        for one in value:
            _check_rpc(one)


def _with_nulls(value: Any) -> Any:
    """As `as_plain`, and None is null, which the external SDK makes of it."""
    if isinstance(value, JsProxy):
        return as_plain(value)
    if isinstance(value, Mapping):
        return {str(key): _with_nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(item) for item in value]
    return as_plain(value)


class _Events:
    """The events of an answer, with errors that a script can catch as JavaScript's."""

    def __init__(self, events: ByteStream) -> None:
        self._events = events

    def __aiter__(self) -> _Events:
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
    body = ReadableStream.of(_Events(reply.body)) if is_stream else JSON.stringify(as_js(reply.body))
    if is_stream and (ctx := current_context.get(None)) is not None:
        ctx.owns(body)
    return Response.new(body, {"status": reply.status, "headers": dict(reply.headers)})


class _JsAiError(AiError, JsException):
    @property
    def message(self) -> str:  # type: ignore[override]
        return AiError.__str__(self)

    @property
    def stack(self) -> str:  # type: ignore[override]
        return str(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"

    __repr__ = AiError.__repr__


_both: dict[type[AiError], type[AiError]] = {}


def as_js_error(error: AiError) -> AiError:
    """Make `error` a `JsException` too, in place: it stays what it was, with its traceback and notes."""
    kind = type(error)
    if isinstance(error, JsException):
        return error
    if kind not in _both:
        # Pyodide has one class for all of them, which tracebacks and `type(error).__name__` name.
        made = _both[kind] = types.new_class(JsException.__name__, (_JsAiError, kind))
        made.__module__ = JsException.__module__
    error.__class__ = _both[kind]
    if error.hint:  # scripts catch errors and pass on Cloudflare's sentence; this one is for who reads the terminal
        current().note_once(f"cfai: {error.description.rstrip('.')}: {error.hint}")
    return error
