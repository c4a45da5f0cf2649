"""Where the script runs: `navigator`, `performance`, `globalThis`, `reportError`."""

from __future__ import annotations

import sys
import time
from typing import Any

from cfai.worker.web.callbacks import report
from cfai.worker.web.promises import error_of
from cfai.worker.web.proxies import JsProxy

__all__ = ["globalThis", "navigator", "performance", "reportError", "self"]


class _Navigator(JsProxy):
    """`navigator`."""

    userAgent = "Cloudflare-Workers"  # noqa: N815  # JavaScript's spelling
    platform = "linux"
    hardwareConcurrency = 1  # noqa: N815
    language = "en"


class _Performance(JsProxy):
    """`performance`."""

    def __init__(self) -> None:
        self.timeOrigin = time.time_ns() / 1e6
        self._since = time.perf_counter()

    def now(self) -> float:
        return (time.perf_counter() - self._since) * 1000


class _Global:
    """The module `js`, under the names that JavaScript has for the whole of it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules["js"], name)


navigator = _Navigator()
performance = _Performance()
globalThis = self = _Global()  # noqa: N816


def reportError(error: Any) -> None:  # noqa: N802
    """Show `error` as one that nobody caught."""
    report(error_of(error))
