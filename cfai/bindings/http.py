"""A binding over HTTP: cfai's own server, or Cloudflare's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

from cfai import sse
from cfai.addresses import shown_url
from cfai.binding import ENDPOINTS, EVENT_STREAM, JSON, Call, Reply
from cfai.errors import AiError, BadInput, ConnectionDropped, EngineFailure, InvalidModelName
from cfai.results import ByteStream

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpBinding"]

_KEPT_HEADERS = ("content-type", "cf-ai-req-id", "cf-ai-neurons", "x-cfai-usd", "cf-aig-log-id", "retry-after")


class HttpBinding:
    """Send calls to a server.

    ```python
    ai = Ai(HttpBinding("http://127.0.0.1:8788", token="secret"))
    ```

    base_url  where the REST API lives, with or without `/client/v4`; default `http://127.0.0.1:8788`, where
              `cfai serve` is
    account   the account id in the path; a local server takes any
    token     the bearer token, if the server wants one
    socket    the path of a Unix socket instead: the binding protocol that workerd's own `env.AI` speaks
    chunks    what a stream gives: whole "events", wherever the network cut them, or the chunks of the "network" as they
              come, as a tape of a server wants them

    A connection that cannot be made, or breaks, is an `EngineFailure` that names the address, within a stream a
    `ConnectionDropped`.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8788",
        *,
        account: str = "local",
        token: str | None = None,
        socket: str | Path | None = None,
        chunks: Literal["events", "network"] = "events",
    ) -> None:
        if chunks not in ("events", "network"):
            raise ValueError(f"chunks must be events or network, it is {chunks!r}")
        self._address = str(socket or shown_url(base_url))
        self._base_url = base_url.rstrip("/").removesuffix("/client/v4")
        self._account = account
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._socket = str(socket) if socket else None
        self._cuts_events = chunks == "events"
        # A connection belongs to the event loop that opened it.
        self._clients: WeakKeyDictionary[Any, httpx2.AsyncClient] = WeakKeyDictionary()

    async def send(self, call: Call) -> Reply:
        import httpx2

        client = self._open()
        try:
            request = self._request(client, call)
        except AiError as error:
            return Reply.from_error(error)
        try:
            response = await client.send(request, stream=True)
            return await self._reply(response, has_envelope=not self._socket and call.form == "native")
        except httpx2.TransportError as error:
            return Reply.from_error(self._broken(error))

    def _open(self) -> httpx2.AsyncClient:
        import httpx2

        loop = current_token().native_token
        if (client := self._clients.get(loop)) is None:
            transport = httpx2.AsyncHTTPTransport(uds=self._socket)
            # A first token may take as long as a model takes to load; a server that is gone is noticed by the socket.
            client = httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(None, connect=10))
            self._clients[loop] = client
        return client

    def _request(self, client: httpx2.AsyncClient, call: Call) -> httpx2.Request:
        if not call.model.isascii() or not call.model.isprintable() or ".." in call.model:
            raise InvalidModelName(call.model)
        url, body, content_type = self._workerd_request(call) if self._socket else self._rest_request(call)
        headers = {"cf-consn-model-id": call.model, **self._headers, **call.headers, "content-type": content_type}
        if wrong := [name for name, value in headers.items() if not (value.isascii() and value.isprintable())]:
            raise BadInput(f"the header {wrong[0]} has characters that no header may have")
        return client.build_request("POST", url, content=body, headers=headers)

    def _workerd_request(self, call: Call) -> tuple[str, bytes, str]:
        if call.form != "native":
            return f"http://workers-binding.ai/v1/{ENDPOINTS[call.form]}{_query(call)}", _json(_with_model(call)), JSON
        if (stream := _Stream.among(call.inputs)) is not None:
            query = {**call.options, "version": "3", "userInputs": _json(stream.others).decode()}
            written = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
            return f"http://workers-binding.ai/run?{urlencode(written)}", stream.body, stream.content_type
        body = _json({"inputs": call.inputs, "options": dict(call.options)})
        return "http://workers-binding.ai/run?version=3", body, JSON

    @property
    def _routes(self) -> str:
        return f"{self._base_url}/client/v4/accounts/{self._account}/ai"

    def _rest_request(self, call: Call) -> tuple[str, bytes, str]:
        routes = self._routes
        if call.form != "native":
            return f"{routes}/v1/{ENDPOINTS[call.form]}{_query(call)}", _json(_with_model(call)), JSON
        url = f"{routes}/run/{quote(call.model)}{_query(call)}"
        if (stream := _Stream.among(call.inputs)) is not None and not stream.others:
            return url, stream.body, stream.content_type
        return url, _json(call.inputs), JSON

    async def models_here(self) -> list[str]:
        """The models that the server has weights for, by its `/v1/models`; Cloudflare's has no such list."""
        import httpx2

        origin = "http://workers-binding.ai" if self._socket else self._base_url
        try:
            response = await self._open().get(f"{origin}/v1/models", headers=self._headers)
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        if not response.is_success:
            raise AiError.from_body(sse.loads(response.text), response.status_code)
        return [str(model["id"]) for model in response.json()["data"]]

    async def search_models(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rows of the server's `models/search`."""
        import httpx2

        where = "http://workers-binding.ai/ai-api" if self._socket else self._routes
        try:
            response = await self._open().get(f"{where}/models/search", params=dict(query), headers=self._headers)
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        if not response.is_success:
            raise AiError.from_body(sse.loads(response.text), response.status_code)
        rows: list[dict[str, Any]] = response.json()["result"]
        return rows

    async def _reply(self, response: httpx2.Response, *, has_envelope: bool) -> Reply:
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        kind = headers.get("content-type", "").partition(";")[0].strip()
        if response.is_success and kind != JSON:
            is_cut = kind == EVENT_STREAM and self._cuts_events
            source = _Events(response, self) if is_cut else _Chunks(response, self)
            return Reply(ByteStream(source), response.status_code, headers)
        try:
            text = (await response.aread()).decode("utf-8", "replace")
        finally:
            await response.aclose()
        body = sse.loads(text) if kind == JSON else text
        if response.is_success and has_envelope and isinstance(body, Mapping) and "result" in body:
            body = body["result"]
            headers["content-type"] = JSON  # what it was belongs to the envelope
        return Reply(body, response.status_code, headers)

    def _broken(self, error: Exception) -> AiError:
        return EngineFailure(
            f"{self._address} does not answer: {error or type(error).__name__}",
            hint="is it running, and is that its address? `cfai serve` starts one on this machine",
        )

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of others went with their loops."""
        if (client := self._clients.pop(current_token().native_token, None)) is not None:
            await client.aclose()


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, default=_numbers).encode()
    except (TypeError, ValueError) as error:
        raise BadInput(f"the inputs are not JSON: {error}") from error


def _numbers(value: Any) -> list[int]:
    """Bytes as JSON has them."""
    if isinstance(value, bytes | bytearray | memoryview):
        return [*bytes(value)]
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


@dataclass(frozen=True, slots=True)
class _Stream:
    """The input that is no JSON, `{"body": bytes, "contentType"}`, and the others beside it."""

    body: bytes
    content_type: str
    others: Mapping[str, Any]

    @classmethod
    def among(cls, inputs: Any) -> _Stream | None:
        for name, value in inputs.items() if isinstance(inputs, Mapping) else ():
            if isinstance(value, Mapping) and isinstance(body := value.get("body"), bytes | bytearray | memoryview):
                others = {other: item for other, item in inputs.items() if other != name}
                return cls(bytes(body), str(value.get("contentType", "application/octet-stream")), others)
        return None


def _query(call: Call) -> str:
    """The options that our server takes in the query, where the body has no place for them."""
    there = ("asOf", "fidelity", "strictRetired", "keepAlive")
    given = {name: str(call.options[name]) for name in there if name in call.options}
    return f"?{urlencode(given)}" if given else ""


def _with_model(call: Call) -> Any:
    return {"model": call.model, **call.inputs} if isinstance(call.inputs, Mapping) else call.inputs


class _Chunks:
    """The body as the network brings it."""

    def __init__(self, response: httpx2.Response, binding: HttpBinding) -> None:
        self._response = response
        self._binding = binding
        self._body: AsyncIterator[bytes] | None = None

    async def __anext__(self) -> bytes:
        import httpx2

        if self._body is None:
            self._body = self._response.aiter_bytes()
        try:
            return await self._body.__anext__()
        except httpx2.TransportError as error:
            broken = self._binding._broken(error)
            raise ConnectionDropped(broken.description, hint=broken.hint) from error

    async def aclose(self) -> None:
        await self._response.aclose()


class _Events(_Chunks):
    """The body cut into whole events, wherever the network cut it."""

    def __init__(self, response: httpx2.Response, binding: HttpBinding) -> None:
        super().__init__(response, binding)
        self._splitter = sse.Splitter()
        self._ready: list[bytes] = []

    async def __anext__(self) -> bytes:
        while not self._ready:
            try:
                self._ready = self._splitter.feed(await super().__anext__())
            except StopAsyncIteration:
                self._ready = self._splitter.end()
                if not self._ready:
                    raise
        return self._ready.pop(0)
