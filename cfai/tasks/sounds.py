"""Silence that any player plays, as MP3 or WAV, as long as it is to be."""

from __future__ import annotations

import math
import struct
from typing import Literal

__all__ = ["Samples", "mp3", "samples", "wav"]

Samples = Literal["linear16", "mulaw", "alaw"]

# A frame of MPEG-1 layer III, mono, 48 kHz, 32 kbit/s: its header, and zeros, which say that no frequency sounds.
# ISO/IEC 11172-3.
_FRAME = bytes.fromhex("fffb14c4") + bytes(92)
_FRAMES_PER_SECOND = 48_000 / 1152


def mp3(seconds: float) -> bytes:
    """An MP3 of silence, in whole frames of 24 ms; at least one."""
    return _FRAME * max(1, math.ceil(seconds * _FRAMES_PER_SECOND - 1e-9))


# What is written for no sound, how many bytes a sample has, and the number of the format in a WAV.
# https://www.rfc-editor.org/rfc/rfc2361
_FORMATS: dict[Samples, tuple[bytes, int]] = {"linear16": (b"\x00\x00", 1), "mulaw": (b"\xff", 7), "alaw": (b"\xd5", 6)}


def samples(seconds: float, rate: int, kind: Samples = "linear16") -> bytes:
    """Samples of silence, without a header."""
    silence, _ = _FORMATS[kind]
    return silence * max(1, round(seconds * rate))


def wav(seconds: float, rate: int, kind: Samples = "linear16") -> bytes:
    """A WAV of silence, mono."""
    silence, number = _FORMATS[kind]
    size = len(silence)
    data = samples(seconds, rate, kind)
    form = struct.pack("<HHIIHH", number, 1, rate, rate * size, size, 8 * size)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
