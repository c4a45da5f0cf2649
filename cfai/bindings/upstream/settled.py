"""The binding of a model for which the user's settings name a server."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import date

from cfai.addresses import shown_url
from cfai.binding import Binding
from cfai.bindings.http import HttpBinding
from cfai.bindings.upstream.binding import UpstreamBinding
from cfai.bindings.upstream.cloudflare import CheckedBinding, UnsetBinding
from cfai.catalog import Catalog
from cfai.config.settings import UpstreamSettings
from cfai.tasks.shapes import Fidelity

__all__ = ["upstream_binding"]

ACCOUNT = "CLOUDFLARE_ACCOUNT_ID"
TOKEN = "CLOUDFLARE_API_TOKEN"


def upstream_binding(
    settings: UpstreamSettings,
    *,
    catalog: Catalog | None = None,
    as_of: date | None = None,
    fidelity: Fidelity = "clean",
    strict_retired: bool = False,
    on_notice: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Binding:
    """What answers a model by the server that `settings` name.

    ```python
    upstream_binding(UpstreamSettings("http://127.0.0.1:11434", model="qwen3:8b"))
    ```

    environ  where tokens are; default the process's own

    A token that is not set is no error before a call is made: other models, and other people's machines, need none.
    """
    environ = os.environ if environ is None else environ
    if settings.kind == "cloudflare":
        return _cloudflare(settings, environ, catalog)
    token = environ.get(settings.token_env) if settings.token_env else None
    if settings.token_env and not token:
        return UnsetBinding(shown_url(settings.url), [settings.token_env])
    return UpstreamBinding(
        settings.url,
        model=settings.model,
        token=token,
        catalog=catalog,
        as_of=as_of,
        fidelity=fidelity,
        strict_retired=strict_retired,
        on_notice=on_notice,
    )


def _cloudflare(settings: UpstreamSettings, environ: Mapping[str, str], catalog: Catalog | None) -> Binding:
    """Workers AI, with the account of the address if that has one."""
    base, account = settings.url, environ.get(ACCOUNT)
    if found := re.fullmatch(r"(.*?)/accounts/([^/]+)(?:/ai)?/?", settings.url):
        base, account = found[1], found[2]
    name = settings.token_env or TOKEN
    token = environ.get(name)
    if missing := [variable for variable, value in ((ACCOUNT, account), (name, token)) if not value]:
        return UnsetBinding(shown_url(base), missing)
    assert account is not None, "it is not missing"
    return CheckedBinding(HttpBinding(base, account=account, token=token), model=settings.model, catalog=catalog)
