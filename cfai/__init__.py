"""Workers AI on your own machine: the `Ai` binding, answered by local models.

```python
import cfai

async with cfai.Ai(cfai.LocalBinding()) as ai:
    print((await ai.run("@cfai/demo/tiny-chat", {"prompt": "where is new york?"})).response)
```
"""

from cfai.ai import Ai, SessionOptions
from cfai.binding import Binding, Call, Reply
from cfai.bindings import FakeBinding, HttpBinding, LocalBinding
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
    "HttpBinding",
    "LocalBinding",
    "Reply",
    "SessionOptions",
]
