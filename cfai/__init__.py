"""Workers AI on your own machine: the `Ai` binding, answered by local models.

```python
import cfai

async with cfai.Ai(cfai.LocalBinding()) as ai:
    print((await ai.run("@cfai/demo/tiny-chat", {"prompt": "where is new york?"})).response)
```
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfai.ai import Ai, SessionOptions
    from cfai.binding import Binding, Call, Reply
    from cfai.bindings.configured import configured_binding
    from cfai.bindings.fake import FakeBinding
    from cfai.bindings.faults import FaultBinding
    from cfai.bindings.http import HttpBinding
    from cfai.bindings.limits import LimitsBinding
    from cfai.bindings.local import LocalBinding
    from cfai.bindings.routed import RoutedBinding
    from cfai.bindings.tape import TapeBinding
    from cfai.bindings.upstream.binding import UpstreamBinding
    from cfai.config.settings import ModelSettings, Settings, UpstreamSettings, load_settings
    from cfai.errors import AiError
    from cfai.results import AiResult, ByteStream

__version__ = "0.1.0"

__all__ = [
    "Ai",
    "AiError",
    "AiResult",
    "Binding",
    "ByteStream",
    "Call",
    "FakeBinding",
    "FaultBinding",
    "HttpBinding",
    "LimitsBinding",
    "LocalBinding",
    "ModelSettings",
    "Reply",
    "RoutedBinding",
    "SessionOptions",
    "Settings",
    "TapeBinding",
    "UpstreamBinding",
    "UpstreamSettings",
    "configured_binding",
    "load_settings",
]

_HOMES = {
    "Ai": "cfai.ai",
    "AiError": "cfai.errors",
    "AiResult": "cfai.results",
    "Binding": "cfai.binding",
    "ByteStream": "cfai.results",
    "Call": "cfai.binding",
    "FakeBinding": "cfai.bindings.fake",
    "FaultBinding": "cfai.bindings.faults",
    "HttpBinding": "cfai.bindings.http",
    "LimitsBinding": "cfai.bindings.limits",
    "LocalBinding": "cfai.bindings.local",
    "ModelSettings": "cfai.config.settings",
    "Reply": "cfai.binding",
    "RoutedBinding": "cfai.bindings.routed",
    "SessionOptions": "cfai.ai",
    "Settings": "cfai.config.settings",
    "TapeBinding": "cfai.bindings.tape",
    "UpstreamBinding": "cfai.bindings.upstream.binding",
    "UpstreamSettings": "cfai.config.settings",
    "configured_binding": "cfai.bindings.configured",
    "load_settings": "cfai.config.settings",
}


# Whatever is imported of cfai, this file comes first, before the command line can take care of Ctrl-C. So it
# imports nothing, not even `cfai.lazy`, which does the same for other packages.
def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
