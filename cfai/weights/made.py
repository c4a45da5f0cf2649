"""What cfai makes of weights and keeps beside them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cfai.weights.home import home

__all__ = ["int8_folders"]


def int8_folders(folder: Path) -> list[Path]:
    """Where int8 weights made of those in `folder` may be kept: beside them, or in cfai's home.

    ```python
    int8_folders(Path("llama"))[0]  # PosixPath('llama/cfai-int8')
    ```
    """
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return [folder / "cfai-int8", home() / "int8" / key]
