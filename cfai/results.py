"""What `Ai.run` returns: a dict with attributes, or a byte stream."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol, Self, SupportsIndex, overload

import anyio

from cfai.clock import Clock

__all__ = ["AiList", "AiResult", "ByteStream", "plain", "wrap"]


class AiResult(dict[str, Any]):
    """A JSON object whose keys are also attributes: `r["response"]` and `r.response` are the same.

    It is a dict, so `json.dumps`, `**r` and `isinstance(r, dict)` work. Names that dict itself has (`keys`, `items`,
    `get`, ...) stay dict's methods, as they do in Cloudflare's Python SDK.
    """

    def __init__(self, data: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /) -> None:
        super().__init__({key: wrap(value) for key, value in dict(data).items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the result has no {name!r}, only: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def to_py(self) -> dict[str, Any]:
        """A deep copy made of plain dicts and lists."""
        return {key: plain(value) for key, value in self.items()}


class AiList(list[Any]):
    """A JSON array inside an `AiResult`."""

    def __init__(self, items: Iterable[Any] = (), /) -> None:
        super().__init__(wrap(item) for item in items)

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> Any: ...
    @overload
    def __getitem__(self, at: slice, /) -> AiList: ...
    def __getitem__(self, at: SupportsIndex | slice, /) -> Any:
        found = super().__getitem__(at)
        return AiList(found) if isinstance(at, slice) else found

    @property
    def length(self) -> int:
        return len(self)

    def to_py(self) -> list[Any]:
        """A deep copy made of plain dicts and lists."""
        return [plain(item) for item in self]


def wrap(value: Any) -> Any:
    """`value` with every dict in it made an `AiResult` and every list an `AiList`."""
    if isinstance(value, AiResult | AiList):
        return value
    if isinstance(value, Mapping):
        return AiResult(value)
    if isinstance(value, list | tuple):
        return AiList(value)
    return value


def plain(value: Any) -> Any:
    """`value` as plain dicts and lists; anything with a `to_py` (an `AiResult`, a JavaScript proxy) is asked for it."""
    if hasattr(value, "to_py"):
        value = value.to_py()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if _PLAIN.issuperset(map(type, value)):  # seen quickly: a vector, a recording with millions of numbers
            return [*value]
        return [plain(item) for item in value]
    return value


_PLAIN = frozenset({str, int, float, bool, type(None)})


class ByteSource(Protocol):
    """Where a `ByteStream` reads, an async generator for one: chunks until `StopAsyncIteration`, and a close."""

    async def __anext__(self) -> bytes: ...
    async def aclose(self) -> None: ...


class ByteStream:
    """The bytes of an answer as they are made, for a stream one server-sent event per item.

    ```python
    async with await ai.run(model, {"prompt": "hi", "stream": True}) as stream:
        async for event in stream:
            print(event)  # b'data: {"response":"New"}\\n\\n'
    ```

    Closing it, or leaving the `async with`, stops the model, also when nothing was read yet. Reading it to its end
    closes it too. It can be read once. `clock` is the one by which its bytes come, the machine's where there is none.
    """

    def __init__(self, source: ByteSource, *, clock: Clock | None = None) -> None:
        self.clock = clock
        self._source = source
        self._closed = False
        self._on_close: list[Callable[[], object]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        try:
            return await self._source.__anext__()
        except BaseException:  # the end, an error, a cancelled reader: whichever it is, nothing more will be read
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop the answer and free what it holds. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as calls:  # each is made, also when another one raises
            for call in reversed(self._on_close):
                calls.callback(call)
            # A reader that is being cancelled must still stop the model.
            with anyio.CancelScope(shield=True):
                await self._source.aclose()

    def on_close(self, call: Callable[[], object]) -> None:
        """Have `call` made when the stream has been read to its end or is closed; never, if that has been."""
        self._on_close.append(call)

    async def wait_closed(self) -> None:
        """Return when the stream was read to its end or closed."""
        if not self._closed:
            event = anyio.Event()
            self.on_close(event.set)
            await event.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.aclose()
