"""Small pictures that any program can open: stripes of colour as PNG or JPEG, of any size."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

__all__ = ["Colour", "jpeg", "png"]

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


def png(width: int, height: int, stripes: Sequence[Colour]) -> bytes:
    """A PNG of horizontal stripes. https://www.w3.org/TR/png/

    ```python
    png(512, 512, [(135, 206, 235), (85, 107, 47)])  # a sky over a meadow
    ```
    """
    rows = []
    before: Colour | None = None
    for colour in _rows(height, stripes):
        # Filter 2 writes a row as its difference from the one above: zeros, which take no room.
        rows.append(b"\x00" + bytes(colour) * width if colour != before else b"\x02" + bytes(3 * width))
        before = colour
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(rows), 1)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _rows(count: int, stripes: Sequence[Colour]) -> Iterator[Colour]:
    for row in range(count):
        yield stripes[row * len(stripes) // count]


# Baseline JPEG, https://www.w3.org/Graphics/JPEG/itu-t81.pdf: blocks of 8 by 8 pixels, each of one colour, so that of a
# block's 64 numbers there is only the first. It is written as the difference from the block before, which is nearly
# always 0: one bit, and one more for the end of the block.
_ONE = 1
_DC_LENGTHS = (1, 0, 0, 0, 8, *[0] * 11)
"""Codes by their length: one of one bit for a difference of 0, eight of five bits for those of 1 to 8 bits."""
_DC_CODES = ("0", *(format(0b10000 + place, "05b") for place in range(8)))
_AC_LENGTHS = (1, *[0] * 15)
_END_OF_BLOCK = "0"
_STEP = 8
"""With this quantiser the first number of a block is its brightness itself."""


def jpeg(width: int, height: int, stripes: Sequence[Colour]) -> bytes:
    """A JPEG of horizontal stripes, as high as whole blocks of 8 pixels."""
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    scan = b"".join(bytes((number, 0)) for number in (1, 2, 3))
    segments = (
        (0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
        (0xDB, b"\x00" + bytes((_STEP,)) + bytes((_ONE,)) * 63),
        (0xC0, struct.pack(">BHHB", 8, height, width, 3) + components),
        (0xC4, b"\x00" + bytes(_DC_LENGTHS) + bytes(range(9))),
        (0xC4, b"\x10" + bytes(_AC_LENGTHS) + b"\x00"),
        (0xDA, b"\x03" + scan + b"\x00\x3f\x00"),
    )
    head = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    across, down = -(-width // 8), -(-height // 8)
    bits = []
    before = (0, 0, 0)
    for colour in map(_yuv, _rows(down, stripes)):
        bits.append("".join(_block(now - last) for now, last in zip(colour, before, strict=True)))
        bits.append(_block(0) * 3 * (across - 1))
        before = colour
    return b"\xff\xd8" + head + _packed("".join(bits)) + b"\xff\xd9"


def _block(difference: int) -> str:
    length = abs(difference).bit_length()
    # A negative number is written as one less, without its sign: the bits of its size turned over.
    shown = difference if difference >= 0 else difference + (1 << length) - 1
    return _DC_CODES[length] + (format(shown, f"0{length}b") if length else "") + _END_OF_BLOCK


def _yuv(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = colour
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue - 128
    blueness = -0.168736 * red - 0.331264 * green + 0.5 * blue
    redness = 0.5 * red - 0.418688 * green - 0.081312 * blue
    bright, blue_, red_ = (max(-128, min(127, round(part))) for part in (brightness, blueness, redness))
    return bright, blue_, red_


def _packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    # Within the data, 255 is no marker when a 0 follows.
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
