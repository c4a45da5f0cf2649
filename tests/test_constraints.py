"""constraints.txt pins what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>;\[ ]", requirement)[0]).lower()


def test_each_package_is_pinned_once_and_in_order() -> None:
    assert sorted(PINS, key=str.lower) == PINS
    names = [name_of(pin) for pin in PINS]
    assert sorted(set(names)) == sorted(names)


def test_what_the_project_asks_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert {name_of(one) for one in asked} <= {name_of(pin) for pin in PINS}
