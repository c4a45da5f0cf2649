"""The ASGI applications: the REST API for clients, the binding protocol for Workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cfai.binding import Binding, Stats
from cfai.errors import MethodNotAllowed, NoRoute
from cfai.server.rest import RestRun, edge_error
from cfai.server.workerd import WorkerdRun
from cfai.serving import Guard

__all__ = ["binding_app", "rest_app"]


def rest_app(binding: Binding, *, token: str | None = None, hosts: Collection[str] = ()) -> ASGIApp:
    """The REST API and `/health` over `binding`, for `cfai serve`.

    token  what requests must bring as their bearer token; without one, any token or none will do
    hosts  names besides those of the loopback interface under which the server is reached
    """
    routes = [
        Route("/client/v4/accounts/{account}/ai/run/{model:path}", RestRun(binding, token), methods=["POST"]),
        Route("/health", _health(binding), methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _no_route, 405: _wrong_method})
    return Guard(app, hosts)


def binding_app(binding: Binding) -> ASGIApp:
    """The binding protocol and `/health` over `binding`, for a private socket."""
    return Starlette(
        routes=[
            Route("/run", WorkerdRun(binding), methods=["POST"]),
            Route("/health", _health(binding), methods=["GET"]),
        ]
    )


def _health(binding: Binding) -> Callable[[Request], Awaitable[Response]]:
    """Status, loaded models, running and waiting answers, tokens made so far."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", **(binding.stats() if isinstance(binding, Stats) else {})})

    return health


async def _no_route(request: Request, error: Exception) -> Response:
    reply = edge_error(NoRoute(request.url.path))
    return JSONResponse(reply.body, reply.status)


async def _wrong_method(request: Request, error: Exception) -> Response:
    allow = error.headers if isinstance(error, HTTPException) else None
    reply = edge_error(MethodNotAllowed(request.method))
    return JSONResponse(reply.body, reply.status, allow)
