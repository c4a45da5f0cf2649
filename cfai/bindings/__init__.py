"""What answers AI requests: a model in this process, a server over HTTP, a script, a tape, any of them with faults."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfai.bindings.fake import FakeBinding
    from cfai.bindings.faults import FaultBinding
    from cfai.bindings.http import HttpBinding
    from cfai.bindings.local import LocalBinding
    from cfai.bindings.tape import TapeBinding

__all__ = ["FakeBinding", "FaultBinding", "HttpBinding", "LocalBinding", "TapeBinding"]

_HOMES = {
    "FakeBinding": "cfai.bindings.fake",
    "FaultBinding": "cfai.bindings.faults",
    "HttpBinding": "cfai.bindings.http",
    "LocalBinding": "cfai.bindings.local",
    "TapeBinding": "cfai.bindings.tape",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
