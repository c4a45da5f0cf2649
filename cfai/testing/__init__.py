"""What tests are written with: assertions on streams, fuzzing of parsers, and what fixtures are made of.

```python
answer = await assert_stream(await ai.run(model, {"prompt": "hi", "stream": True}), text="New York")
fuzz_stream(my_parser)
```
"""

from typing import TYPE_CHECKING

from cfai.lazy import lazy

if TYPE_CHECKING:
    from cfai.testing.assertions import assert_fails, assert_stream
    from cfai.testing.exchange import WorkerResponse
    from cfai.testing.fuzz.case import CutStream, StreamCase
    from cfai.testing.fuzz.corpus import corpus
    from cfai.testing.fuzz.difference import StreamDifference
    from cfai.testing.fuzz.fuzzing import FuzzReport, fuzz_stream
    from cfai.testing.fuzz.strategy import streams
    from cfai.testing.observed import ObservedAi, TestAi
    from cfai.testing.report import StreamReport
    from cfai.testing.socket import SocketClosed, SocketRefused, WorkerSocket
    from cfai.testing.sources import read_stream
    from cfai.testing.virtual_time import VirtualTimeLoop, virtual_time_backend
    from cfai.testing.worker import TestWorker

__all__ = [
    "CutStream",
    "FuzzReport",
    "ObservedAi",
    "SocketClosed",
    "SocketRefused",
    "StreamCase",
    "StreamDifference",
    "StreamReport",
    "TestAi",
    "TestWorker",
    "VirtualTimeLoop",
    "WorkerResponse",
    "WorkerSocket",
    "assert_fails",
    "assert_stream",
    "corpus",
    "fuzz_stream",
    "read_stream",
    "streams",
    "virtual_time_backend",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CutStream": "cfai.testing.fuzz.case",
        "FuzzReport": "cfai.testing.fuzz.fuzzing",
        "ObservedAi": "cfai.testing.observed",
        "SocketClosed": "cfai.testing.socket",
        "SocketRefused": "cfai.testing.socket",
        "StreamCase": "cfai.testing.fuzz.case",
        "StreamDifference": "cfai.testing.fuzz.difference",
        "StreamReport": "cfai.testing.report",
        "TestAi": "cfai.testing.observed",
        "TestWorker": "cfai.testing.worker",
        "VirtualTimeLoop": "cfai.testing.virtual_time",
        "WorkerResponse": "cfai.testing.exchange",
        "WorkerSocket": "cfai.testing.socket",
        "assert_fails": "cfai.testing.assertions",
        "assert_stream": "cfai.testing.assertions",
        "corpus": "cfai.testing.fuzz.corpus",
        "fuzz_stream": "cfai.testing.fuzz.fuzzing",
        "read_stream": "cfai.testing.sources",
        "streams": "cfai.testing.fuzz.strategy",
        "virtual_time_backend": "cfai.testing.virtual_time",
    },
)
