"""This computer, as far as it matters to somebody who begins."""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cfai import weights
from cfai.catalog import Catalog

__all__ = ["Check", "check_machine"]

PORT = 8787


@dataclass(frozen=True, slots=True)
class Check:
    """One line about this computer; `is_fine` is None where nothing is asked of it."""

    name: str
    found: str
    is_fine: bool | None = True


def check_machine() -> Iterator[Check]:
    version = platform.python_version()
    is_newest = sys.version_info >= (3, 12)
    yield Check("Python", version if is_newest else f"{version}; Cloudflare runs 3.12 or 3.13", is_newest or None)
    yield _torch()
    here = [model for model in Catalog.builtin().models() if weights.are_here(model)]
    models = f"{len(here)} model{'s' if len(here) != 1 else ''} here"
    yield Check("weights", f"{models} (`cfai models --here`)" if len(here) > 1 else f"{models}, the demo model: --demo")
    yield _port()
    yield _node()


def _torch() -> Check:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check("torch", "missing: pip install torch", is_fine=False)
    # Asking torch itself would take seconds.
    device = "cpu"
    if Path("/dev/nvidiactl").exists():
        device = "cuda"
    elif (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        device = "mps"
    return Check("torch", f"{version}, {device}")


def _port() -> Check:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", PORT))
        except OSError:
            return Check(f"port {PORT}", "taken; cfai dev takes the next free one", is_fine=None)
    return Check(f"port {PORT}", "free")


def _node() -> Check:
    node = shutil.which("node")
    if node is None:
        return Check("Node", "not here; only wrangler needs it", is_fine=None)
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Check("Node", "does not start; only wrangler needs it", is_fine=None)
    return Check("Node", done.stdout.strip().removeprefix("v"))
