"""The devices that torch finds on this machine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cfai.errors import EngineFailure

__all__ = ["device_of"]

_DEVICES: dict[str, Callable[[], bool]] = {
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "cpu": lambda: True,
}
"""The devices, best first."""


def device_of(asked: str | None) -> torch.device:
    """The device that was asked for, or the best one that is there. Raises `EngineFailure` if it is not there.

    device_of("cuda:1")
    device_of(None).type  # "cpu" on a machine without a GPU
    """
    there = [kind for kind, has in _DEVICES.items() if has()]
    device = torch.device(asked or there[0])
    if device.type not in there:
        hint = "install a torch with CUDA: `pip install --force-reinstall torch`" if device.type == "cuda" else ""
        raise EngineFailure(f"there is no {device.type} device for this torch, only {', '.join(there)}", hint=hint)
    return device
