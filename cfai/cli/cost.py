"""`cfai cost`: what was spent, and what a day of requests would cost on Cloudflare."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import SettingsFile
from cfai.cost import FREE_NEURONS, Cost, shown_neurons, shown_usd

if TYPE_CHECKING:
    from cfai.bindings.spent import Spent
    from cfai.catalog import Catalog, Model
    from cfai.catalog.estimate import Estimate, Load

__all__ = ["cost"]

FOOTNOTE = (
    "A neuron is Cloudflare's measure of work; 1,000 of them cost $0.011. The first",
    "10,000 of a day, from 00:00 UTC, are free: day and month are without them.",
)

UNKNOWN = "not known"
"""What stands where no price is."""

DAY = frozenset({"requests", "input_tokens", "output_tokens", "cached", "peak", "unit"})
"""The parameters that describe a day of requests."""

MOST = 10**12
"""Of requests, tokens and units: more than anybody has, and what can be reckoned with."""


def cost(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL|FILE]",
            help="A model, to ask what it would cost; a tape or a log of costs, to see what it did. "
            "Without either: what the servers on this machine have spent.",
            show_default=False,
        ),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, max=MOST, help="Requests per day.")] = 1000,
    input_tokens: Annotated[int, typer.Option("--in", min=0, max=MOST, help="Tokens in, per request.")] = 500,
    output_tokens: Annotated[int, typer.Option("--out", min=0, max=MOST, help="Tokens out, per request.")] = 200,
    cached: Annotated[
        float, typer.Option(min=0, max=1, help="The share of the input that was sent before, such as 0.5.")
    ] = 0.0,
    peak: Annotated[
        int | None,
        typer.Option(min=0, max=MOST, help="Requests in the busiest minute.  [default: a tenth of the day in an hour]"),
    ] = None,
    unit: Annotated[
        list[str],
        typer.Option(metavar="UNIT=AMOUNT", help='Other work per request: "audio minute=2", "step=4". Repeatable.'),
    ] = [],  # noqa: B006  # Typer copies it
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="Another model, beside the first.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    settings_file: SettingsFile = None,
) -> None:
    """Tell what answers cost on Cloudflare: what was spent, or what a day of requests would cost.

    Exit codes: 0 told, 2 bad options or a file that is no log, 3 no such model.
    """
    from cfai.catalog.estimate import Load
    from cfai.cli.settled import settled

    catalog = settled(context).catalog
    if what is not None and what.startswith("@"):
        units = dict(map(_unit, unit))
        load = Load(requests, input_tokens, output_tokens, cached, units, peak)
        estimates = [_estimate(name, load, catalog) for name in (what, against) if name is not None]
        _write(_told(load, estimates) if json else _table(load, estimates), json)
        return
    if what is None:
        _refuse_a_day(context)
    spent = _spent(what, catalog)
    other = None if against is None else _with(spent, _model(against, catalog))
    _write(_listed(spent, against, other) if json else _days(spent, what, against, other), json)


def _write(what: Any, json: bool) -> None:
    from cfai import sse

    sys.stdout.write(sse.dumps(what) + "\n" if json else "\n".join(what) + "\n")


def _unit(text: str) -> tuple[str, float]:
    name, equals, amount = text.partition("=")
    try:
        value = float(amount)
    except ValueError:
        value = -1.0
    if not equals or not 0 <= value <= MOST:
        fail(f"--unit {text!r} has no amount from 0 to {MOST:,}", ExitCode.USAGE, hint='write --unit "audio minute=2"')
    return name.strip(), value


def _refuse_a_day(context: typer.Context) -> None:
    """What describes a day of requests says nothing of what was spent."""
    for option in context.command.params:
        given = context.get_parameter_source(option.name) if option.name in DAY else None
        if given is not None and given.name != "DEFAULT":
            fail(
                f"{option.opts[0]} is of a day of requests to a model, and none is named",
                ExitCode.USAGE,
                hint=f"cfai cost @cf/meta/llama-3.2-1b-instruct {option.opts[0]} ...",
            )


def _model(name: str, catalog: Catalog) -> Model:
    from cfai.cli.endings import fail_with
    from cfai.errors import AiError

    try:
        return catalog.get(name)
    except AiError as error:
        fail_with(error)


def _estimate(model: str, load: Load, catalog: Catalog) -> Estimate:
    from cfai.catalog.estimate import Estimate

    known = _model(model, catalog)
    try:
        return Estimate.of(known.id, load, catalog=catalog)
    except ValueError as error:
        units = known.units
        hint = f'say how much of it a request needs: --unit "{units[0]}=2"' if units else "leave --unit out"
        fail(str(error), ExitCode.USAGE, hint=hint)


# What would be


def _told(load: Load, estimates: Sequence[Estimate]) -> dict[str, Any]:
    return {
        "requests_per_day": load.requests,
        "input_tokens": load.input_tokens,
        "output_tokens": load.output_tokens,
        "cached": load.cached,
        "units": dict(load.units),
        "requests_in_busiest_minute": load.busiest_minute,
        "free_neurons_per_day": FREE_NEURONS,
        "models": [estimate.to_json() for estimate in estimates],
    }


def _table(load: Load, estimates: Sequence[Estimate]) -> Iterator[str]:
    names = "AB" if len(estimates) > 1 else " "
    for name, estimate in zip(names, estimates, strict=True):
        yield f"{name}  {estimate.model.id}".strip()
    yield ""
    work = _work(load, estimates)
    yield f"{load.requests:,} requests a day{f', each with {work}' if work else ''}"
    yield ""
    if len(estimates) > 1:
        yield _line("", names)
    for label, cells in (
        ("neurons per request", [_neurons(one.neurons) for one in estimates]),
        ("neurons per day", [_neurons(one.neurons_per_day) for one in estimates]),
        (f"of the {FREE_NEURONS:,} free each day", [_share(one.free_share) for one in estimates]),
        ("requests a day for free", [_count(one.free_requests) for one in estimates]),
        ("dollars per request", [_usd(one.usd) for one in estimates]),
        ("dollars per day", [_usd(one.usd_per_day) for one in estimates]),
        ("dollars per month of 30 days", [_usd(one.usd_per_month) for one in estimates]),
        ("requests in the busiest minute", [_of(load.busiest_minute, one.requests_per_minute) for one in estimates]),
        *(_token_rows(load, estimates) if _counts_tokens(load, estimates) else []),
    ):
        yield _line(label, cells)
    yield ""
    yield from itertools.chain.from_iterable(_remarks(*named) for named in zip(names, estimates, strict=True))
    yield from FOOTNOTE


def _token_rows(load: Load, estimates: Sequence[Estimate]) -> list[tuple[str, list[str]]]:
    both, out = load.input_tokens + load.output_tokens, load.output_tokens
    return [
        ("tokens in and out, the window", [_of(both, one.limits.context_window) for one in estimates]),
        ("tokens out", [_of(out, one.limits.max_output_tokens) for one in estimates]),
    ]


def _counts_tokens(load: Load, estimates: Sequence[Estimate]) -> bool:
    return any(one.model.generates_text or one.model.token_neurons for one in estimates)


def _work(load: Load, estimates: Sequence[Estimate]) -> str:
    parts = [f"{amount:g} x {unit}" for unit, amount in load.units.items()]
    if _counts_tokens(load, estimates):
        cached = f" ({load.cached:.0%} of them cached)" if load.cached else ""
        parts = [f"{load.input_tokens:,} tokens in{cached} and {load.output_tokens:,} out", *parts]
    return ", ".join(parts)


def _remarks(name: str, estimate: Estimate) -> Iterator[str]:
    model, mark = estimate.model, f"{name}: ".lstrip(" :")
    limit = estimate.first_limit
    yield f"{mark}{f'the first limit it hits is {limit}' if limit else 'no limit that is known is hit'}."
    if estimate.needs_max_tokens:
        default = estimate.limits.default_max_tokens
        yield f"{mark}without max_tokens an answer ends after {default} tokens: send it."
    if estimate.neurons is None:
        yield f"{mark}its price is not known, which does not mean that it is free."
    elif estimate.load.cached and (each := model.token_neurons) is not None and each.cached_input is None:
        yield f"{mark}cached tokens cost what the others do."
    if estimate.neurons is not None and model.last_seen is not None:
        yield f"{mark}prices of the model list of {model.last_seen:%Y-%m-%d}."
    if model.is_retired():
        yield f"{mark}Cloudflare no longer serves it."


def _line(label: str, cells: Sequence[str]) -> str:
    return f"{label:<32}{''.join(f' {cell:>22}' for cell in cells)}"


def _neurons(neurons: float | None) -> str:
    return UNKNOWN if neurons is None else shown_neurons(neurons)


def _usd(usd: float | None) -> str:
    return UNKNOWN if usd is None else shown_usd(usd)


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _share(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}" if share < 1 else f"{share:,.1f} times"


def _of(count: int, most: int | None) -> str:
    return f"{count:,}" if most is None else f"{count:,} (limit {most:,})"


# What was


def _spent(what: str | None, catalog: Catalog) -> list[Spent]:
    from cfai import weights
    from cfai.bindings.account import COSTS
    from cfai.bindings.spent import NoLog, spent_in, spent_on
    from cfai.bindings.tape import BadTape

    if what is None:
        return spent_in(weights.home() / COSTS)
    try:
        return spent_on(Path(what), catalog=catalog)
    except (NoLog, BadTape) as error:
        fail(str(error), ExitCode.USAGE, hint="a model begins with @, such as @cf/meta/llama-3.2-1b-instruct")


def _with(spent: Sequence[Spent], other: Model) -> Cost:
    """The same tokens with another model; its tokenizer would make a few more or fewer of them."""
    total = Cost.total(one.cost for one in spent)
    neurons = other.neurons_of(total.input_tokens, total.output_tokens, total.cached_tokens)
    return Cost(total.input_tokens, total.output_tokens, total.cached_tokens, neurons)


def _row(spent: Spent) -> dict[str, Any]:
    return {"day": spent.day or None, "model": spent.model, "requests": spent.requests, **_cost(spent.cost)}


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "input_tokens": cost.input_tokens,
        "cached_tokens": cost.cached_tokens,
        "output_tokens": cost.output_tokens,
        "neurons": cost.neurons,
        "usd": cost.usd,
    }


def _listed(spent: Sequence[Spent], against: str | None, other: Cost | None) -> dict[str, Any]:
    total = Cost.total(one.cost for one in spent)
    told = {"spent": [_row(one) for one in spent], "total": _cost(total)}
    return told if other is None else {**told, "against": {"model": against, **_cost(other)}}


def _days(spent: Sequence[Spent], what: str | None, against: str | None, other: Cost | None) -> Iterator[str]:
    if not spent:
        yield "nothing was spent" + (
            "; `cfai serve` and `cfai dev` write down what they answer" if what is None else ""
        )
        return
    for day, rows in itertools.groupby(spent, key=lambda one: one.day):
        of_day = list(rows)
        total = Cost.total(one.cost for one in of_day)
        if day:
            neurons = shown_neurons(total.neurons or 0.0)
            yield f"{day}  {neurons} of {FREE_NEURONS:,} free neurons"
        for one in of_day:
            yield f"  {one.model}"
            yield f"    {one.requests:,} {'answer' if one.requests == 1 else 'answers'}, {one.cost}"
    total = Cost.total(one.cost for one in spent)
    yield ""
    yield f"together        {total}"
    if other is not None:
        yield f"with {against}"
        yield f"                {other}"
    yield "What is free, the first 10,000 neurons of each day, is in the dollars, too."
