"""Where weights are found, and what is not taken for any."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cfai import weights
from cfai.catalog import Catalog, Model
from cfai.errors import WeightsMissing
from cfai.weights import Source, find, home, parse_source
from cfai.weights.home import hub_cache
from cfai.weights.layout import is_whole
from tests.models import make_llama

LLAMA = Catalog.builtin().get("@cf/meta/llama-2-7b-chat-int8")
COMMIT = "0" * 39 + "1"


def cache(checkpoint: Path, repo: str, *, revision: str = "main") -> Path:
    """The checkpoint as the hub's cache holds it."""
    folder = hub_cache() / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    return shutil.copytree(checkpoint, folder / "snapshots" / COMMIT)


@pytest.mark.parametrize(
    ("environ", "cfai", "hub"),
    [
        ({"XDG_CACHE_HOME": "/c"}, "/c/cfai", "/c/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/c", "HF_HOME": "/hf", "CFAI_HOME": "/mine"}, "/mine", "/hf/hub"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/blobs", "XDG_CACHE_HOME": "/c"}, "/c/cfai", "/blobs"),
    ],
)
def test_variables_say_where_things_are(environ: dict[str, str], cfai: str, hub: str) -> None:
    assert (home(environ), hub_cache(environ)) == (Path(cfai), Path(hub))


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("true", True), ("0", False), ("", False)])
@pytest.mark.parametrize("name", ["CFAI_OFFLINE", "HF_HUB_OFFLINE"])
def test_variables_forbid_connections(name: str, value: str, is_off: bool) -> None:
    assert weights.is_offline({name: value}) is is_off


def test_a_source_is_a_folder_or_a_repository_with_its_revision(tmp_path: Path) -> None:
    assert parse_source(f"@cf/a/b={tmp_path}") == ("@cf/a/b", Source(str(tmp_path)))
    assert parse_source("@cf/a/b=org/name") == ("@cf/a/b", Source("org/name"))
    assert parse_source("@cf/a/b=org/name@v1.0") == ("@cf/a/b", Source("org/name", "v1.0"))
    for wrong in ("@cf/a/b", "@cf/a/b=./none/here", "=x/y"):
        with pytest.raises(ValueError):
            parse_source(wrong)


def test_weights_in_the_hubs_cache_are_found(llama: Path) -> None:
    assert LLAMA.weights is not None and LLAMA.weights.ungated_repo is not None
    folder = cache(llama, LLAMA.weights.ungated_repo)
    assert find(LLAMA) == folder
    assert find(Model(id="@cf/a/b"), Source(LLAMA.weights.ungated_repo)) == folder
    assert find(Model(id="@cf/a/b"), Source(LLAMA.weights.ungated_repo, COMMIT)) == folder


@pytest.mark.parametrize("half", ["no config", "no weights", "cut", "no shard"])
def test_what_is_only_half_there_is_not_found(half: str, llama: Path) -> None:
    assert LLAMA.weights is not None
    folder = cache(llama, LLAMA.weights.repo)
    file = folder / "model.safetensors"
    if half == "no config":
        (folder / "config.json").unlink()
    elif half == "no weights":
        file.unlink()
    elif half == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-00001-of-2.safetensors"}}')
    assert not weights.are_here(LLAMA)


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "model.bin"])
def test_an_index_names_only_safetensors_beside_it(name: str, tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "llama")
    (folder / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"w": "{name}"}}}}')
    assert find(Model(id="@cf/a/b"), Source(str(folder))) == folder, "named folders are checked when they load"
    assert not is_whole(folder)


def test_a_repository_is_not_fetched_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFAI_OFFLINE", "1")
    with pytest.raises(WeightsMissing, match="connections are switched off") as caught:
        find(Model(id="@cf/a/b"), Source("org/name"))
    assert "cfai pull org/name" in caught.value.hint
