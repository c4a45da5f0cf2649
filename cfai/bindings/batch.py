"""Batches: many requests handed in at once, answered when there is room, and fetched later.

    {"requests": [...]}, options {"queueRequest": true}  ->  {"status": "queued", "request_id", "model"}
    {"request_id": ...}                                  ->  {"status": "queued" | "running"}
                                                             {"responses": [...], "usage": {...}}

https://developers.cloudflare.com/workers-ai/features/batch-api/
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from cfai.binding import JSON, Binding, Call, Listing, Reply, Stats
from cfai.catalog import Catalog, catalog_of
from cfai.clock import Clock, RealClock
from cfai.errors import AiError, BadInput, EngineFailure, OutOfCapacity, RateLimited
from cfai.request_id import of_request
from cfai.results import ByteStream
from cfai.tasks.schema import types_of

__all__ = ["BatchBinding"]

KEEP_SECONDS = 24 * 60 * 60.0
"""How long the answers of a finished batch can be fetched."""

MOST_BYTES = 64 * 1024 * 1024
"""What the requests and answers of all batches may take, as JSON."""

MOST_BATCHES = 1000

AT_ONCE = 4
"""Requests of a batch that are under way at the same time: others are to find room between them."""

PAUSE_SECONDS = 0.25
"""How long to wait before asking again a binding that is full."""


class BatchBinding:
    """`binding`, and batches of requests to it; for asyncio.

    A call with the option `queueRequest` hands a batch in, `inputs["requests"]`; one with `{"request_id": ...}` to the
    same model asks for it. Other calls are passed on. A batch runs beside them, some of its requests at a time, and
    waits while the binding is full or takes no more requests in this minute. Every model takes batches, also those that
    Cloudflare has without.

    keep_seconds  how long the answers of a finished batch are kept
    most_bytes    what all batches may take; when it is full the oldest finished one goes, else 3040/429
    catalog       the models that there are; default those of `binding`
    clock         by which answers grow old; default the machine's
    """

    def __init__(
        self,
        binding: Binding,
        *,
        keep_seconds: float = KEEP_SECONDS,
        most_bytes: int = MOST_BYTES,
        catalog: Catalog | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._binding = binding
        self.catalog = catalog or catalog_of(binding)
        """The models that there are."""
        self._keep_seconds = keep_seconds
        self._most_bytes = most_bytes
        self._clock = clock or RealClock()
        self._batches: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, call: Call) -> Reply:
        headers = {"cf-ai-req-id": of_request()}
        try:
            if (request_id := _asked_for(call)) is not None:
                return Reply(self._state(call.model, request_id), headers={**headers, "content-type": JSON})
            if call.options.get("queueRequest") is True:
                return Reply(self._queued(call), headers={**headers, "content-type": JSON})
        except AiError as error:
            return Reply.from_error(error, headers)
        return await self._binding.send(call)

    def stats(self) -> dict[str, Any]:
        return self._binding.stats() if isinstance(self._binding, Stats) else {}

    async def models_here(self) -> list[str]:
        return await self._binding.models_here() if isinstance(self._binding, Listing) else []

    async def end_batches(self) -> None:
        """End what runs, and forget all batches."""
        self._batches.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(list(self._tasks))

    async def aclose(self) -> None:
        await self.end_batches()
        await self._binding.aclose()

    def _queued(self, call: Call) -> dict[str, Any]:
        requests = call.inputs.get("requests") if isinstance(call.inputs, Mapping) else None
        if not isinstance(requests, list):
            raise BadInput(
                "required properties at '/' are 'requests'", hint='a batch is {"requests": [{"prompt": "hello"}, ...]}'
            )
        if not requests:
            raise BadInput("Length of '/requests' must be >= 1 not met")
        for at, request in enumerate(requests):
            if not isinstance(request, dict):
                kinds = "','".join(types_of(request))
                raise BadInput(f"Type mismatch of '/requests/{at}', 'object' not in '{kinds}'")
        batch = _Batch(call, requests)
        self._make_room(batch.size)
        self._batches[batch.id] = batch
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"status": "queued", "request_id": batch.id, "model": call.model}

    def _state(self, model: str, request_id: str) -> dict[str, Any]:
        self._forget_old()
        batch = self._batches.get(request_id)
        if batch is None or batch.model != model:
            raise BadInput(
                f"'/request_id' {request_id[:60]!r} is no batch of {model}",
                hint="batches are forgotten when the server ends, and answers some time after they are made",
            )
        return batch.state()

    def _make_room(self, size: int) -> None:
        self._forget_old()
        while self._size() + size > self._most_bytes or len(self._batches) >= MOST_BATCHES:
            finished = next((batch.id for batch in self._batches.values() if batch.finished_at is not None), None)
            if finished is None:
                raise OutOfCapacity(hint="other batches take all the memory that there is for them")
            del self._batches[finished]

    def _forget_old(self) -> None:
        oldest = self._clock.now() - self._keep_seconds
        for batch in list(self._batches.values()):
            if batch.finished_at is not None and batch.finished_at < oldest:
                del self._batches[batch.id]

    def _size(self) -> int:
        return sum(batch.size for batch in self._batches.values())

    async def _run(self, batch: _Batch) -> None:
        left = iter(range(len(batch.calls)))

        async def work() -> None:
            for at in left:
                batch.put(at, await self._answer(batch.calls[at]), most=self._most_bytes)

        async with anyio.create_task_group() as tasks:
            for _ in range(min(AT_ONCE, len(batch.calls))):
                tasks.start_soon(work)
        batch.finish(self._clock.now())

    async def _answer(self, call: Call) -> Reply:
        while True:
            try:
                reply = await self._binding.send(call)
            except Exception as error:  # a binding replies to what it refuses; this one is broken
                return Reply.from_error(EngineFailure(f"the binding failed: {error}"))
            if isinstance(reply.body, ByteStream):
                await reply.aclose()
                return Reply.from_error(BadInput("a request of a batch cannot stream"))
            if not isinstance(reply.error, OutOfCapacity | RateLimited):
                return reply
            await anyio.sleep(PAUSE_SECONDS)


def _asked_for(call: Call) -> str | None:
    """The id of the batch that a call asks for, if it does."""
    if call.form != "native" or not isinstance(call.inputs, Mapping) or {*call.inputs} - {"stream"} != {"request_id"}:
        return None
    request_id = call.inputs["request_id"]
    return request_id if isinstance(request_id, str) else None


class _Batch:
    """One batch: its calls, and the answers so far."""

    def __init__(self, call: Call, requests: Sequence[Mapping[str, Any]]) -> None:
        self.id = str(uuid.uuid4())
        self.model = call.model
        self.size = _size_of(requests)
        self.finished_at: float | None = None
        self._references = [request.get("external_reference") for request in requests]
        options = {name: value for name, value in call.options.items() if name not in ("queueRequest", "rejectIfBusy")}
        self.calls = [
            Call(call.model, _inputs(request), options, dict(call.headers), call.form) for request in requests
        ]
        self._responses: dict[int, dict[str, Any]] = {}

    def put(self, at: int, reply: Reply, *, most: int) -> None:
        """Keep the answer of one request; an error in its place if it alone takes more than `most` bytes."""
        size = _size_of(reply.body)
        if self.size + size > most:
            reply, size = Reply.from_error(EngineFailure("the answers of the batch take too much memory")), 0
        error = reply.error
        row: dict[str, Any] = {"id": at, "result": {} if error else reply.body, "success": error is None}
        if error is not None:
            row["errors"] = [{"code": error.code, "message": error.description}]
        if self._references[at] is not None:
            row["external_reference"] = self._references[at]
        self._responses[at] = row
        self.size += size

    def finish(self, now: float) -> None:
        self.finished_at = now
        self.calls.clear()

    def state(self) -> dict[str, Any]:
        if self.finished_at is None:
            return {"status": "running" if self._responses else "queued"}
        responses = [self._responses[at] for at in sorted(self._responses)]
        return {"responses": responses, "usage": _usage(responses)}


def _inputs(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in ("external_reference", "stream")}


def _usage(responses: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    total = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for row in responses:
        usage = row["result"].get("usage") if isinstance(row["result"], Mapping) else None
        if isinstance(usage, Mapping):
            for name in total:
                total[name] += usage[name] if isinstance(usage.get(name), int) else 0
    return total


def _size_of(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else len(json.dumps(value, default=str))
