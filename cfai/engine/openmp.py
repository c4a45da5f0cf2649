"""How torch's threads wait for each other; imported before anything that imports torch.

GNU's OpenMP, which torch brings along on Linux, has a thread that waits look for work for milliseconds before it
sleeps. On a machine that does nothing else that is the fastest. But where somebody else wants a core too, be it the
event loop, a browser or a second model, the thread that has the work stands in line behind one that only waits for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__: list[str] = []

SPINS = "4000"
"""Looks before a thread sleeps: some fifty microseconds, longer than what is between two products of a step."""

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Who has set one of these wants it so: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html"""


@contextlib.contextmanager
def _short_waits() -> Iterator[None]:
    """The library reads its environment once, when it is loaded. Children are to find it as it was."""
    if "torch" in sys.modules or any(name in os.environ for name in NAMES):
        yield
        return
    os.environ[NAMES[0]] = SPINS
    try:
        yield
    finally:
        del os.environ[NAMES[0]]


with _short_waits():
    import torch  # noqa: F401
