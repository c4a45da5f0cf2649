"""The `finetunes` routes: LoRA adapters are created, uploaded file by file, listed, and removed.

Create, upload and list are Cloudflare's (https://developers.cloudflare.com/api/resources/ai/subresources/finetunes/).
Removing is not: Cloudflare's API has nothing for it (https://github.com/cloudflare/workers-sdk/issues/14450).

Lists are flat, as wrangler (`ai finetune list` in its src/ai/listFinetune.ts) and Cloudflare's SDKs read them; the
example on the page about LoRA adapters shows one list inside another, which wrangler cannot read.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio import to_thread
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from cfai.binding import Reply
from cfai.bindings.finetunes import PUBLIC, Finetune, FinetuneStore
from cfai.bindings.uploads import Upload
from cfai.catalog import Catalog
from cfai.errors import AiError, BadInput, IncompleteRequest, RequestAborted, RequestTimeout, RequestTooLarge
from cfai.request_id import of_request
from cfai.server.body import PATIENCE_SECONDS, read_json
from cfai.server.envelope import enveloped, success
from cfai.server.exchange import send_reply
from cfai.server.multipart import Data, FormReader, Part, boundary_of

__all__ = ["finetune_endpoints"]

AT_ONCE = 1 << 20
"""Bytes that are written together."""

BESIDE = 64 * 1024
"""What a form may have beside its file."""

LONGEST_FIELD = 1024

Answer = Callable[[Scope, Receive], Awaitable[Reply]]


def finetune_endpoints(store: FinetuneStore, catalog: Catalog) -> list[tuple[str, ASGIApp, tuple[str, ...]]]:
    """Paths below an account's `ai`, what answers there, and by which methods.

    ```python
    for path, endpoint, methods in finetune_endpoints(FinetuneStore(), Catalog.builtin()): ...
    ```
    """
    routes = _Routes(store, catalog)
    return [
        (f"finetunes{path}{slash}", _Endpoint(answers), tuple(answers))
        for path, answers in (
            ("", {"GET": routes.list_all, "POST": routes.create}),
            ("/public", {"GET": routes.list_public}),
            ("/{finetune}/finetune-assets", {"POST": routes.upload}),
            ("/{finetune}", {"DELETE": routes.remove}),
        )
        for slash in ("", "/")  # the documented curl lines have one at the end
    ]


class _Endpoint:
    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answers["GET" if scope["method"] == "HEAD" else scope["method"]]
        try:
            reply = await answer(scope, receive)
        except AiError as error:
            reply = enveloped(Reply.from_error(error, {"cf-ai-req-id": of_request()}))
        await send_reply(reply, send)


class _Routes:
    def __init__(self, store: FinetuneStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def list_all(self, scope: Scope, receive: Receive) -> Reply:
        found = await to_thread.run_sync(self._store.finetunes)
        return success([finetune.to_json() for finetune in found])

    async def list_public(self, scope: Scope, receive: Receive) -> Reply:
        query = QueryParams(scope["query_string"])
        rows = [{"public": True, **finetune.to_json()} for finetune in PUBLIC]
        if (column := query.get("orderBy")) in rows[0]:
            rows.sort(key=lambda row: str(row[column]))
        offset, limit = _number(query, "offset", 0), _number(query, "limit", len(rows))
        return success(rows[offset : offset + limit])

    async def create(self, scope: Scope, receive: Receive) -> Reply:
        body = await read_json(receive)
        if not isinstance(body, dict):
            raise BadInput("the body must be a JSON object with model and name")
        model, name, description = (_text(body, key) for key in ("model", "name", "description"))
        if missing := [key for key, text in (("model", model), ("name", name)) if not text]:
            raise IncompleteRequest(" and ".join(missing), hint='send {"model": "@cf/...", "name": "my-lora"}')
        if body.get("public"):
            raise BadInput("only Cloudflare's own finetunes are public", hint="leave public out")
        made = await to_thread.run_sync(self._store.create, self._catalog.get(model), name, description)
        return success({**made.to_json(), "public": False})

    async def upload(self, scope: Scope, receive: Receive) -> Reply:
        headers = dict(scope["headers"])
        boundary = boundary_of(headers.get(b"content-type", b"").decode("latin-1"))
        most = self._store.limits.bytes + BESIDE
        if int(headers.get(b"content-length", b"0") or 0) > most:
            raise RequestTooLarge(f"an adapter must have less than {self._store.limits.bytes // 1_000_000} MB")
        finetune = await to_thread.run_sync(self._store.find, scope["path_params"]["finetune"])
        async with _uploading(self._store, finetune) as upload:
            form = _Form(boundary, upload)
            async for chunk in _chunks(receive, most):
                await form.take(chunk)
            await form.finish()
        return success(None)

    async def remove(self, scope: Scope, receive: Receive) -> Reply:
        gone = await to_thread.run_sync(self._store.remove, scope["path_params"]["finetune"])
        return success(gone.to_json())


@contextlib.asynccontextmanager
async def _uploading(store: FinetuneStore, finetune: Finetune) -> AsyncIterator[Upload]:
    upload = await to_thread.run_sync(store.upload, finetune)
    try:
        yield upload
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(upload.close)


class _Form:
    """A form with `file_name` and `file`, in any order, on its way into `upload`."""

    def __init__(self, boundary: bytes, upload: Upload) -> None:
        self._reader = FormReader(boundary)
        self._upload = upload
        self._field = Part("")
        self._file_name = bytearray()
        self._own_name = ""
        self._unwritten = bytearray()

    async def take(self, chunk: bytes) -> None:
        for event in self._reader.feed(chunk):
            if isinstance(event, Part):
                self._field = event
                if event.name == "file":
                    self._own_name = event.filename or ""
            else:
                await self._put(event)

    async def _put(self, data: Data) -> None:
        if self._field.name == "file_name":
            self._file_name += data.bytes
            if len(self._file_name) > LONGEST_FIELD:
                raise BadInput(f"file_name must have {LONGEST_FIELD} bytes at most")
        elif self._field.name == "file":
            self._unwritten += data.bytes
            if len(self._unwritten) >= AT_ONCE:
                await self._write()

    async def finish(self) -> None:
        if not self._reader.is_over:
            raise IncompleteRequest("multipart body", hint="it ends before its last boundary")
        await self._write()
        name = self._file_name.decode("utf-8", "replace").strip() or self._own_name
        await to_thread.run_sync(self._upload.finish, name)

    async def _write(self) -> None:
        data = bytes(self._unwritten)
        self._unwritten.clear()
        await to_thread.run_sync(self._upload.write, data)


async def _chunks(receive: Receive, most: int) -> AsyncIterator[bytes]:
    """The body as it comes; raises what `read_body` raises."""
    size, more = 0, True
    while more:
        with anyio.move_on_after(PATIENCE_SECONDS) as waiting:
            message = await receive()
        if waiting.cancelled_caught:
            raise RequestTimeout()
        if message["type"] == "http.disconnect":
            raise RequestAborted()
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise RequestTooLarge(f"a form may have {most} bytes")
        more = message.get("more_body", False)
        yield chunk


def _text(body: Mapping[str, Any], key: str) -> str:
    given = body.get(key)
    if given is not None and not isinstance(given, str):
        raise BadInput(f"{key} must be a string, it is {type(given).__name__}")
    return given or ""


def _number(query: Mapping[str, str], key: str, usual: int) -> int:
    text = query.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else usual
