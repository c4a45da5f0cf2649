"""An application's startup and shutdown, which here, as on Cloudflare, come with every request."""

from __future__ import annotations

import asyncio
from typing import Any

from cfai.worker import compat
from cfai.worker.asgi.scope import ASGI, App, Message
from cfai.worker.asgi.tasks import begin, logger

__all__ = ["Lifespan"]

# What workerd says of a request that waits for something that cannot happen any more.
HUNG = (
    "The Workers runtime canceled this request because it detected that your Worker's code had hung and would never "
    "generate a response. Refer to: https://developers.cloudflare.com/workers/observability/errors/"
)


class Lifespan:
    """`await start()`, then `await stop()`. An application that knows no lifespan is left alone."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started: asyncio.Future[bool] = loop.create_future()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._answers = {
            "lifespan.startup.complete": lambda message: self._start_ends(),
            "lifespan.startup.failed": lambda message: self._start_ends(_failure(message, "startup")),
            "lifespan.shutdown.complete": lambda message: self._stop_ends(),
            "lifespan.shutdown.failed": lambda message: self._stop_ends(_failure(message, "shutdown")),
        }

    async def start(self) -> None:
        self._task = begin(self._run())
        if not await self._started and not compat.current().compat.has_external_sdk:
            compat.current().lenient("an ASGI application without lifespan events", lambda: RuntimeError(HUNG))

    async def stop(self) -> None:
        """What goes wrong during shutdown is raised, where the application says so itself."""
        if self._is_running:
            self._stop.set()
            await self._stopped

    def abandon(self) -> None:
        """There is nobody left to shut down for."""
        self._task.cancel()

    @property
    def _is_running(self) -> bool:
        return self._started.done() and self._started.exception() is None and self._started.result()

    async def _run(self) -> None:
        scope = {"asgi": dict(ASGI), "state": self.state, "type": "lifespan"}
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await self._stop.wait()
                return {"type": "lifespan.shutdown"}
            asked = True
            return {"type": "lifespan.startup"}

        try:
            await self._app(scope, receive, self._send)
        except Exception as error:
            # Before startup that is how an application says that it knows no lifespan.
            log = logger.exception if self._is_running else logger.debug
            log("Exception in ASGI lifespan application", exc_info=error)
        finally:
            if not self._started.done():
                self._started.set_result(False)
            self._stop_ends()

    async def _send(self, message: Message) -> None:
        if (answer := self._answers.get(message["type"])) is None:
            raise RuntimeError(f"Unexpected lifespan event {message['type']}")
        answer(message)

    def _start_ends(self, error: Exception | None = None) -> None:
        if self._started.done():
            return
        if error is None:
            self._started.set_result(True)
        else:
            self._started.set_exception(error)

    def _stop_ends(self, error: Exception | None = None) -> None:
        if self._stopped.done():
            return
        if error is None:
            self._stopped.set_result(None)
        else:
            self._stopped.set_exception(error)
            self._stopped.exception()  # whoever waits for the shutdown raises it; often nobody does


def _failure(message: Message, phase: str) -> RuntimeError:
    return RuntimeError(message.get("message") or f"ASGI lifespan {phase} failed")
