"""Audio and images as inputs bring them: bytes in one of JSON's ways, and how long or how wide they are."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from typing import Any

from cfai.errors import BadInput, InvalidData
from cfai.tasks import fields

__all__ = ["data_of", "form_of", "is_url", "seconds_of", "size_of"]


def is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def data_of(value: Any, where: str, *, is_binary_text: bool = False) -> bytes:
    """The bytes that an input holds: numbers, what JavaScript writes of a Uint8Array, base64 text, a data URL, or an
    object with one of these as its `body`.

    is_binary_text  a text that is no base64 has a character for each byte

    Raises `InvalidData` for a text that is none of these, and `BadInput` for numbers that are no bytes.
    """
    if isinstance(value, str):
        return _data_of_text(value, is_binary_text=is_binary_text)
    if isinstance(value, Mapping):
        if "body" in value:
            return data_of(value["body"], f"{where}/body")
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        fields.mismatch(value, where, "array")
    try:
        return bytes(value)
    except (TypeError, ValueError):
        return bytes(_byte(number, f"{where}/{at}") for at, number in enumerate(value))


def _data_of_text(text: str, *, is_binary_text: bool) -> bytes:
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        if is_binary_text and not text.startswith("data:"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                pass
        raise InvalidData("string", hint="the text is not base64") from None


def _byte(number: Any, where: str) -> int:
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        fields.mismatch(number, where, "number")
    if not 0 <= number <= 255:
        raise BadInput(f"'{where}' must be {'>= 0' if number < 0 else '<= 255'}")
    return int(number)


def form_of(body: bytes, content_type: str, where: str) -> dict[str, bytes]:
    """The fields of a multipart form; of several with one name, the last."""
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    parts = message_from_bytes(head + body).get_payload() if "multipart/" in content_type else None
    if not isinstance(parts, list):
        raise BadInput(f"'{where}' is not multipart/form-data with a boundary", hint=f"its type is {content_type!r}")
    found: dict[str, bytes] = {}
    for part in parts:
        if not isinstance(part, Message):
            continue
        name, data = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(data, bytes):
            found[name] = data
    return found


def size_of(image: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG or GIF; None for what is none of them."""
    if image[:8] == b"\x89PNG\r\n\x1a\n" and len(image) >= 24:
        width, height = struct.unpack(">II", image[16:24])
    elif image[:3] == b"GIF" and len(image) >= 10:
        width, height = struct.unpack("<HH", image[6:10])
    elif image[:2] == b"\xff\xd8":
        width, height = _size_of_jpeg(image)
    else:
        return None
    return (width, height) if width and height else None


def _size_of_jpeg(image: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(image) and image[at] == 0xFF:
        marker, length = image[at + 1], int.from_bytes(image[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = struct.unpack(">HH", image[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return 0, 0


_BYTES_PER_SECOND = 16_000
"""128 kbit/s, what most recordings that are compressed have."""

_MPEG_BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III, in kbit/s: of MPEG-1, and of MPEG-2 with its lower rates. ISO 11172-3 and 13818-3."""


def seconds_of(audio: bytes) -> float:
    """How long a recording is: by the header of a WAV, by the first frame of an MP3, else as it would be compressed."""
    rate = 0
    if audio[:4] == b"RIFF" and audio[8:12] == b"WAVE" and len(audio) >= 44:
        at = audio.find(b"fmt ", 12)
        rate = int.from_bytes(audio[at + 16 : at + 20], "little") if at >= 0 else 0
        return (len(audio) - 44) / rate if rate else 0.0
    if len(audio) >= 4 and audio[0] == 0xFF and audio[1] & 0xE6 == 0xE2:
        rates = _MPEG_BIT_RATES[audio[1] & 0x18 == 0x18]
        rate = rates[audio[2] >> 4] * 125 if audio[2] >> 4 < len(rates) else 0
    return len(audio) / (rate or _BYTES_PER_SECOND)
