"""The compatibility flags that concern Python, by name: one that is not among them is a slip of the keyboard.

workerd has hundreds of other flags; those are not looked at.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["PYTHON_FLAGS", "problems_of_flags"]

PYTHON_FLAGS = frozenset(
    {
        "python_workers",
        "python_workers_development",
        "python_workers_20250116",
        "no_python_workers_20250116",
        "python_workers_20260610",
        "no_python_workers_20260610",
        "python_workers_20260817",
        "no_python_workers_20260817",
        "python_no_global_handlers",
        "disable_python_no_global_handlers",
        "enable_python_external_sdk",
        "disable_python_external_sdk",
        "python_request_headers_preserve_commas",
        "disable_python_request_headers_preserve_commas",
        "python_check_rng_state",
        "disable_python_check_rng_state",
        "python_dedicated_snapshot",
        "disable_python_dedicated_snapshot",
        "python_process_pth_files",
        "disable_python_process_pth_files",
        "python_workflows",
        "disable_python_workflows",
        "python_workflows_implicit_dependencies",
        "no_python_workflows_implicit_dependencies",
        "python_external_packages",
        "python_workers_durable_objects",
        "python_workers_force_new_vendor_path",
    }
)
"""Those of `compatibility-date.capnp` of workerd."""

_PREFIXES = ("python_", "disable_python", "enable_python", "no_python")


def problems_of_flags(flags: Iterable[str]) -> list[str]:
    """A line for each flag that looks like one of Python's and is none.

    ```python
    problems_of_flags(["python_worker"])
    # ['unknown compatibility flag "python_worker", did you mean "python_workers"?']
    ```
    """
    return [
        f'unknown compatibility flag "{flag}"{_meant(flag)}'
        for flag in flags
        if flag.startswith(_PREFIXES) and flag not in PYTHON_FLAGS
    ]


def _meant(flag: str) -> str:
    near = difflib.get_close_matches(flag, sorted(PYTHON_FLAGS), n=1, cutoff=0.74)
    return f', did you mean "{near[0]}"?' if near else ""
