"""What the interpreters of child processes are given to run: it makes this very cfai importable, and nothing beside it.

python -P cfai/dev/start.py cfai.worker --path examples/streaming --ai-socket ai.sock
python -P cfai/dev/start.py cfai serve --socket ai.sock

A worker's interpreter may be another than cfai's own (`cfai dev --python`), whose packages are then the script's. With
`-P`, files of the working directory are not taken for modules of the standard library.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def make_importable() -> None:
    spec = importlib.util.spec_from_file_location(
        "cfai", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec is not None and spec.loader is not None  # a file that ends in .py has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["cfai"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    make_importable()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
