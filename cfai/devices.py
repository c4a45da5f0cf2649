"""The names of devices and of the precisions that models run in."""

from __future__ import annotations

import re

from cfai.wording import meant

__all__ = ["DTYPES", "check_device", "check_dtype"]

DTYPES = ("float32", "bfloat16", "float16", "int8")


def check_device(device: str) -> None:
    """Raise a ValueError for what names no device, and no list of devices.

    ```python
    check_device("cuda:0,cuda:1")
    ```
    """
    if not all(re.fullmatch(r"cpu|mps|cuda(:\d+)?", each) for each in device.split(",")):
        raise ValueError(f"device must be cpu, mps, cuda or cuda:N, or several with commas between, it is {device!r}")


def check_dtype(dtype: str) -> None:
    """Raise a ValueError for what names no dtype that models run in.

    ```python
    check_dtype("int8")
    ```
    """
    if dtype not in DTYPES:
        known = f"{', '.join(DTYPES[:-1])} or {DTYPES[-1]}"
        raise ValueError(f"dtype must be {known}, it is {dtype!r}{meant(dtype, DTYPES)}")
