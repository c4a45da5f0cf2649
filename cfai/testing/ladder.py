"""What answers the calls of a suite: the fake, the demo model, the weights of this machine, a tape, or Cloudflare."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import anyio
import pytest

from cfai.binding import Binding, Call, Reply
from cfai.wording import choose

if TYPE_CHECKING:
    from cfai.bindings.http import HttpBinding
    from cfai.bindings.local import LocalBinding
    from cfai.config.settings import Settings

__all__ = [
    "NOT_THE_FAKE",
    "NO_TAPE",
    "Engines",
    "NothingToRecord",
    "Rung",
    "missing_weights",
    "parse_rung",
    "remote_binding",
    "without_price",
]

Rung = Literal["fake", "demo", "local", "tape", "remote"]

CLOUDFLARE = "https://api.cloudflare.com/client/v4"


def parse_rung(text: str) -> Rung:
    """The rung that `text` names; a ValueError says which there are."""
    choose("cfai", text, get_args(Rung))
    return cast("Rung", text)  # which mypy does not learn from that


def remote_binding(environ: Mapping[str, str], *, is_recorded: bool = False) -> HttpBinding:
    """Cloudflare's own API, with the account and the token that wrangler takes from the environment.

    is_recorded  whether a tape wants the network's own chunks, and not whole events

    A ValueError says which variable is not set.
    """
    from cfai.bindings.http import HttpBinding

    missing = [name for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN") if not environ.get(name)]
    if missing:
        raise ValueError(
            f"--cfai=remote asks Cloudflare, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not "
            "set: the account's id, and a token with the permission Workers AI Read. Another server, such as "
            "`cfai serve`, is named with CLOUDFLARE_API_BASE_URL"
        )
    return HttpBinding(
        environ.get("CLOUDFLARE_API_BASE_URL") or CLOUDFLARE,
        account=environ["CLOUDFLARE_ACCOUNT_ID"],
        token=environ["CLOUDFLARE_API_TOKEN"],
        chunks="network" if is_recorded else "events",
    )


def missing_weights(model: str, settings: Settings) -> str | None:
    """Why `model` cannot run on this machine; None where it can, or where another server answers."""
    from cfai import weights
    from cfai.config.settings import ModelSettings
    from cfai.errors import AiError

    said = settings.models.get(model, ModelSettings())
    if said.upstream is not None:
        return None
    try:
        weights.find(settings.catalog.get(model), said.source)
    except AiError as error:
        return f"{error.description}{f'; {error.hint}' if error.hint else ''}"
    return None


def without_price(models: Iterable[str]) -> list[str]:
    """Those of `models` that the catalog knows no price of."""
    from cfai.catalog import Catalog
    from cfai.errors import AiError

    catalog, found = Catalog.builtin(), []
    for model in dict.fromkeys(models):
        try:
            if catalog.get(model).neurons_for({}) is None:
                found.append(model)
        except AiError:  # a name of the test's own
            found.append(model)
    return found


class Engines:
    """The models of a session of tests, each loaded once, when a test first wants it.

    root  where the settings of the project are looked for
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = itertools.count()
        self._local: Binding | None = None
        self._demo: LocalBinding | None = None

    def next_name(self) -> str:
        """A name for the state of one more test."""
        return str(next(self._numbers))

    @functools.cached_property
    def settings(self) -> Settings:
        """The project's own, of its cfai.toml and the environment; what is wrong with them fails a test."""
        from cfai.config import ConfigError
        from cfai.config.settings import load_settings

        try:
            return load_settings(Path(os.environ.get("CFAI_SETTINGS") or self._root))
        except ConfigError as error:
            pytest.fail(str(error), pytrace=False)

    @property
    def local(self) -> Binding:
        """The models whose weights are on this machine, and those that the settings say more of."""
        from cfai.bindings.configured import configured_binding

        self._local = self._local or configured_binding(self.settings.over(demo=False))
        return self._local

    @property
    def demo(self) -> LocalBinding:
        """The demo model, under the id of every model that generates text."""
        from cfai import weights
        from cfai.bindings.local import LocalBinding
        from cfai.config.settings import ModelSettings

        if self._demo is None:
            said, catalog = self.settings.models, self.settings.catalog
            folder = str(weights.find(catalog.get(weights.DEMO_MODEL)))
            rows = {model.id: said[model.id].row if model.id in said else {} for model in catalog.models()}
            texts = [model.id for model in catalog.models() if model.generates_text]
            self._demo = LocalBinding({name: ModelSettings(weights=folder, row=rows[name]) for name in texts})
        return self._demo

    def close(self) -> None:
        """Give the models' memory back."""
        for binding in filter(None, (self._local, self._demo)):
            # On a thread of its own, which has no event loop yet, whichever plugin runs the tests.
            closing = threading.Thread(target=anyio.run, args=(binding.aclose,))
            closing.start()
            closing.join()


NOT_THE_FAKE = (
    ", and the fake is not worth a recording. Run the test once with --cfai=remote (your account), --cfai=local or "
    "--cfai=demo, or ask for fake_ai beside tape"
)
NO_TAPE = (
    ": there is no such file. Record it with --cfai=remote --cfai-record=once (your account), or with --cfai=local or "
    "--cfai=demo in its place"
)


class NothingToRecord:
    """What answers a test that has no tape, where nothing else may: with `why`, and what to do."""

    def __init__(self, path: Path, why: str) -> None:
        self._path = path
        self._why = why

    async def send(self, call: Call) -> Reply:
        from cfai.bindings.tape import NotOnTape

        raise NotOnTape(f"{self._path} has no answer for a call to {call.model}{self._why}")

    async def aclose(self) -> None:
        """It holds nothing."""
