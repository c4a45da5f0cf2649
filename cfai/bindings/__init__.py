"""What answers AI requests: a model in this process, a server over HTTP, a script, a tape, any of them with faults."""

from typing import TYPE_CHECKING

from cfai.lazy import lazy

if TYPE_CHECKING:
    from cfai.bindings.fake import FakeBinding
    from cfai.bindings.faults import FaultBinding
    from cfai.bindings.http import HttpBinding
    from cfai.bindings.local import LocalBinding
    from cfai.bindings.routed import RoutedBinding
    from cfai.bindings.script import Script, in_turn
    from cfai.bindings.tape import TapeBinding
    from cfai.bindings.unexpected import UnexpectedCall
    from cfai.bindings.upstream.binding import UpstreamBinding

__all__ = [
    "FakeBinding",
    "FaultBinding",
    "HttpBinding",
    "LocalBinding",
    "RoutedBinding",
    "Script",
    "TapeBinding",
    "UnexpectedCall",
    "UpstreamBinding",
    "in_turn",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "FakeBinding": "cfai.bindings.fake",
        "FaultBinding": "cfai.bindings.faults",
        "HttpBinding": "cfai.bindings.http",
        "LocalBinding": "cfai.bindings.local",
        "RoutedBinding": "cfai.bindings.routed",
        "Script": "cfai.bindings.script",
        "TapeBinding": "cfai.bindings.tape",
        "UnexpectedCall": "cfai.bindings.unexpected",
        "UpstreamBinding": "cfai.bindings.upstream.binding",
        "in_turn": "cfai.bindings.script",
    },
)
