"""The Streams standard, https://streams.spec.whatwg.org/, for scripts and for the runtime itself.

readable    ReadableStream: what is read, its locks, tee and pipes
readers     what getReader returns, and what waits for a chunk
sources     where chunks come from: a script's own source, bytes, or any async iterable of Python's
writable    WritableStream and its writer
piping      pipeTo
transform   TransformStream; identity, text and compression are kinds of it
queueing    how much waits in between
"""

from cfai.worker.web.streams.readable import CLOSE_LIMIT, ClientGone, ReadableStream

__all__ = ["CLOSE_LIMIT", "ClientGone", "ReadableStream"]
