"""The ASGI applications: the REST API, OpenAI's endpoints and lists for clients, the binding protocol for Workers."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cfai.binding import ENDPOINTS, Binding, Call, Reply, Stats
from cfai.bindings.batch import BatchBinding
from cfai.bindings.faults.asked import AskedFaults
from cfai.bindings.finetunes import FinetuneStore
from cfai.catalog import Catalog, catalog_of
from cfai.errors import AiError, MethodNotAllowed, NoRoute
from cfai.request_id import request_id
from cfai.server import listings
from cfai.server.bearer import Bearer
from cfai.server.costs import collected, shown
from cfai.server.embeddings import Embeddings
from cfai.server.envelope import edge_error
from cfai.server.exchange import send_reply
from cfai.server.finetunes import finetune_endpoints
from cfai.server.listings import Answered
from cfai.server.metrics import Metrics
from cfai.server.openai import Completions, Models, openai_error
from cfai.server.playground import playground_routes
from cfai.server.preview import preview_routes
from cfai.server.remote_proxy import INNER, RemoteProxy
from cfai.server.rest import RestRun
from cfai.server.resume import KEEP_SECONDS, STREAM_ID, StreamEnd, Streams
from cfai.server.workerd import binding_routes
from cfai.serving import BINDING_HOSTS, Guard

__all__ = ["App", "binding_app", "rest_app"]

log = logging.getLogger("cfai.server")

_SHOWN_HEADERS = ("cf-ai-req-id", "cf-ai-neurons", "x-cfai-usd", "retry-after", "x-request-id", STREAM_ID)


class App:
    """An ASGI application over a binding; `aclose` ends what runs in it, and the binding."""

    def __init__(
        self, app: ASGIApp, binding: BatchBinding, streams: Streams, faults: AskedFaults | None = None
    ) -> None:
        self._app = app
        self._binding = binding
        self._streams = streams
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def aclose(self) -> None:
        """End batches, streams that nobody reads, and running answers; these get their last events."""
        self._streams.end_unread()
        if self._faults is not None:
            self._faults.end()
        await self._binding.aclose()


def rest_app(
    binding: Binding,
    *,
    token: str | None = None,
    hosts: Collection[str] = (),
    any_address: bool = False,
    cors_origins: Collection[str] = (),
    log_prompts: bool = False,
    keep_streams: float = KEEP_SECONDS,
    faults: str | None = None,
    catalog: Catalog | None = None,
    finetunes: FinetuneStore | None = None,
    as_of: date | None = None,
) -> App:
    """All that `cfai serve` offers, over `binding`.

    token  what requests must bring as their bearer token; without one, any token or none will do
    hosts  names besides those of the loopback interface under which the server is reached
    any_address  let in who names the server by any IP address; for servers that listen beyond loopback
    cors_origins  whose pages may use the server from a browser, such as `https://app.example`; `*` is every page
    log_prompts  write the inputs of every call into the log
    keep_streams  seconds for which a stream that lost its connection can be continued
    faults  what goes wrong, as `parse_faults` reads it, and let a request ask for others; None lets none ask
    catalog  the models that there are; default those of `binding`
    finetunes  where LoRA adapters are uploaded to; None is cfai's own folder
    as_of  the day whose models and schemas are listed, that of `binding`; default today's
    """
    asked = _asked_faults(faults)
    catalog = catalog or catalog_of(binding)
    batches = BatchBinding(_Prompts(binding) if log_prompts else binding, catalog=catalog)
    streams = Streams(keep_seconds=keep_streams)

    def guarded(path: str, endpoint: ASGIApp, *methods: str) -> Route:
        refusal = openai_error if _is_openai(path) else edge_error
        return Route(path, Bearer(endpoint, token, refusal=refusal), methods=methods or ("GET",))

    account = "/client/v4/accounts/{account}"
    ai = f"{account}/ai"
    run = RestRun(batches, streams, asked)
    routes: list[BaseRoute] = [
        guarded(f"{ai}/run/{{model:path}}", run, "POST"),
        guarded(f"{ai}/run", run, "POST"),
        guarded(f"{ai}/streams/{{stream}}", StreamEnd(streams), "DELETE"),
        guarded(f"{ai}/models/search", Answered(listings.ModelSearch(binding, catalog, as_of=as_of))),
        guarded(f"{ai}/models/schema", Answered(partial(listings.model_schema, catalog=catalog, as_of=as_of))),
        guarded(f"{ai}/tasks/search", Answered(partial(listings.tasks, catalog=catalog))),
        guarded(f"{ai}/authors/search", Answered(partial(listings.authors, catalog=catalog))),
        *(
            guarded(f"{ai}/{path}", endpoint, *methods)
            for path, endpoint, methods in finetune_endpoints(finetunes or FinetuneStore(), catalog)
        ),
        guarded(f"{ai}/tomarkdown/supported", Answered(listings.nothing)),
        guarded("/client/v4/user/tokens/verify", Answered(listings.token)),
        guarded(f"{account}/tokens/verify", Answered(listings.token)),
    ]
    for v1 in (f"{ai}/v1", "/v1"):
        routes += [guarded(*route) for route in _openai_routes(v1, binding, batches, streams, asked)]
    routes += [
        Route("/health", _health(binding), methods=["GET"]),
        guarded("/metrics", Metrics(binding)),
        *binding_routes(batches, token, asked, as_of=as_of),
        *preview_routes(token),
        *playground_routes(),
    ]
    app: ASGIApp = _application(routes, batches, streams)
    app = _asking(RemoteProxy(app, batches, token, asked, as_of=as_of), asked)
    if cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=[origin.rstrip("/") for origin in cors_origins],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=_SHOWN_HEADERS,
        )
    app = Guard(app, hosts, any_address=any_address, origins=cors_origins, paths_of=BINDING_HOSTS, is_strict=True)
    return App(_Requests(app), batches, streams, asked)


def binding_app(
    binding: Binding,
    *,
    log_prompts: bool = False,
    faults: str | None = None,
    catalog: Catalog | None = None,
    as_of: date | None = None,
) -> App:
    """The binding protocol, OpenAI's endpoints, `/health` and `/metrics` over `binding`, for a private socket.

    log_prompts, faults, catalog, as_of  as in `rest_app`
    """
    asked = _asked_faults(faults)
    catalog = catalog or catalog_of(binding)
    batches, streams = BatchBinding(_Prompts(binding) if log_prompts else binding, catalog=catalog), Streams()
    routes: list[BaseRoute] = [
        *binding_routes(batches, faults=asked, as_of=as_of),
        *(
            Route(path, endpoint, methods=[way])
            for path, endpoint, way in _openai_routes("/v1", binding, batches, streams, asked)
        ),
        Route("/health", _health(binding, with_metrics=True), methods=["GET"]),
        Route("/metrics", Metrics(binding), methods=["GET"]),
    ]
    app = _asking(_application(routes, batches, streams), asked)
    return App(_Requests(app, logged=False), batches, streams, asked)


def _asked_faults(text: str | None) -> AskedFaults | None:
    return None if text is None else AskedFaults(text, tell=lambda line: log.warning("fault in %s", line))


def _asking(app: ASGIApp, faults: AskedFaults | None) -> ASGIApp:
    return app if faults is None else _Asking(app, faults)


def _openai_routes(
    v1: str, binding: Binding, batches: BatchBinding, streams: Streams, faults: AskedFaults | None
) -> list[tuple[str, ASGIApp, str]]:
    """Paths under `v1`, who answers there, and by which method."""
    return [
        *((f"{v1}/{path}", Completions(batches, streams, form, faults), "POST") for form, path in ENDPOINTS.items()),
        (f"{v1}/embeddings", Embeddings(batches, faults), "POST"),
        (f"{v1}/models", Models(binding, batches.catalog), "GET"),
        (f"{v1}/models/{{model:path}}", Models(binding, batches.catalog), "GET"),
    ]


def _application(routes: list[BaseRoute], batches: BatchBinding, streams: Streams) -> ASGIApp:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await streams.aclose()
        await batches.end_batches()

    app = Starlette(routes=routes, exception_handlers={404: _no_route, 405: _wrong_method}, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


class _Prompts:
    """`binding`, with a line in the log for what each call asks."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    async def send(self, call: Call) -> Reply:
        text = f"{call.model} is asked {json.dumps(call.inputs, ensure_ascii=False, default=str)}"
        # A control character must not write a line of its own, nor steer a terminal.
        log.info("%s", "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text))
        return await self._binding.send(call)

    async def aclose(self) -> None:
        await self._binding.aclose()


class _Asking:
    """Let requests ask for faults in their headers, also in those that the remote-proxy protocol wraps."""

    def __init__(self, app: ASGIApp, faults: AskedFaults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        headers = {name.removeprefix(INNER): value for name, value in scope["headers"]}
        try:
            asking = self._faults.of_request(f"{scope['method']} {_shown(path)}", headers)
        except AiError as error:
            await _Refused(path, error)(scope, receive, send)
            return
        with asking:
            await self._app(scope, receive, send)


_POLLED = ("/health", "/metrics")
_BESIDE_THE_PAGE = "/playground/"


class _Requests:
    """Give every request an id, for its lines in the log and as `x-request-id`, and most a line of their own.

    The line has method, path, status and seconds, and what a model's answers cost. Never the query, which may hold
    what is secret.
    """

    def __init__(self, app: ASGIApp, *, logged: bool = True) -> None:
        self._app = app
        self._logged = logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, name = time.monotonic(), "left", str(uuid.uuid4())

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", name.encode())]}
            await send(message)

        before = request_id.set(name)
        try:
            with collected() as costs:
                await self._app(scope, receive, watched)
        finally:
            if self._logged and scope["path"] not in _POLLED:
                path = _shown(scope["path"])
                is_of_page = path.startswith(_BESIDE_THE_PAGE) and status < "400"
                level = logging.DEBUG if is_of_page else logging.INFO
                seconds = time.monotonic() - started
                log.log(level, "%s %s %s %.2f s%s", scope["method"], path, status, seconds, shown(costs))
            request_id.reset(before)


def _shown(path: str) -> str:
    return quote(path, safe="/@:")  # a control character in it must not write a line of its own


def _health(binding: Binding, *, with_metrics: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """Status, loaded models, running and waiting answers, tokens made so far; 503 if a model gives no numbers any more.

    The models' metrics and the neurons are left out where `/metrics` may ask for a token and this route does not.
    """

    async def health(request: Request) -> Response:
        stats = binding.stats() if isinstance(binding, Stats) else {}
        if not with_metrics:
            stats = {name: value for name, value in stats.items() if name != "neurons"}
        if not with_metrics and "models" in stats:
            stats = {**stats, "models": {name: _without_metrics(model) for name, model in stats["models"].items()}}
        is_healthy = all(model.get("healthy", True) for model in stats.get("models", {}).values())
        return JSONResponse({"status": "ok" if is_healthy else "unhealthy", **stats}, 200 if is_healthy else 503)

    return health


def _without_metrics(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "metrics"}


async def _no_route(request: Request, error: Exception) -> Response:
    path = request.scope["path"]
    return _Refused(path, NoRoute(path.removeprefix("/client/v4")), AiError.of(7000, "No route for that URI"))


async def _wrong_method(request: Request, error: Exception) -> Response:
    allow = error.headers if isinstance(error, HTTPException) else None
    return _Refused(request.scope["path"], MethodNotAllowed(request.method), headers=allow)


def _is_openai(path: str) -> bool:
    return path.startswith("/v1/") or "/ai/v1/" in path


class _Refused(Response):
    """A refusal by the router, in the words of the API that the path belongs to."""

    def __init__(self, path: str, error: AiError, *more: AiError, headers: Mapping[str, str] | None = None) -> None:
        reply = openai_error(error) if _is_openai(path) else edge_error(error, *more)
        self._reply = Reply(reply.body, reply.status, {**reply.headers, **(headers or {})})
        super().__init__(status_code=reply.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(self._reply, send)
