"""Where cfai keeps what it makes, and whether it may go to the network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["home", "hub_cache", "is_offline"]

_OFFLINE = ("CFAI_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of cfai's own data: `CFAI_HOME`, or `cfai` in the user's cache folder.

    ```python
    home({"CFAI_HOME": "/data/cfai"})  # PosixPath('/data/cfai')
    home({"XDG_CACHE_HOME": "/home/me/.cache"})  # PosixPath('/home/me/.cache/cfai')
    ```
    """
    environ = os.environ if environ is None else environ
    if named := environ.get("CFAI_HOME"):
        return Path(named).expanduser().absolute()
    return _user_cache(environ) / "cfai"


def hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """The hub's own cache, which other programs fill and read too: `HF_HUB_CACHE`, or `hub` in `HF_HOME`.

    ```python
    hub_cache({"HF_HOME": "/data/hf"})  # PosixPath('/data/hf/hub')
    ```

    As https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables has it.
    """
    environ = os.environ if environ is None else environ
    if named := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(named)
    return (_expanded(named) if (named := environ.get("HF_HOME")) else _user_cache(environ) / "huggingface") / "hub"


def is_offline(environ: Mapping[str, str] | None = None) -> bool:
    """Whether `CFAI_OFFLINE`, or one of the hub's own variables, forbids connections.

    ```python
    is_offline({"CFAI_OFFLINE": "1"})  # True
    is_offline({"HF_HUB_OFFLINE": "0"})  # False
    ```
    """
    environ = os.environ if environ is None else environ
    return any(environ.get(name, "").strip().lower() in ("1", "on", "yes", "true") for name in _OFFLINE)


def _user_cache(environ: Mapping[str, str]) -> Path:
    # The folder that huggingface_hub takes too, on every system.
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser().absolute()
