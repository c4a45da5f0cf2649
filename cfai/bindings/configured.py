"""The binding that the user's settings describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cfai.binding import Binding
from cfai.bindings.local import LocalBinding
from cfai.bindings.routed import RoutedBinding
from cfai.bindings.upstream.settled import upstream_binding
from cfai.config.settings import Settings, load_settings

__all__ = ["configured_binding"]


def configured_binding(
    settings: Settings | None = None,
    *,
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
        "strict_retired": settings.strict_retired,
    }
    local = LocalBinding(
        settings.models,
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
    return RoutedBinding(local, routes, catalog=local.catalog) if routes else local
