"""The binding that the user's settings describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cfai.binding import Binding
from cfai.bindings.account import COSTS, Account
from cfai.bindings.limits import LimitsBinding
from cfai.bindings.local import LocalBinding
from cfai.bindings.metered import MeteredBinding
from cfai.bindings.routed import RoutedBinding
from cfai.bindings.upstream.settled import upstream_binding
from cfai.config.settings import Settings, load_settings
from cfai.cost import Cost, parse_limits
from cfai.weights import home

__all__ = ["accounted", "configured_binding", "limited"]


def configured_binding(
    settings: Settings | None = None,
    *,
    is_limited: bool = True,
    on_progress: Callable[[str, int, int], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    on_lost: Callable[[str], None] | None = None,
) -> Binding:
    """What answers by the user's settings, as for `cfai run` and `cfai serve`.

    ```python
    async with cfai.Ai(cfai.configured_binding()) as ai:
        await ai.run("@cf/mine/llama", {"prompt": "where is new york?"})
    ```

    settings                         default those of `cfai.toml` and the environment, see `load_settings`
    is_limited                       whether the limits that the settings name hold
    on_progress, on_notice, on_lost  as for `LocalBinding`
    """
    settings = load_settings() if settings is None else settings
    given: dict[str, Any] = {
        "demo": settings.demo,
        "as_of": settings.as_of,
        "fidelity": settings.fidelity,
        "device": settings.device,
        "dtype": settings.dtype,
        "threads": settings.threads,
        "slots": settings.slots,
        "queue_limit": settings.queue_limit,
        "cache_tokens": settings.cache_tokens,
        "draft_tokens": settings.draft_tokens,
        "torch_compile": settings.torch_compile,
        "memory": settings.memory,
        "model_keep_alive": settings.keep_alive,
        "strict_retired": settings.strict_retired,
        "offline": settings.offline,
    }
    local = LocalBinding(
        {name: replace(model, upstream=None) for name, model in settings.models.items()},
        **{name: value for name, value in given.items() if value is not None},
        on_progress=on_progress,
        on_notice=on_notice,
        on_lost=on_lost,
    )
    routes = {
        name: upstream_binding(
            model.upstream,
            catalog=local.catalog,
            as_of=settings.as_of,
            fidelity=settings.fidelity or "clean",
            strict_retired=bool(settings.strict_retired),
            on_notice=on_notice,
        )
        for name, model in settings.models.items()
        if model.upstream is not None
    }
    routed = RoutedBinding(local, routes, catalog=local.catalog) if routes else local
    return limited(routed, settings) if is_limited else routed


def limited(binding: Binding, settings: Settings) -> Binding:
    """The binding with the limits of Cloudflare that the settings ask for; itself if they ask for none.

    ```python
    limited(FakeBinding.plausible(), Settings(limits="rpm"))
    ```
    """
    if not (limits := parse_limits(settings.limits or "none")):
        return binding
    return LimitsBinding(binding, limits, catalog=settings.catalog, fidelity=settings.fidelity or "clean")


def accounted(
    binding: Binding, settings: Settings, *, is_kept: bool, on_answer: Callable[[str, Cost], None] | None = None
) -> LimitsBinding:
    """`binding`, with what its answers cost counted, and refused what the limits of `settings` do not let pass.

    ```python
    accounted(FakeBinding.plausible(), Settings(limits="all"), is_kept=False)
    ```

    is_kept    the day's neurons are those of every process of this user, and outlive them; else of this binding alone
    on_answer  as for `MeteredBinding`
    """
    account = Account(home() / COSTS if is_kept else None)
    catalog = settings.catalog
    metered = MeteredBinding(binding, account, catalog=catalog, on_answer=on_answer)
    limits, fidelity = parse_limits(settings.limits or "none"), settings.fidelity or "clean"
    return LimitsBinding(metered, limits, catalog=catalog, account=account, fidelity=fidelity)
