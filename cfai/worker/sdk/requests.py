"""`workers.Request`."""

from __future__ import annotations

import json
from http import HTTPMethod
from typing import Any

from cfai.worker.compat import current
from cfai.worker.sdk.blobs import Blob
from cfai.worker.sdk.errors import as_pythons
from cfai.worker.sdk.forms import FormData
from cfai.worker.web import messages
from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.nulls import jsnull

__all__ = ["Request", "js_options"]


def js_options(options: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a Request, or of `fetch`, as JavaScript takes them."""
    from cfai.worker.sdk.headers import js_headers

    given = dict(options)
    if isinstance(method := given.get("method"), HTTPMethod):
        given["method"] = method.value
    if "headers" in given:
        given["headers"] = js_headers(given["headers"])
    if isinstance(body := given.get("body"), FormData):
        given["body"] = body.js_object
    return given


class Request:
    """A request: `url` is a str, `method` compares with `"POST"`, `await request.json()` is a plain dict."""

    def __init__(self, input: Any, **options: Any) -> None:  # noqa: A002  # the SDK's own name
        if isinstance(input, messages.Request):
            if options:
                raise ValueError("Expected no options when constructing Request from a js.Request")
            self.js_object = input
            return
        resource = input.js_object if isinstance(input, Request) else input
        self.js_object = messages.Request.new(resource, js_options(options))

    def __repr__(self) -> str:
        return f"Request(method={self.js_object.method!r}, url={self.url!r})"

    @property
    def url(self) -> str:
        return self.js_object.url

    @property
    def method(self) -> HTTPMethod:
        return HTTPMethod[self.js_object.method]

    @property
    def headers(self) -> Any:
        from cfai.worker.sdk.headers import as_message

        return as_message(self.js_object.headers)

    @property
    def body(self) -> Any:
        return self.js_object.body

    @property
    def body_used(self) -> bool:
        return self.js_object.bodyUsed

    @property
    def cf(self) -> Any:
        if not current().compat.has_external_sdk:
            problem = "'Request' object has no attribute 'cf'"
            current().lenient("request.cf", lambda: AttributeError(problem), instead="request.js_object.cf")
        return None if self.js_object.cf is jsnull else self.js_object.cf

    @property
    def cache(self) -> Any:
        return self.js_object.cache

    @property
    def integrity(self) -> str:
        return self.js_object.integrity

    @property
    def keepalive(self) -> bool:
        return self.js_object.keepalive

    @property
    def redirect(self) -> str:
        return self.js_object.redirect

    @property
    def signal(self) -> Any:
        return self.js_object.signal

    def _raise_if_failed(self) -> None:
        if self.body_used:
            raise OSError("Body already used")

    async def bytes(self) -> bytes:
        self._raise_if_failed()
        return await self.js_object.read()

    async def buffer(self) -> ArrayBuffer:
        return Uint8Array.new(await self.bytes()).buffer

    async def text(self) -> str:
        self._raise_if_failed()
        return await self.js_object.read_text()

    async def json(self, **options: Any) -> Any:
        return json.loads(await self.text(), **options)

    async def form_data(self) -> FormData:
        self._raise_if_failed()
        with as_pythons():
            return FormData(await self.js_object.read_form())

    async def blob(self) -> Blob:
        self._raise_if_failed()
        return Blob(await self.js_object.read_blob())

    def clone(self) -> Request:
        self._raise_if_failed()
        return Request(self.js_object.clone())
