"""docs/config.md says every key of cfai.toml, and what it says can be written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cfai import Settings, load_settings
from cfai.config.model_settings import MODEL_KEYS
from cfai.config.settings import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "config.md").read_text("utf-8").partition("\n## cfai.toml\n")[2]
OF_ALL, OF_MODELS = PAGE.split("\n### ")
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def keys_in(text: str) -> set[str]:
    """What stands in the first column of its tables."""
    cells = re.findall(r"^\| (`[^|]+?) \|", text, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([\w.]+)`", cell)}


def examples_in(text: str) -> list[str]:
    return [one for one in re.findall(r"\| `((?:[^`|]+)= [^`]+)` \|", text) if "ID=" not in one]


def load(folder: Path, text: str, name: str = "cfai.toml") -> Settings:
    (folder / name).write_text(text)
    return load_settings(folder / name, {})


def test_every_key_is_told() -> None:
    assert keys_in(OF_ALL) == {*KINDS, "models"}
    of_upstreams = {"upstream.url", "upstream.model", "upstream.token_env", "upstream.kind"}
    assert keys_in(OF_MODELS) == {*MODEL_KEYS, *of_upstreams}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_loads(block: str, tmp_path: Path) -> None:
    settings = load(tmp_path, block, "pyproject.toml" if "[tool.cfai]" in block else "cfai.toml")
    assert settings.models


@pytest.mark.parametrize("example", examples_in(OF_ALL))
def test_every_example_loads(example: str, tmp_path: Path) -> None:
    settings = load(tmp_path, example)
    assert settings != Settings(source=settings.source)


@pytest.mark.parametrize("example", examples_in(OF_MODELS))
def test_every_example_of_a_model_loads(example: str, tmp_path: Path) -> None:
    needed = 'upstream.url = "http://x"\n' if example.startswith("upstream.") and "url" not in example else ""
    if not example.startswith(("weights", "upstream")):
        needed = 'weights = "org/name"\n'
    settings = load(tmp_path, f'[models."@cf/mine/poet"]\n{needed}{example}\n')
    bare = load(tmp_path, f'[models."@cf/mine/poet"]\n{needed}') if needed else None
    assert bare is None or settings != bare


def test_there_are_as_many_examples_as_keys() -> None:
    assert len(examples_in(OF_ALL)) == len(KINDS) + 1
    assert len(examples_in(OF_MODELS)) >= 28
