"""`python -m cfai.catalog [FILE]`: print the tables of the catalog, or put them into a page between its two marks."""

from __future__ import annotations

import sys
from pathlib import Path

from cfai.catalog.catalog import Catalog
from cfai.catalog.page import tables, with_tables


def main(arguments: list[str]) -> None:
    catalog = Catalog.builtin()
    if not arguments:
        sys.stdout.write(tables(catalog))
    for name in arguments:
        file = Path(name)
        file.write_text(with_tables(file.read_text("utf-8"), catalog), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
