"""docs/models.md says what the catalog does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cfai.catalog import Catalog
from cfai.catalog.page import BEGIN, END, tables, with_tables

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_is_that_of_the_data() -> None:
    page = PAGE.read_text("utf-8")
    assert page == with_tables(page, Catalog.builtin()), "python -m cfai.catalog docs/models.md brings it up to date"


def test_the_page_names_every_model_and_every_cell_is_in_its_column() -> None:
    made = tables(Catalog.builtin())
    for model in Catalog.builtin().models():
        assert model.bundled is not None or f"`{model.id}`" in made
    columns = 0
    for line in made.splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line


def test_a_command_puts_the_tables_into_a_page_and_leaves_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    page.write_text(f"# Ours\n\n{BEGIN}\nold\n{END}\n\nThe end.\n", "utf-8")
    command = [sys.executable, "-m", "cfai.catalog", str(page)]
    subprocess.run(command, check=True)
    made = page.read_text("utf-8")
    assert made.startswith(f"# Ours\n\n{BEGIN}\n\n## Text generation\n")
    assert made.endswith(f"{END}\n\nThe end.\n")
    assert "\nold\n" not in made
    subprocess.run(command, check=True)
    assert page.read_text("utf-8") == made


def test_a_page_without_the_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="the page has no lines"):
        with_tables("# Models\n", Catalog.builtin())
