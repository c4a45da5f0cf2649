"""`workers.Response`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from http import HTTPStatus
from typing import Any

from cfai.results import ByteStream
from cfai.worker import pyfetch
from cfai.worker.compat import current
from cfai.worker.sdk.blobs import Blob
from cfai.worker.sdk.errors import as_pythons
from cfai.worker.sdk.forms import FormData
from cfai.worker.web import messages
from cfai.worker.web.buffers import ArrayBuffer
from cfai.worker.web.data_views import DataView
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.proxies import JsProxy, is_ours
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.typed_arrays import TypedArray
from cfai.worker.web.urls import URLSearchParams

__all__ = ["FetchResponse", "Response"]


class FetchResponse(pyfetch.FetchResponse):
    """What `fetch` gives, beyond what Pyodide's has."""

    @property
    def js_object(self) -> messages.Response:
        return self.js_response

    @property
    def headers(self) -> Any:
        if not current().compat.has_external_sdk:
            return super().headers
        from cfai.worker.sdk.headers import as_message

        return as_message(self.js_response.headers)

    @property
    def body(self) -> ReadableStream | None:
        return None if (body := self.js_response.body) is jsnull else body

    async def form_data(self) -> FormData:
        self._raise_if_failed()
        with as_pythons():
            return FormData(await self.js_response.read_form())

    async def formData(self) -> FormData:  # noqa: N802  # JavaScript's spelling, which the SDK has too
        return await self.form_data()

    async def blob(self) -> Blob:
        self._raise_if_failed()
        return Blob(await self.js_response.read_blob())

    def replace_body(self, body: Any) -> Response:
        """A response with another body, and all the rest of this one."""
        given = body.js_object if isinstance(body, FormData) else body
        return Response(messages.Response.new(given, self.js_response))

    @staticmethod
    def redirect(url: Any, status: HTTPStatus | int = HTTPStatus.FOUND) -> messages.Response:
        with as_pythons():
            return messages.Response.redirect(url, int(status))

    @staticmethod
    def from_json(
        data: Any, status: HTTPStatus | int = HTTPStatus.OK, status_text: str = "", headers: Any = None
    ) -> Response:
        """A JSON response, with the spaces that Python's json puts between items."""
        options = _options(status, status_text, headers)
        with as_pythons():
            if isinstance(data, JsProxy):
                return Response(messages.Response.json(data, options))  # type: ignore[call-arg, arg-type]
            made = messages.Response.new(json.dumps(data), options)
            if "headers" not in options or not options["headers"].has("content-type"):
                made.headers.set("content-type", "application/json")
            return Response(made)

    # On the class it makes a response of data, on an instance it reads the body.
    def json(self, *args: Any, **options: Any) -> Any:
        # As in Cloudflare's SDK, json.loads is given no options.
        return super().json() if isinstance(self, Response) else Response.from_json(self, *args, **options)


class Response(FetchResponse):
    """A response.

    ```python
    Response("hello")                                                      # text/plain
    Response(stream, headers={"content-type": "text/event-stream"})        # any async iterable of bytes or str
    Response.json({"a": 1}, status=201)
    ```
    """

    def __init__(
        self,
        body: Any = None,
        status: HTTPStatus | int | None = None,
        status_text: str = "",
        headers: Any = None,
        web_socket: Any = None,
    ) -> None:
        body = _checked(body)
        if isinstance(body, messages.Response):
            if status is not None or status_text or headers is not None:
                raise ValueError("Expected no options when constructing Response from a js.Response")
            super().__init__(body.url, body)
            return
        options = _options(status, status_text, headers)
        if web_socket:
            options["webSocket"] = web_socket
        super().__init__("", messages.Response.new(body, options))

    def __repr__(self) -> str:
        told = [f"status={self.status}"]
        response = self.js_response
        if response.statusText:
            told.append(f"status_text={self.status_text!r}")
        if kind := response.headers.find("content-type"):
            told.append(f"content_type={kind!r}")
        if response.url:
            told.append(f"url={response.url!r}")
        if response.type != "default":
            told.append(f"type={response.type!r}")
        return f"Response({', '.join(told)})"


def _options(status: HTTPStatus | int | None, status_text: str, headers: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if status:
        options["status"] = status.value if isinstance(status, HTTPStatus) else status
    if status_text:
        options["statusText"] = status_text
    if headers:
        from cfai.worker.sdk.headers import js_headers

        options["headers"] = js_headers(headers)
    return options


_BODIES = (str, bytes, ReadableStream, URLSearchParams, ArrayBuffer, TypedArray, DataView, messages.Response)


def _checked(body: Any) -> Any:
    from cfai.worker.web import blobs, forms

    if body is None or isinstance(body, (*_BODIES, blobs.Blob, forms.FormData)):
        return body
    if isinstance(body, FormData):
        return body.js_object
    kind = body.constructor.name if isinstance(body, JsProxy) else type(body).__name__
    refusal = TypeError(f"Unsupported type in Response: {'JsNull' if body is jsnull else kind}")
    if body is jsnull:
        current().lenient("Response(jsnull)", lambda: refusal)
        return None
    if isinstance(body, ByteStream):
        return body
    if isinstance(body, JsProxy) or not isinstance(body, bytearray | memoryview | AsyncIterable):
        raise refusal
    if not is_ours(2):
        current().lenient(f"Response(<{kind}>)", lambda: refusal)
    return body
