"""The ASGI applications: the REST API for clients, the binding protocol for Workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cfai.binding import Binding, Stats
from cfai.errors import MethodNotAllowed, NoRoute
from cfai.server.metrics import Metrics
from cfai.server.playground import playground_routes
from cfai.server.preview import preview_routes
from cfai.server.remote_proxy import RemoteProxy
from cfai.server.rest import RestRun, edge_error
from cfai.server.workerd import binding_routes
from cfai.serving import BINDING_HOSTS, Guard

__all__ = ["binding_app", "rest_app"]

log = logging.getLogger("cfai.server")


def rest_app(
    binding: Binding, *, token: str | None = None, hosts: Collection[str] = (), any_address: bool = False
) -> ASGIApp:
    """The REST API, `/health` and `/metrics` over `binding`, for `cfai serve`.

    token  what requests must bring as their bearer token; without one, any token or none will do
    hosts  names besides those of the loopback interface under which the server is reached
    any_address  let in who names the server by any IP address; for servers that listen beyond loopback
    """
    routes = [
        Route("/client/v4/accounts/{account}/ai/run/{model:path}", RestRun(binding, token), methods=["POST"]),
        Route("/health", _health(binding), methods=["GET"]),
        Route("/metrics", Metrics(binding, token), methods=["GET"]),
        *binding_routes(binding, token),
        *preview_routes(token),
        *playground_routes(),
    ]
    app: ASGIApp = Starlette(routes=routes, exception_handlers={404: _no_route, 405: _wrong_method})
    app = RemoteProxy(app, binding, token)
    return _RequestLog(Guard(app, hosts, any_address=any_address, paths_of=BINDING_HOSTS))


def binding_app(binding: Binding) -> ASGIApp:
    """The binding protocol, `/health` and `/metrics` over `binding`, for a private socket."""
    return Starlette(
        routes=[
            *binding_routes(binding),
            Route("/health", _health(binding, with_metrics=True), methods=["GET"]),
            Route("/metrics", Metrics(binding), methods=["GET"]),
        ]
    )


_POLLED = ("/health", "/metrics")


class _RequestLog:
    """One line per request: method, path, status, seconds. Never the query, which may hold what is secret."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _POLLED:
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), "left"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            path = quote(scope["path"], safe="/@:")  # a control character in it must not write a line of its own
            log.info("%s %s %s %.2f s", scope["method"], path, status, time.monotonic() - started)


def _health(binding: Binding, *, with_metrics: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """Status, loaded models, running and waiting answers, tokens made so far; 503 if a model gives no numbers any more.

    The models' metrics are left out where `/metrics` may ask for a token and this route does not.
    """

    async def health(request: Request) -> Response:
        stats = binding.stats() if isinstance(binding, Stats) else {}
        if not with_metrics and "models" in stats:
            stats = {**stats, "models": {name: _without_metrics(model) for name, model in stats["models"].items()}}
        is_healthy = all(model.get("healthy", True) for model in stats.get("models", {}).values())
        return JSONResponse({"status": "ok" if is_healthy else "unhealthy", **stats}, 200 if is_healthy else 503)

    return health


def _without_metrics(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "metrics"}


async def _no_route(request: Request, error: Exception) -> Response:
    reply = edge_error(NoRoute(request.url.path))
    return JSONResponse(reply.body, reply.status)


async def _wrong_method(request: Request, error: Exception) -> Response:
    allow = error.headers if isinstance(error, HTTPException) else None
    reply = edge_error(MethodNotAllowed(request.method))
    return JSONResponse(reply.body, reply.status, allow)
