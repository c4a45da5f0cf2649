"""What the API lists: models with their filters and pages, tasks, authors; and what it knows of a token.

The clients of Cloudflare ask for page after page until one is empty, so a page beyond the last one is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from cfai.binding import Binding, Listing, Reply
from cfai.catalog import Catalog, Model, Search, catalog_of
from cfai.errors import AiError, IncompleteRequest
from cfai.request_id import of_request
from cfai.server.envelope import enveloped, success
from cfai.server.exchange import send_reply
from cfai.tasks import task_for, text_generation

__all__ = ["Answered", "ModelSearch", "authors", "model_row", "model_rows", "model_schema", "nothing", "tasks", "token"]

PER_PAGE = 50
MOST_PER_PAGE = 1000


class Answered:
    """An ASGI endpoint that gives what `answer` makes of a request's query."""

    def __init__(self, answer: Callable[[QueryParams], Reply | Awaitable[Reply]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = QueryParams(scope["query_string"])
        try:
            answer = self._answer(query)
            reply = answer if isinstance(answer, Reply) else await answer
        except AiError as error:
            reply = enveloped(Reply.from_error(error, {"cf-ai-req-id": of_request()}))
        await send_reply(reply, send)


class ModelSearch:
    """`models/search`: all of Cloudflare's catalog on the day `as_of`, or today's, and what else `binding` has."""

    def __init__(self, binding: Binding, catalog: Catalog | None = None, *, as_of: date | None = None) -> None:
        self._binding = binding
        self._catalog = catalog or catalog_of(binding)
        self._as_of = as_of

    async def __call__(self, query: QueryParams) -> Reply:
        here = await self._binding.models_here() if isinstance(self._binding, Listing) else []
        return _page(model_rows(query, self._catalog, here=here, as_of=self._as_of), query)


def model_rows(
    query: Mapping[str, str], catalog: Catalog, *, here: Sequence[str] = (), as_of: date | None = None
) -> list[dict[str, Any]]:
    """The rows of the models that fit `query`, in the order of their ids.

    here  ids of models that run here; they are listed also when Cloudflare lists them no longer
    as_of  the day whose list it is; default today's
    """
    known = {model.id: model for model in catalog.models()}
    own = {name: known.get(name) or Model(name) for name in here}
    with_retired = _is_set(query, "include_deprecated")
    listed = own | {name: model for name, model in known.items() if model.is_listed(as_of, with_retired=with_retired)}
    search = _search(query)
    for_openrouter = query.get("format") == "openrouter"
    return [
        {**model_row(model, catalog, as_of), **(_openrouter(model, as_of) if for_openrouter else {})}
        for _, model in sorted(listed.items())
        if search.finds(model, catalog)
    ]


def model_row(model: Model, catalog: Catalog, as_of: date | None = None) -> dict[str, Any]:
    """One model as `models/search` lists it, with the limits of the day `as_of`, or today's."""
    task = catalog.task(model.task)
    return {
        "id": model.uuid or _made_up_id(model.id),
        "source": model.source,
        "name": model.id,
        "description": model.description,
        "task": {"id": task.uuid or _made_up_id(task.name), "name": task.name, "description": task.description},
        "created_at": model.created_at and model.created_at.isoformat(" ", "milliseconds"),
        "tags": [*model.tags],
        "properties": _properties(model, as_of),
    }


def model_schema(query: QueryParams, catalog: Catalog, as_of: date | None = None) -> Reply:
    """`models/schema`: the JSON schemas of what a model takes and gives on the day `as_of`, or today."""
    name = query.get("model")
    if not name:
        raise IncompleteRequest("model", hint="name it in the query: ?model=@cf/...")
    model = catalog.get(name)
    if not model.generates_text:
        task = task_for(model)
        return success({"input": task.input_schema, "output": task.output_schema})
    takes = text_generation.input_schema(model, as_of=as_of)
    return success({"input": takes, "output": text_generation.output_schema(model, as_of=as_of)})


def tasks(query: QueryParams, catalog: Catalog) -> Reply:
    """`tasks/search`: what models do."""
    found = [catalog.task(name) for name in sorted({model.task for model in catalog.models()})]
    rows = [
        {"id": task.uuid or _made_up_id(task.name), "name": task.name, "description": task.description}
        for task in found
        if _mentions(query.get("search"), task.name, task.description)
    ]
    return _page(rows, query)


def authors(query: QueryParams, catalog: Catalog) -> Reply:
    """`authors/search`: who models are by."""
    names = sorted({model.author for model in catalog.models() if model.id.startswith(("@cf/", "@hf/"))})
    rows = [{"id": _made_up_id(name), "name": name} for name in names if _mentions(query.get("search"), name)]
    return _page(rows, query)


def nothing(query: QueryParams) -> Reply:
    """A list that is empty here: formats that are converted to Markdown."""
    return success([])


def token(query: QueryParams) -> Reply:
    """`tokens/verify`, for who got this far."""
    reply = success({"id": _made_up_id("token").replace("-", ""), "status": "active"})
    note = {"code": 10000, "message": "This API Token is valid and active", "type": None}
    return Reply({**reply.body, "messages": [note]}, headers=reply.headers)


def _page(rows: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> Reply:
    page = _number(query.get("page"), 1)
    per_page = min(_number(query.get("per_page"), PER_PAGE), MOST_PER_PAGE)
    shown = rows[(page - 1) * per_page : page * per_page]
    pages = -(-len(rows) // per_page)
    info = {
        "page": page,
        "per_page": per_page,
        "count": len(shown),
        "total_count": len(rows),
        "total_pages": pages,
    }
    return success([*shown], result_info=info)


def _number(text: str | None, usual: int) -> int:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 10
    return int(text or 0) if is_number and int(text or 0) > 0 else usual


def _search(query: Mapping[str, str]) -> Search:
    return Search(
        text=query.get("search"),
        task=query.get("task"),
        author=query.get("author"),
        source=query.get("source"),
        hide_experimental=_is_set(query, "hide_experimental"),
    )


def _mentions(wanted: str | None, *texts: str) -> bool:
    return not wanted or any(wanted.lower() in text.lower() for text in texts)


def _is_set(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _properties(model: Model, as_of: date | None) -> list[dict[str, Any]]:
    limits = model.limits(as_of)
    figures: dict[str, Any] = {
        "context_window": limits.context_window,
        "max_input_tokens": limits.max_input_tokens if "max_input_length" not in model.listed else None,
    }
    is_planned = as_of is None or model.announced is None or model.announced <= as_of
    known: dict[str, Any] = {
        **figures,
        "output_dimensions": model.dimensions,
        "planned_deprecation_date": model.deprecated if is_planned else None,
        **model.listed,
        **(figures if limits != model.limits() else {}),
    }
    values: dict[str, Any] = {name: str(value) for name, value in known.items() if value is not None}
    values |= dict.fromkeys(model.flags, "true")
    if model.prices:
        values["price"] = [{"unit": price.unit, "price": price.usd, "currency": "USD"} for price in model.prices]
    return [{"property_id": name, "value": value} for name, value in sorted(values.items())]


def _openrouter(model: Model, as_of: date | None) -> dict[str, Any]:
    prices = {price.unit: price.usd for price in model.prices}
    per_token = {
        name: _dollars(prices[unit])
        for name, unit in (("prompt", "per M input tokens"), ("completion", "per M output tokens"))
        if unit in prices
    }
    return {
        "hugging_face_id": model.weights.repo if model.weights else None,
        "context_length": model.limits(as_of).context_window,
        "pricing": per_token,
    }


def _dollars(per_million: float) -> str:
    return f"{per_million / 1e6:.12f}".rstrip("0").rstrip(".")


def _made_up_id(name: str) -> str:
    """An id for what Cloudflare has none for, the same on every machine."""
    return str(uuid5(NAMESPACE_URL, f"cfai:{name}"))
