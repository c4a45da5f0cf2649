from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cfai.catalog import Catalog, Model
from cfai.catalog.model import Weights
from tests.hub import Hub, hub
from tests.models import make_llama

GONE = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "CFAI_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of the test's own for what is fetched and imported."""
    for name in GONE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("CFAI_HOME", str(tmp_path / "cfai"))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with nothing beside its files: where models run, int8 weights are kept in the folder."""
    return make_llama(tmp_path_factory.mktemp("weights-llama"))


@pytest.fixture(scope="session")
def listening() -> Iterator[Hub]:
    with hub() as one:
        yield one


@pytest.fixture
def look_alike(listening: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub on this machine, which is the user's, and empty."""
    listening.clear()
    monkeypatch.setenv("HF_ENDPOINT", listening.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return listening


@pytest.fixture
def catalog() -> Catalog:
    """The catalog with models of the look-alike's repositories."""
    gated = Weights("org/gated", gated=True, ungated_repo="org/open")
    return Catalog.builtin().with_models(
        Model(id="@cf/test/llama", weights=Weights("org/llama")),
        Model(id="@cf/test/gated", weights=gated),
        Model(id="@cf/test/unknown"),
    )
