"""The tables of `docs/models.md`, made of the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from cfai.catalog.catalog import Catalog
from cfai.catalog.model import Limits, Model
from cfai.catalog.sources import sources, sources_of

__all__ = ["BEGIN", "END", "tables", "with_tables"]

BEGIN: Final = "<!-- What follows is made of the catalog: python -m cfai.catalog docs/models.md -->"
END: Final = "<!-- Up to here. -->"


def with_tables(page: str, catalog: Catalog) -> str:
    """`page` with today's tables between its two marks. Raises a ValueError where it has no marks.

    ```python
    with_tables(f"# Models\\n{BEGIN}\\n{END}\\n", Catalog.builtin())
    ```
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}, between which the tables are put")
    return f"{head}{BEGIN}\n\n{tables(catalog)}\n{END}{tail}"


def tables(catalog: Catalog) -> str:
    """The tables as Markdown."""
    return "\n".join(line for section in _sections(catalog) for line in (*section, ""))


def _sections(catalog: Catalog) -> Iterator[Iterable[str]]:
    models = [model for model in catalog.models() if model.bundled is None]
    served = [model for model in models if model.status == "active"]
    unlisted = [model for model in models if model.status == "unlisted"]
    gone = [model for model in models if model.status == "gone"]

    yield ("## Text generation",)
    text = [model for model in served if model.generates_text]
    yield from _table(
        {
            "model": lambda model: f"`{model.id}`<br>{model.description}",
            "form": lambda model: model.family,
            "context": lambda model: _number(model.limits().context_window),
            "`max_tokens` by default": lambda model: _default(model.limits()),
            "can": lambda model: _words(catalog.capabilities(model) - {"streaming"}),
            "note": _notes,
            "$ in": lambda model: _price(model, "per M input tokens"),
            "$ cached": lambda model: _price(model, "per M cached input tokens"),
            "$ out": lambda model: _price(model, "per M output tokens"),
            "calls a minute": lambda model: _number(catalog.requests_per_minute(model)),
        },
        text,
    )
    yield ("## Other tasks",)
    yield from _table(
        {
            "model": lambda model: f"`{model.id}`<br>{model.description}",
            "task": lambda model: model.task,
            "can": lambda model: _words(catalog.capabilities(model)),
            "note": _notes,
            "price in dollars": _prices,
            "calls a minute": lambda model: _number(catalog.requests_per_minute(model)),
        },
        [model for model in served if not model.generates_text],
    )
    yield ("## Retired",)
    yield from _table(
        {
            "model": lambda model: f"`{model.id}`<br>{model.description}",
            "added": lambda model: str(model.created or ""),
            "retired": lambda model: str(model.deprecated) if model.deprecated else f"before {model.removed}",
            "to use there": lambda model: _successor(model, catalog),
            "context": lambda model: _number(model.limits().context_window),
        },
        gone,
    )
    yield ("## In no list",)
    yield (
        "Documentation, types or an SDK of Cloudflare's name these; no recorded answer of `models/search` has them.",
    )
    yield from _table(
        {"model": lambda model: f"`{model.id}`<br>{model.description}", "task": lambda model: model.task}, unlisted
    )
    yield ("## Earlier limits",)
    yield _lines(
        ("model", "until", "context", "input", "output", "default", "default of streams", "from"),
        [
            (
                f"`{model.id}`",
                str(era.until),
                *_figures(model.limits(_day_before(era.until))),
                sources()[era.source or ""].title.partition(";")[0],
            )
            for model in models
            for era in model.earlier
        ],
    )
    yield ("## Weights",)
    yield from _table(
        {
            "model": lambda model: f"`{model.id}`",
            "repository": _repository,
            "billions": lambda model: f"{model.weights.params_b:g}" if model.weights and model.weights.params_b else "",
            "gated": lambda model: {True: "yes", False: "no", None: "?"}[model.weights.gated] if model.weights else "",
            "because": lambda model: sources()[model.weights.evidence].title if model.weights else "",
        },
        [model for model in models if model.weights],
    )
    yield ("## Sources",)
    used = {source.key for model in models for found in sources_of(model).values() for source in found}
    yield [
        f"- {source.title}" + (f": <{source.url}>" if source.url else "")
        for key, source in sources().items()
        if key in used
    ]


Columns = Mapping[str, Callable[[Model], str]]


def _table(columns: Columns, models: Sequence[Model]) -> Iterator[list[str]]:
    """The table of the models, without the columns that are empty for all of them."""
    rows = [[cell(model) for cell in columns.values()] for model in models]
    kept = [place for place, _ in enumerate(columns) if any(row[place] for row in rows)]
    names = list(columns)
    yield _lines([names[place] for place in kept], [[row[place] for place in kept] for row in rows])


def _lines(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    made = [f"| {' | '.join(row)} |" for row in (names, *rows)]
    return [made[0], "|---" * len(names) + "|", *made[1:]]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _figures(limits: Limits) -> tuple[str, ...]:
    return (
        _number(limits.context_window),
        _number(limits.max_input_tokens),
        _number(limits.max_output_tokens),
        _number(limits.default_max_tokens),
        _number(limits.default_max_tokens_streaming),
    )


def _default(limits: Limits) -> str:
    return _number(limits.default_max_tokens or limits.max_output_tokens) or "up to the window"


def _words(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


_NOTES: Mapping[str, str] = {"beta": "beta", "partner": "of a partner", "require_workers_paid": "paid plan"}


def _notes(model: Model) -> str:
    return ", ".join(note for flag, note in _NOTES.items() if flag in model.flags)


def _price(model: Model, unit: str) -> str:
    return next((f"{price.usd:g}" for price in model.prices if price.unit == unit), "")


def _prices(model: Model) -> str:
    # Seven decimal places: a request of the cheapest model costs millionths of a dollar.
    return ", ".join(f"{price.usd:.7f}".rstrip("0").rstrip(".") + f" {price.unit}" for price in model.prices)


def _successor(model: Model, catalog: Catalog) -> str:
    successor = catalog.successor_of(model)
    return f"`{successor.id}`" if successor else ""


def _repository(model: Model) -> str:
    if model.weights is None:
        return ""
    other = model.weights.ungated_repo
    return f"{model.weights.repo}" + (f", or {other}" if other else "")


def _day_before(day: date) -> date:
    return day - timedelta(days=1)
