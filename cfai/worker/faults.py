"""Faults in `cfai dev`: what a Worker meets when its model fails as in production.

They are in the Worker's process. On the way from the engine's process a stream is put together again, event by event,
whatever the chunks were in which it came, so a cut there would never be seen.

A save begins with a new process, and so with a new count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from cfai.binding import Binding, Call, Reply, Searchable
from cfai.bindings.faults.asked import AskedFaults
from cfai.errors import AiError
from cfai.serving import refuse
from cfai.worker.ai import WorkerAi
from cfai.worker.incoming import path_of

__all__ = ["WorkerFaults"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class WorkerFaults:
    """The faults of a Worker.

    ```python
    faults = WorkerFaults("drop:2", tell=print)
    app = faults.asked_of(worker_app(config, faults.ai(FakeBinding())))
    ```

    text  the faults of calls for which no request asks for others; `none` is none
    tell  takes a line for each fault as it happens
    """

    def __init__(self, text: str, *, tell: Callable[[str], None]) -> None:
        self._asked = AskedFaults(text, tell=lambda line: tell(f"▲ [FAULT] {line}"))

    def ai(self, binding: Binding) -> WorkerAi:
        """`env.AI` over `binding`, with the faults."""
        return WorkerAi(_Faulty(binding, self._asked))

    def asked_of(self, app: App) -> App:
        """The Worker `app`, whose requests may ask for faults in their headers: every call of `env.AI` that is made
        while such a request is answered has them."""
        return _Asking(app, self._asked)


class _Faulty:
    """`binding` with `faults`."""

    def __init__(self, binding: Binding, faults: AskedFaults) -> None:
        self._binding = binding
        self._faults = faults

    async def send(self, call: Call) -> Reply:
        return await self._faults.send(call, self._binding.send)

    async def search_models(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if isinstance(self._binding, Searchable):
            return await self._binding.search_models(query)
        raise NotImplementedError(f"{type(self._binding).__name__} does not list models")

    async def aclose(self) -> None:
        await self._binding.aclose()


class _Asking:
    def __init__(self, app: App, faults: AskedFaults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        name = f"{scope.get('method', 'WebSocket')} {path_of(scope)}"
        try:
            asking = self._faults.of_request(name, dict(scope["headers"]))
        except AiError as error:
            await refuse(400, error.description, scope, send)
            return
        with asking:
            await self._app(scope, receive, send)
