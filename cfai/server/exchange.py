"""One HTTP exchange: a reply is awaited and sent while somebody listens for the client going away.

    request -> produce() -> Reply -> head, body
       \\________ receive() ________/   http.disconnect cancels the rest, in every phase

Starlette's own streaming response listens only while it streams; here a client that leaves while its request waits in
the queue, during prefill, or for an answer that is not streamed stops the model just the same.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import anyio
from starlette.types import Receive, Send

from cfai import sse
from cfai.binding import EVENT_STREAM, JSON, Reply
from cfai.errors import AiError, ConnectionDropped, EngineFailure
from cfai.results import ByteStream
from cfai.tasks.shapes.failures import native_failure

__all__ = ["respond", "send_reply"]

log = logging.getLogger("cfai.server")


async def respond(
    produce: Callable[[], Awaitable[Reply]],
    receive: Receive,
    send: Send,
    *,
    render: Callable[[Reply], Reply] = lambda reply: reply,
    failure: Callable[[AiError], list[bytes]] = native_failure,
) -> None:
    """Send what `produce` gives, passed through `render`; stop it when the client leaves.

    failure  the last events of a stream whose binding breaks

    The request's body must have been read: from then on `receive` only tells of the end.
    """
    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            try:
                reply = await produce()
                if isinstance(reply.error, ConnectionDropped):
                    raise reply.error
                reply = render(reply)
            except ConnectionDropped as error:
                # A server cannot close a connection before there is a head.
                reply = Reply(ByteStream(_BrokenOff(error)), headers={"content-type": JSON})
            except Exception as error:  # a binding replies to what it refuses; this one is broken
                log.exception("the binding failed")
                reply = render(Reply.from_error(EngineFailure(f"the binding failed: {error}")))
            try:
                await send_reply(reply, send, failure=failure)
            finally:
                await reply.aclose()
            tasks.cancel_scope.cancel()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(answer)
        tasks.start_soon(watch)


async def send_reply(reply: Reply, send: Send, *, failure: Callable[[AiError], list[bytes]] = native_failure) -> None:
    """Send a reply that is there already, a refusal for one."""
    if not isinstance(reply.body, ByteStream):
        body = reply.body if isinstance(reply.body, bytes) else sse.dumps(reply.body).encode()
        await _start(send, reply.status, {"content-type": JSON, **reply.headers, "content-length": str(len(body))})
        await send({"type": "http.response.body", "body": body})
        return
    # no-transform and X-Accel-Buffering keep proxies from holding pieces back.
    await _start(
        send, reply.status, {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no", **reply.headers}
    )
    last = b""
    try:
        async for chunk in reply.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except ConnectionDropped:
        return  # a body that is left like this is cut: no last chunk, no [DONE], and so the client can tell
    except Exception as error:
        log.exception("the stream failed")
        if not reply.headers.get("content-type", "").startswith(EVENT_STREAM):
            raise  # the connection is cut, so that the client can tell
        told = error if isinstance(error, AiError) else EngineFailure(f"the stream failed: {error}")
        last = b"".join(failure(told))
    await send({"type": "http.response.body", "body": last})


class _BrokenOff:
    """A body of which nothing comes."""

    def __init__(self, error: ConnectionDropped) -> None:
        self._error = error

    async def __anext__(self) -> bytes:
        raise self._error

    async def aclose(self) -> None:
        """It holds nothing."""


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    fields.append((b"x-content-type-options", b"nosniff"))
    await send({"type": "http.response.start", "status": status, "headers": fields})
