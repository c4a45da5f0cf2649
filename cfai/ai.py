"""`Ai`: what user code constructs, the same thin class over a binding as Cloudflare's own."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import Any, NoReturn, Protocol, Self, TypedDict, cast, runtime_checkable

from cfai import sse
from cfai.binding import EVENT_STREAM, JSON, Binding, Call, Listing, Reply, Searchable
from cfai.blocking import BlockingStream, OwnLoop
from cfai.errors import AiError, EngineFailure, NoSuchModel
from cfai.results import ByteStream, plain, wrap

__all__ = ["Ai", "HasRun", "SessionOptions"]


class SessionOptions(TypedDict, total=False):
    """The options of an `Ai` object, in snake case or as the JavaScript SDK spells them.

    ctx           the Worker's context; a stream is registered with its `waitUntil`, so that it outlives the handler
    extra_headers headers sent with every run (`extraHeaders`)
    prefix        put before the model id in the `cf-consn-model-id` header
    as_of         the day whose wire form, models and limits apply, `"2023-11-14"` (`asOf`); default: today's
    strict_retired  what Cloudflare does not serve on that day is refused (`strictRetired`); default: it answers
    fidelity      "clean" (the default), or "production" for the oddities of Cloudflare's own answers
    debug         accepted, without effect
    """

    ctx: Any
    extra_headers: Mapping[str, str]
    prefix: str
    as_of: str
    fidelity: str
    strict_retired: bool
    debug: bool


_SNAKE: dict[str, str] = {"extraHeaders": "extra_headers", "asOf": "as_of", "strictRetired": "strict_retired"}
_LAST = {
    "last_request_id": "lastRequestId",
    "ai_gateway_log_id": "aiGatewayLogId",
    "last_request_http_status_code": "lastRequestHttpStatusCode",
    "last_request_internal_status_code": "lastRequestInternalStatusCode",
}


@runtime_checkable
class HasRun(Protocol):
    """Anything with the `run` of an AI binding: another `Ai`, a Worker's `env.AI`, a user's own double."""

    def run(self, model: str, inputs: Any, options: Any = None, /) -> Awaitable[Any]: ...


class Ai:
    """Run models through a binding.

    ```python
    async with Ai(LocalBinding()) as ai:
        result = await ai.run("@cfai/demo/tiny-chat", {"prompt": "where is new york?"})
        print(result.response)
    ```

    `binding` is a `Binding`, another `Ai`, or any object with a matching `run`. An `Ai` is not bound to an event loop
    and may be shared by tasks; only the `last...` attributes are overwritten by whichever run ends last.
    """

    def __init__(
        self, binding: Binding | HasRun, session_options: SessionOptions | Mapping[str, Any] | None = None
    ) -> None:
        if binding is None:
            # The sentence of npm's @cloudflare/ai 1.0.53.
            raise TypeError("Ai binding is undefined. Please provide a valid binding.")
        if not isinstance(binding, Binding | HasRun):
            raise TypeError(f"a binding has send() or run(), {type(binding).__name__} has neither")
        self._binding = binding
        self._session = _session_options(session_options or {})
        self._own_loop = OwnLoop()
        self.last_request_id = ""
        self.ai_gateway_log_id: str | None = None
        self.last_request_http_status_code: int | None = None
        self.last_request_internal_status_code: int | None = None

    @property
    def lastRequestId(self) -> str:  # noqa: N802  # JavaScript's spelling, which ported scripts use
        return self.last_request_id

    @property
    def aiGatewayLogId(self) -> str | None:  # noqa: N802  # as above
        return self.ai_gateway_log_id

    @property
    def lastRequestHttpStatusCode(self) -> int | None:  # noqa: N802  # as above
        return self.last_request_http_status_code

    @property
    def lastRequestInternalStatusCode(self) -> int | None:  # noqa: N802  # as above
        return self.last_request_internal_status_code

    async def run(
        self, model: str, inputs: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `model` and return its answer.

        model    a catalog id such as `"@cf/meta/llama-2-7b-chat-int8"`
        inputs   the model's inputs, for text generation `prompt` or `messages`, `stream`, `max_tokens`, ...
        options  `extraHeaders`, `returnRawResponse`, `gateway`, ... as the JavaScript binding takes them

        Returns an `AiResult` for a JSON answer, a `ByteStream` for anything else, or the whole `Reply` with
        `returnRawResponse`. Raises the `AiError` that the answer describes. Cancelling stops the model.
        """
        return await self._answer(model, inputs, options)

    async def _answer(self, model: str, inputs: Any, options: Mapping[str, Any] | None) -> Any:
        given = {**plain(options or {})}
        session = self._session | _session_options(given.pop("sessionOptions", None) or {})
        if not isinstance(self._binding, Binding):
            return await self._run_through(self._binding, model, inputs, given, session)
        if not isinstance(model, str):
            raise NoSuchModel(str(model))
        raw = bool(given.pop("returnRawResponse", False))
        headers = {**session.get("extra_headers", {}), **(given.pop("extraHeaders", None) or {})}
        if prefix := given.pop("prefix", None) or session.get("prefix"):
            headers["cf-consn-model-id"] = f"{prefix}:{model}"
        if as_of := session.get("as_of"):
            given.setdefault("asOf", as_of)
        if fidelity := session.get("fidelity"):
            given.setdefault("fidelity", fidelity)
        if (strict := session.get("strict_retired")) is not None:
            given.setdefault("strictRetired", strict)
        given.pop(
            "signal", None
        )  # an AbortSignal cannot cross the seam; cancelling the task that awaits run does its work

        self.last_request_id = ""
        reply = await self._binding.send(Call(model, plain({} if inputs is None else inputs), given, headers))
        self._remember(reply)
        if raw:
            return reply
        if error := reply.error:
            self.last_request_internal_status_code = error.code
            await reply.aclose()
            raise error
        if isinstance(reply.body, ByteStream):
            if not reply.headers.get("content-type", "").startswith(EVENT_STREAM):
                return reply.body
            stream = self._checked(reply.body)
            if ctx := session.get("ctx"):
                ctx.waitUntil(stream.wait_closed())
            return stream
        if isinstance(reply.body, Mapping | list) and reply.headers.get("content-type") != JSON:
            # As env.AI does it: a type that is not exactly this one, with a charset for example, is no JSON to it.
            return ByteStream(_bytes_of(reply.body))
        return wrap(reply.body) if reply.headers.get("content-type") == JSON else reply.body

    def _checked(self, body: ByteStream) -> ByteStream:
        return ByteStream(_WholeAnswer(body), clock=body.clock)

    async def _run_through(
        self, inner: HasRun, model: str, inputs: Any, options: dict[str, Any], session: SessionOptions
    ) -> Any:
        if isinstance(inner, Ai):
            options["sessionOptions"] = session
        elif extra := session.get("extra_headers"):
            options["extraHeaders"] = {**extra, **(options.get("extraHeaders") or {})}
        try:
            if isinstance(inner, Ai):
                return await inner._answer(model, inputs, options)
            return await (inner.run(model, inputs, options) if options else inner.run(model, inputs))
        finally:
            for ours, theirs in _LAST.items():
                setattr(self, ours, getattr(inner, theirs, getattr(self, ours)))

    def run_sync(
        self, model: str, inputs: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> Any:
        """`run` for programs without an event loop; a stream is a `BlockingStream`, to be read with `for`.

        ```python
        with Ai(LocalBinding()) as ai:
            print(ai.run_sync("@cfai/demo/tiny-chat", {"prompt": "where is new york?"}).response)
        ```

        Each `Ai` has one loop for it, which `close()` or leaving the `with` ends. To be called from one thread.
        """
        answer = self._own_loop.run(self._answer(model, inputs, options))
        return BlockingStream(answer, self._own_loop) if isinstance(answer, ByteStream) else answer

    async def models(self, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The models of the catalog that fit `query`: `search`, `task`, `author`, `page`, `per_page`, ...

        ```python
        [model["name"] for model in await ai.models({"task": "Text Generation"})]
        ```
        """
        if isinstance(self._binding, Ai):
            return await self._binding._models(query)
        return await self._models(query)

    async def _models(self, query: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        binding: Any = self._binding
        if isinstance(binding, Ai):
            return await binding._models(query)
        wanted = {key: _as_query(value) for key, value in plain(query or {}).items() if value is not None}
        if isinstance(binding, Searchable):
            return await binding.search_models(wanted)
        if isinstance(binding, Listing):
            return [{"name": name} for name in await binding.models_here()]
        if callable(models := getattr(binding, "models", None)):
            return cast("list[dict[str, Any]]", plain(await models(query or {})))  # a double is trusted
        raise NotImplementedError(f"{type(binding).__name__} does not list models")

    def gateway(self, id: str) -> NoReturn:  # noqa: A002  # the JavaScript binding's name
        """Not simulated: an AI Gateway routes to providers on the network."""
        raise NotImplementedError(
            f"gateway({id!r}): AI Gateway is not simulated; the option `gateway` of run() is taken, without effect"
        )

    def autorag(self, id: str) -> NoReturn:  # noqa: A002  # as above
        """Not simulated: AutoRAG keeps its index at Cloudflare."""
        raise NotImplementedError(f"autorag({id!r}): AutoRAG is not simulated; it keeps its index at Cloudflare")

    def ai_search(self, id: str = "") -> NoReturn:  # noqa: A002  # as above
        """Not simulated: AI Search keeps its index at Cloudflare."""
        raise NotImplementedError(f"aiSearch({id!r}): AI Search is not simulated; it keeps its index at Cloudflare")

    aiSearch = ai_search  # noqa: N815  # JavaScript's spelling

    def to_markdown(self, files: Any = None, options: Any = None) -> NoReturn:
        """Not simulated: the conversion of documents runs at Cloudflare."""
        raise NotImplementedError("toMarkdown: the conversion of documents is not simulated; it runs at Cloudflare")

    toMarkdown = to_markdown  # noqa: N815  # as above

    def _remember(self, reply: Reply) -> None:
        self.last_request_id = reply.headers.get("cf-ai-req-id", "")
        self.ai_gateway_log_id = reply.headers.get("cf-aig-log-id")
        self.last_request_http_status_code = reply.status
        self.last_request_internal_status_code = None

    async def aclose(self) -> None:
        """Close the binding: running answers end, models leave memory."""
        if isinstance(self._binding, Binding | Ai):
            await self._binding.aclose()

    def close(self) -> None:
        """`aclose()` for programs that used `run_sync`."""
        self._own_loop.run(self.aclose())
        self._own_loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.aclose()


class _WholeAnswer:
    """The chunks of an answer, as they are; raises where the answer did not come to its end.

    A Python program that reads to the end has the whole answer: a stream that carries an error, or that stops before
    `[DONE]`, raises instead of ending. Chunks may be cut anywhere. The reader gets all bytes before the error's event.
    """

    def __init__(self, chunks: ByteStream) -> None:
        self._chunks = chunks
        self._splitter = sse.Splitter()
        self._waiting = 0
        """Bytes of an event that is not whole yet."""
        self._done = False
        self._error: AiError | None = None

    async def __anext__(self) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            for event in self._splitter.end():
                if error := self._error_of(event):
                    raise error from None
            if self._done:
                raise
            raise EngineFailure("the stream ended before data: [DONE]", hint="the server stopped answering") from None
        begin = -self._waiting
        for event in self._splitter.feed(chunk):
            if error := self._error_of(event):
                if begin <= 0:
                    raise error
                self._error = error
                return chunk[:begin]
            begin += len(event)
        self._waiting = len(chunk) - begin
        return chunk

    def _error_of(self, event: bytes) -> AiError | None:
        # The cheap test first: an answer has hundreds of events and at most one error.
        if b'"errors"' in event and (error := _error_in(event)):
            return error
        self._done = self._done or sse.is_done(event)
        return None

    async def aclose(self) -> None:
        await self._chunks.aclose()


async def _bytes_of(body: Any) -> AsyncGenerator[bytes]:
    yield sse.dumps(body).encode()


def _as_query(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _error_in(event: bytes) -> AiError | None:
    for data in sse.Decoder().feed(event + b"\n\n"):
        body = sse.loads(data)
        if isinstance(body, dict) and body.get("errors"):
            return AiError.from_body(body, status=None)
    return None


def _session_options(given: Mapping[str, Any]) -> SessionOptions:
    """`given` in snake case. The JavaScript SDK's own nesting, `{sessionOptions: {...}}`, is accepted too."""
    nested = given.get("sessionOptions") or given.get("session_options") or {}
    flat = {key: value for key, value in given.items() if key not in ("sessionOptions", "session_options")}
    options = {_SNAKE.get(key, key): value for key, value in {**flat, **nested}.items()}
    known = SessionOptions.__optional_keys__
    if unknown := sorted(options.keys() - known):
        raise TypeError(f"unknown session option {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    return cast("SessionOptions", options)  # the keys were just checked
