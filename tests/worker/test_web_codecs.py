"""Streams that change what passes: identity, fixed length, text, compression; and the text functions of `js`."""

import asyncio
import base64
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfai.worker.web.exceptions import DOMException
from cfai.worker.web.streams.codecs import (
    CompressionStream,
    DecompressionStream,
    TextDecoderStream,
    TextEncoderStream,
)
from cfai.worker.web.streams.identity import FixedLengthStream, IdentityTransformStream
from cfai.worker.web.streams.readable import ReadableStream
from cfai.worker.web.text import TextDecoder, TextEncoder, atob, btoa
from cfai.worker.web.values import JsRangeError, JsTypeError, to_js


async def through(transform: Any, chunks: list[Any]) -> list[Any]:
    return [chunk async for chunk in ReadableStream.from_(chunks).pipeThrough(transform)]


async def _pieces(data: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for cut in cuts:
        yield data[at : at + cut]
        at += cut
    yield data[at:]


@settings(deadline=None)
@given(st.text(), st.lists(st.integers(0, 5)))
def test_text_survives_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    async def run() -> str:
        stream = ReadableStream.of(_pieces(text.encode(), cuts))
        return "".join(
            [chunk async for chunk in stream.pipeThrough(TextDecoderStream.new("utf-8", {"ignoreBOM": True}))]
        )

    assert asyncio.run(run()) == text


@settings(deadline=None)
@given(st.binary(), st.lists(st.integers(0, 5)), st.sampled_from(["gzip", "deflate", "deflate-raw"]))
def test_bytes_survive_compression_wherever_they_are_cut(data: bytes, cuts: list[int], kind: str) -> None:
    async def run() -> bytes:
        stream = ReadableStream.of(_pieces(data, cuts)).pipeThrough(CompressionStream.new(kind))
        packed = b"".join([bytes(chunk) async for chunk in stream])
        stream = ReadableStream.of(_pieces(packed, cuts)).pipeThrough(DecompressionStream.new(kind))
        return b"".join([bytes(chunk) async for chunk in stream])

    assert asyncio.run(run()) == data


async def test_text_becomes_bytes() -> None:
    assert await through(TextEncoderStream.new(), ["caf\u00e9", "", 5]) == ["caf\u00e9".encode(), b"5"]


async def test_a_mark_at_the_start_is_no_text() -> None:
    assert await through(TextDecoderStream.new(), [b"\xef", b"\xbb\xbfa"]) == ["a"]
    assert TextDecoder.new("utf-16le").decode(b"\xff\xfea\x00") == "a"
    assert TextDecoder.new("utf-8", {"ignoreBOM": True}).decode(b"\xef\xbb\xbfa") == "\ufeffa"


async def test_text_that_is_none() -> None:
    assert await through(TextDecoderStream.new(), [b"a\xff"]) == ["a\ufffd"]
    with pytest.raises(JsTypeError, match="Failed to decode input"):
        await through(TextDecoderStream.new("utf-8", {"fatal": True}), [b"a\xff"])
    with pytest.raises(JsTypeError, match="not a BufferSource"):
        await through(TextDecoderStream.new(), ["text"])


@pytest.mark.parametrize(
    ("label", "encoding", "data", "text"),
    [
        ("UTF8", "utf-8", b"\xc3\xa9", "\u00e9"),
        ("latin1", "windows-1252", b"\x80", "\u20ac"),
        ("utf-16", "utf-16le", b"a\x00", "a"),
        ("shift_jis", "shift-jis", b"\x82\xa0", "\u3042"),
    ],
)
def test_encodings_by_their_labels(label: str, encoding: str, data: bytes, text: str) -> None:
    decoder = TextDecoder.new(label)
    assert (decoder.encoding, decoder.decode(data)) == (encoding, text)


def test_an_encoding_that_is_none() -> None:
    with pytest.raises(JsRangeError, match='"klingon" is not a valid encoding'):
        TextDecoder.new("klingon")


def test_encoding_into_an_array() -> None:
    room = bytearray(5)
    assert TextEncoder.new().encodeInto("a\u00e9\U0001f600", room).to_py() == {"read": 2, "written": 3}
    assert room == b"a\xc3\xa9\x00\x00"


@pytest.mark.parametrize(
    ("kind", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress), ("deflate-raw", None)]
)
async def test_others_read_what_is_compressed(kind: str, unpack: Any) -> None:
    packed = b"".join([bytes(part) for part in await through(CompressionStream.new(kind), [b"a" * 1000, b"b"])])
    assert (unpack or (lambda data: zlib.decompress(data, -15)))(packed) == b"a" * 1000 + b"b"


async def test_compressed_bytes_that_are_none() -> None:
    packed = gzip.compress(b"hello")
    for chunks, problem in (
        ([b"nonsense"], "Decompression failed"),
        ([packed[:-4]], "incomplete data"),
        ([packed + b"more"], "Trailing bytes"),
        ([packed, b"more"], "Trailing bytes"),
    ):
        with pytest.raises(JsTypeError, match=problem):
            await through(DecompressionStream.new("gzip"), chunks)
    with pytest.raises(JsTypeError, match="must be either 'deflate', 'deflate-raw' or 'gzip'"):
        CompressionStream.new("brotli")


async def test_what_unpacks_to_much_comes_in_pieces() -> None:
    packed = zlib.compress(bytes(10_000_000))
    sizes = [len(chunk) for chunk in await through(DecompressionStream.new("deflate"), [packed])]
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= 1 << 16


async def test_bytes_pass_as_they_are() -> None:
    assert await through(IdentityTransformStream.new(), [b"a", b"", "\u00e9", to_js(b"c")]) == [b"a", b"\xc3\xa9", b"c"]
    with pytest.raises(JsTypeError, match="received an object of non-ArrayBuffer/ArrayBufferView type"):
        await through(IdentityTransformStream.new(), [5])


async def test_a_reader_may_bring_a_buffer() -> None:
    pipe = IdentityTransformStream.new()
    writer = pipe.writable.getWriter()
    write = writer.write(to_js(b"abcdef"))
    reader: Any = pipe.readable.getReader(mode="byob")
    assert (await reader.read(to_js(bytes(4)))).value == b"abcd"
    assert (await reader.read(to_js(bytes(4)))).value == b"ef"
    await write


async def test_a_length_that_is_kept() -> None:
    assert await through(FixedLengthStream.new(3), [b"ab", b"c"]) == [b"ab", b"c"]
    with pytest.raises(JsTypeError, match=r"Attempt to write too many bytes through a FixedLengthStream\."):
        await through(FixedLengthStream.new(3), [b"ab", b"cd"])
    with pytest.raises(JsTypeError, match=r"FixedLengthStream did not see all expected bytes before close\(\)\."):
        await through(FixedLengthStream.new(3), [b"ab"])
    for bad in (-1, 2**53, "3", None):
        with pytest.raises(JsTypeError, match="requires an integer expected length"):
            FixedLengthStream.new(bad)


@settings(deadline=None)
@given(st.binary())
def test_base64_there_and_back(data: bytes) -> None:
    text = data.decode("latin-1")
    assert btoa(text) == base64.b64encode(data).decode()
    assert atob(btoa(text)) == text
    assert atob(btoa(text).rstrip("=")) == text


def test_base64_that_is_none() -> None:
    assert atob(" YQ = = ") == "a"
    for bad in ("YQ=", "Y", "Y-Q=", "YQ==="):
        with pytest.raises(DOMException, match="InvalidCharacterError: atob"):
            atob(bad)
    with pytest.raises(DOMException, match="InvalidCharacterError: btoa"):
        btoa("\u20ac")
