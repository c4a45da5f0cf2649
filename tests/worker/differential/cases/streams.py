"""Streams, events, signals and text of JavaScript."""

from tests.worker.differential.case import probe

__all__ = ["CASES"]

_IMPORTS = """
import asyncio
from js import (AbortController, AbortSignal, CompressionStream, CountQueuingStrategy, DecompressionStream, Event,
    EventTarget, Object, ReadableStream, TextDecoder, TextDecoderStream, TextEncoder, TextEncoderStream,
    TransformStream, WritableStream, setTimeout)
from pyodide.ffi import create_proxy

def of(**members):
    return to_js(members, dict_converter=Object.fromEntries)

def text(value):
    return to_js(value.encode())

async def failed(promise):
    try:
        return ["ended", await promise]
    except JsException as error:
        return [error.name, error.message]
    except Exception as error:
        return [type(error).__name__, str(error)]

async def read(reader):
    result = await reader.read()
    value = result.value
    return [result.done, value.to_bytes() if hasattr(value, "to_bytes") and not isinstance(value, int) else value]

async def all_of(stream):
    return [chunk.to_bytes() if hasattr(chunk, "to_bytes") and not isinstance(chunk, int) else chunk
            async for chunk in stream]

def counting(until, seen, **more):
    count = 0
    def pull(controller):
        nonlocal count
        seen.append(["pull", controller.desiredSize])
        if count == until:
            controller.close()
        else:
            count += 1
            controller.enqueue(count)
    return of(pull=pull, cancel=lambda reason=None: seen.append(["cancel", reason]), **more)
seen = []
"""

CASES = (
    probe(
        "a_stream_of_a_source",
        "await read(reader)",
        "await read(reader)  # 2",
        "await read(reader)  # 3",
        "await read(reader)  # 4",
        "await reader.closed",
        "seen",
        "stream.locked",
        setup=_IMPORTS + "stream = ReadableStream.new(counting(2, seen))\nreader = stream.getReader()",
    ),
    probe(
        "how_far_ahead_a_source_is_asked",
        *(f"await ahead(of(highWaterMark={mark}))" for mark in range(4)),
        "await ahead(CountQueuingStrategy.new(of(highWaterMark=2)))",
        setup=_IMPORTS
        + """
async def ahead(strategy):
    asked = []
    ReadableStream.new(counting(9, asked), strategy)
    await asyncio.sleep(0.01)
    return asked
""",
    ),
    probe(
        "what_a_source_raises",
        "await failed(started.read())",
        "await failed(pulled.read())",
        "await failed(pulled.read())  # again",
        "await failed(pulled.closed)",
        "error_of_new()",
        setup=_IMPORTS
        + """
def boom(controller):
    raise ValueError("boom")
async def boom_later(controller):
    await asyncio.sleep(0)
    raise ValueError("boom")
started = ReadableStream.new(of(start=boom_later)).getReader()
pulled = ReadableStream.new(of(pull=boom)).getReader()
def error_of_new():
    try:
        ReadableStream.new(of(start=boom))
    except Exception as error:
        return type(error).__name__
""",
    ),
    probe(
        "what_a_controller_refuses",
        "attempt(lambda: controller.enqueue(2))",
        "attempt(controller.close)",
        "controller.desiredSize",
        "await all_of(stream)",
        "controller.desiredSize  # at the end",
        setup=_IMPORTS
        + """
kept = []
stream = ReadableStream.new(of(start=lambda controller: kept.append(controller)))
controller = kept[0]
controller.enqueue(1)
controller.close()
def attempt(call):
    try:
        return call()
    except JsException as error:
        return error.name
""",
    ),
    probe(
        "a_locked_stream",
        "attempt(stream.getReader)",
        "attempt(stream.tee)",
        "(await failed(stream.cancel()))[0]",
        "(await failed(stream.pipeTo(WritableStream.new())))[0]",
        "reader.releaseLock()",
        "(await failed(reader.read()))[0]",
        "(await failed(reader.closed))[0]",
        "stream.locked",
        setup=_IMPORTS
        + """
stream = ReadableStream.new(of())
reader = stream.getReader()
def attempt(call):
    try:
        return call()
    except JsException as error:
        return error.name
""",
    ),
    probe(
        "cancelling_a_stream",
        "await stream.cancel('enough')",
        "seen[-1]",
        "await read(stream.getReader())",
        setup=_IMPORTS + "stream = ReadableStream.new(counting(5, seen))",
    ),
    probe(
        "a_tee",
        "await all_of(one)",
        "await all_of(two)",
        "stream.locked",
        setup=_IMPORTS + "stream = ReadableStream.new(counting(3, seen))\none, two = stream.tee()",
    ),
    probe(
        "bytes_into_a_buffer",
        "await read_into(4)",
        "await read_into(4)  # the rest",
        "await read_into(4)  # the next",
        "await read_into(4)  # the end",
        setup=_IMPORTS
        + """
def start(controller):
    for data in ("abcdef", "g"):
        controller.enqueue(text(data))
    controller.close()
reader = ReadableStream.new(of(type="bytes", start=start)).getReader(of(mode="byob"))
async def read_into(size):
    result = await reader.read(js.Uint8Array.new(size))
    return [result.done, result.value.to_bytes()]
""",
    ),
    probe(
        "a_writer",
        "writer.desiredSize",
        "started()",
        "writer.desiredSize  # with two waiting",
        "gate.set()",
        "await writer.ready",
        "[await one for one in writes]",
        "await writer.close()",
        "await writer.closed",
        "seen",
        "(await failed(writer.write('more')))[0]",
        "writer.releaseLock()",
        "(await failed(writer.write('more')))[0]  # released",
        setup=_IMPORTS
        + """
gate, writes = asyncio.Event(), []
async def write(chunk, controller):
    await gate.wait()
    seen.append(chunk)
sink = of(write=write, close=lambda: seen.append("closed"), abort=lambda reason: seen.append(["aborted", reason]))
writer = WritableStream.new(sink, of(highWaterMark=2)).getWriter()
def started():
    writes.extend([writer.write("a"), writer.write("b")])
""",
    ),
    probe(
        "a_writer_that_fails",
        "await failed(first)",
        "(await failed(writer.closed))[0]",
        "(await failed(writer.write('more')))[0]",
        "writer.desiredSize",
        setup=_IMPORTS
        + """
def write(chunk, controller):
    raise ValueError("full")
writer = WritableStream.new(of(write=write)).getWriter()
first = writer.write("a")
""",
    ),
    probe(
        "an_aborted_writer",
        "await failed(writer.abort(js.Error.new('enough')))",
        "(await failed(writer.write('more')))[0]",
        "seen",
        setup=_IMPORTS + "writer = WritableStream.new(of(abort=lambda reason: seen.append(str(reason)))).getWriter()",
    ),
    probe(
        "a_transform",
        "await all_of(stream)",
        setup=_IMPORTS
        + """
def transform(chunk, controller):
    controller.enqueue(chunk * 2)
def flush(controller):
    controller.enqueue("end")
source = ReadableStream.new(counting(3, seen))
stream = source.pipeThrough(TransformStream.new(of(transform=transform, flush=flush)))
""",
    ),
    probe(
        "a_write_waits_for_its_reader",
        "await settled(first)",
        "writer.desiredSize",
        "await read(reader)",
        "await settled(first)  # after the read",
        "await failed(writer.close())",
        "await read(reader)  # the end",
        setup=_IMPORTS
        + """
pipe = TransformStream.new()
writer, reader = pipe.writable.getWriter(), pipe.readable.getReader()
first = asyncio.ensure_future(writer.write("a"))
async def settled(promise):
    await asyncio.sleep(0.01)
    return promise.done()
""",
    ),
    probe(
        "a_reader_that_gives_up",
        "await pipe.readable.cancel(js.Error.new('enough'))",
        "await failed(write)",
        "await failed(writer.closed)",
        setup=_IMPORTS
        + """
pipe = TransformStream.new()
writer = pipe.writable.getWriter()
write = asyncio.ensure_future(writer.write("a"))
await asyncio.sleep(0.01)
""",
    ),
    probe(
        "a_pipe",
        "await ReadableStream.new(counting(2, [])).pipeTo(writable, of(preventClose=True))",
        "await ReadableStream.new(counting(1, [])).pipeTo(writable)",
        "seen",
        "(await failed(ReadableStream.new(counting(1, [])).pipeTo(writable)))[0]",
        setup=_IMPORTS
        + """
sink = of(write=lambda chunk, controller: seen.append(chunk), close=lambda: seen.append("closed"))
writable = WritableStream.new(sink)
""",
    ),
    probe(
        "a_pipe_that_is_stopped",
        "await failed(piping)",
        "[seen[-1][0], str(seen[-1][1])]",
        setup=_IMPORTS
        + """
controller = AbortController.new()
piping = ReadableStream.new(counting(99, seen)).pipeTo(WritableStream.new(), of(signal=controller.signal))
controller.abort(js.Error.new("enough"))
""",
    ),
    probe(
        "streams_of_text",
        "await all_of(chunks('caf', b'\\xc3', b'\\xa9', b'!').pipeThrough(TextDecoderStream.new()))",
        "await all_of(chunks('', 'a').pipeThrough(TextDecoderStream.new()))",
        "await all_of(words('a', '', '\\u00e9').pipeThrough(TextEncoderStream.new()))",
        "TextDecoderStream.new().encoding",
        "TextDecoderStream.new('latin1').encoding",
        setup=_IMPORTS
        + """
def chunks(*parts):
    def start(controller):
        for part in parts:
            controller.enqueue(to_js(part.encode() if isinstance(part, str) else part))
        controller.close()
    return ReadableStream.new(of(start=start))
def words(*parts):
    def start(controller):
        for part in parts:
            controller.enqueue(part)
        controller.close()
    return ReadableStream.new(of(start=start))
""",
    ),
    probe(
        "compressed_streams",
        *(f"await there_and_back('{kind}')" for kind in ("gzip", "deflate", "deflate-raw")),
        setup=_IMPORTS
        + """
async def there_and_back(kind):
    def start(controller):
        controller.enqueue(text("hello " * 100))
        controller.close()
    packed = ReadableStream.new(of(start=start)).pipeThrough(CompressionStream.new(kind))
    return b"".join(await all_of(packed.pipeThrough(DecompressionStream.new(kind)))) == b"hello " * 100
""",
    ),
    probe(
        "text_and_bytes",
        "TextEncoder.new().encode('\\u00e9').to_bytes()",
        "TextEncoder.new().encoding",
        "TextDecoder.new().decode(to_js(b'\\xc3\\xa9'))",
        "TextDecoder.new('utf-16le').decode(to_js(b'a\\x00'))",
        "TextDecoder.new('latin1').encoding",
        "TextDecoder.new('utf-8', of(fatal=True)).decode(to_js(b'\\xff'))",
        "TextDecoder.new('klingon')",
        "js.btoa('hello')",
        "js.atob('aGVsbG8=')",
        "js.atob('aGVs bG8')",
        "js.atob('a')",
        "js.btoa('\\u20ac')",
        setup=_IMPORTS,
    ),
    probe(
        "events_and_listeners",
        "target.dispatchEvent(Event.new('a'))",
        "target.dispatchEvent(Event.new('a'))  # again",
        "target.removeEventListener('a', listener)",
        "target.dispatchEvent(Event.new('a'))  # without",
        "target.dispatchEvent(Event.new('b', of(cancelable=True)))",
        "seen",
        setup=_IMPORTS
        + """
target = EventTarget.new()
listener = create_proxy(lambda event: seen.append(["listener", event.type]))
target.addEventListener("a", listener)
target.addEventListener("a", create_proxy(lambda event: seen.append("once")), of(once=True))
target.addEventListener("b", create_proxy(lambda event: event.preventDefault()))
""",
    ),
    probe(
        "signals",
        "[controller.signal.aborted, controller.signal.reason]",
        "controller.abort()",
        "[controller.signal.aborted, controller.signal.reason.name]",
        "controller.signal.throwIfAborted()",
        "seen",
        "AbortSignal.abort('why').reason",
        "AbortSignal.any(to_js([controller.signal])).aborted",
        "await timed_out()",
        setup=_IMPORTS
        + """
controller = AbortController.new()
controller.signal.addEventListener("abort", create_proxy(lambda event: seen.append(event.type)))
async def timed_out():
    signal = AbortSignal.timeout(1)
    await asyncio.sleep(0.1)
    return [signal.aborted, signal.reason.name]
""",
    ),
    probe(
        "timers",
        "await done.wait()",
        "seen",
        setup=_IMPORTS
        + """
done = asyncio.Event()
def last():
    seen.append("last")
    done.set()
setTimeout(create_proxy(last), 20)
setTimeout(create_proxy(lambda word: seen.append(word)), 1, "first")
js.clearTimeout(setTimeout(create_proxy(lambda: seen.append("never")), 1))
js.queueMicrotask(create_proxy(lambda: seen.append("soon")))
""",
    ),
)
