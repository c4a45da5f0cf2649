"""Transcripts, turns and speech that no model made."""

from __future__ import annotations

import base64
import io
import re
import wave
from typing import Any

import pytest

from cfai.catalog import Catalog
from cfai.errors import BadInput, EngineFailure, InvalidData
from cfai.tasks.media import seconds_of
from cfai.tasks.sounds import mp3, wav
from tests.plausible import RECORDING, SPEECH, answer, answer_of

WHISPER = "@cf/openai/whisper"
TURBO = "@cf/openai/whisper-large-v3-turbo"
NOVA = "@cf/deepgram/nova-3"
TURN = "@cf/pipecat-ai/smart-turn-v2"
AURA = "@cf/deepgram/aura-1"
MELOTTS = "@cf/myshell-ai/melotts"


@pytest.mark.parametrize(("audio", "seconds"), [(RECORDING, 6.0), (SPEECH, 4.0), (mp3(0.1), 0.12)])
def test_words_come_one_behind_the_other_within_the_recording(audio: bytes, seconds: float) -> None:
    body = answer(WHISPER, {"audio": [*audio]})
    words = body["words"]
    assert body["text"] == " ".join(word["word"] for word in words)
    assert body["word_count"] == len(words) == len(body["text"].split())
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert all(word["start"] < word["end"] for word in words)
    assert 0 == times[0] < times[-1] <= seconds


def test_bytes_numbers_and_a_typed_array_of_javascript_are_the_same_recording() -> None:
    by_place = {str(at): number for at, number in enumerate(SPEECH)}
    numbers = answer(WHISPER, {"audio": [*SPEECH]})
    assert answer(WHISPER, {"audio": SPEECH}) == answer(WHISPER, {"audio": by_place}) == numbers
    assert answer(WHISPER, SPEECH) == answer(WHISPER, SPEECH.decode("latin-1")) == numbers


def test_subtitles_are_webvtt_and_end_with_the_last_word() -> None:
    body = answer(WHISPER, {"audio": mp3(60)})
    head, *cues = body["vtt"].split("\n\n")
    assert head == "WEBVTT"
    shown = []
    for cue in cues:
        time, text = cue.strip().split("\n")
        assert re.fullmatch(r"00:00:\d\d\.\d{3} --> 00:(00|01):\d\d\.\d{3}", time)
        shown.append(text)
    assert " ".join(shown) == body["text"]
    assert len(cues) > 3


def test_whisper_turbo_takes_base64_or_a_stream_and_says_it_in_segments() -> None:
    encoded = answer(TURBO, {"audio": base64.b64encode(RECORDING).decode(), "language": "de"})
    assert answer(TURBO, {"audio": {"body": RECORDING, "contentType": "audio/mpeg"}, "language": "de"}) == encoded
    info = encoded["transcription_info"]
    assert info == {"language": "de", "language_probability": 1, "duration": 6.0, "duration_after_vad": 6.0}
    assert " ".join(segment["text"] for segment in encoded["segments"]) == encoded["text"]
    words = [word for segment in encoded["segments"] for word in segment["words"]]
    assert len(words) == encoded["word_count"]
    for segment in encoded["segments"]:
        assert (segment["start"], segment["end"]) == (segment["words"][0]["start"], segment["words"][-1]["end"])


def test_nova_has_channels_with_alternatives() -> None:
    body = answer(NOVA, {"audio": {"body": SPEECH, "contentType": "audio/wav"}, "punctuate": True})
    (channel,) = body["results"]["channels"]
    (alternative,) = channel["alternatives"]
    assert [*alternative["words"][0]] == ["confidence", "end", "start", "word"]
    assert len(alternative["transcript"].split()) == len(alternative["words"])
    assert 0.9 <= alternative["confidence"] <= 1


def test_a_turn_is_complete_when_that_is_likelier() -> None:
    audio = {"body": SPEECH, "contentType": "audio/wav"}
    turns = [answer(TURN, {"audio": audio, "dtype": "uint8"}, seed) for seed in range(20)]
    assert {turn["is_complete"] for turn in turns} == {True, False}
    assert all(turn["is_complete"] is (turn["probability"] > 0.5) for turn in turns)


def frames_of(sound: bytes) -> int:
    """The frames of an MP3 of MPEG-1 layer III, 48 kHz, 32 kbit/s: each is 96 bytes with the same four at its head."""
    assert len(sound) % 96 == 0
    assert {sound[at : at + 4] for at in range(0, len(sound), 96)} == {b"\xff\xfb\x14\xc4"}
    return len(sound) // 96


def test_speech_is_an_mp3_as_long_as_the_text_takes_to_say() -> None:
    short, long = answer(AURA, {"text": "Hello"}), answer(AURA, {"text": "Hello, this is New York, the big city"})
    assert 0 < frames_of(short) < frames_of(long)
    assert seconds_of(long) == pytest.approx(8 / 2.5, abs=0.024)
    spoken = base64.b64decode(answer(MELOTTS, {"prompt": "Hello"})["audio"])
    assert spoken == short


def test_linear16_is_a_wav_that_python_opens() -> None:
    model = Catalog.builtin().get(AURA)
    made = answer_of(model, {"text": "one two three four five", "encoding": "linear16", "sample_rate": 16000})
    assert made.content_type == "audio/wav"
    with wave.open(io.BytesIO(made.body)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
        assert sound.getnframes() == 2 * 16000


@pytest.mark.parametrize(
    ("encoding", "content_type", "size"),
    [("linear16", "audio/l16;rate=24000", 19200), ("mulaw", "audio/mulaw;rate=8000", 3200)],
)
def test_without_a_container_there_are_samples_only(encoding: str, content_type: str, size: int) -> None:
    made = answer_of(Catalog.builtin().get(AURA), {"text": "Hello", "encoding": encoding, "container": "none"})
    assert (made.content_type, len(made.body)) == (content_type, size)


def test_an_encoding_that_is_not_made_up_says_which_are() -> None:
    with pytest.raises(EngineFailure, match="no audio in the encoding 'opus' is made up") as failure:
        answer(AURA, {"text": "Hello", "encoding": "opus"})
    assert "script the answer with bytes" in failure.value.hint


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (WHISPER, {"audio": [1, 2, 300]}, "'/audio/2' must be <= 255"),
        (WHISPER, {"audio": [1, -2]}, "'/audio/1' must be >= 0"),
        (WHISPER, {"audio": [1, "2"]}, "Type mismatch of '/audio/1', 'number' not in 'string'"),
        (
            WHISPER,
            {"audio": "aGk="},
            "oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'object', "
            "Type mismatch of '/audio', 'array' not in 'string'",
        ),
        (NOVA, {"audio": {"body": SPEECH}}, "required properties at '/audio' are 'body,contentType'"),
        (
            AURA,
            {"text": "a", "speaker": "bob"},
            "enum bob not in angus,asteria,arcas,orion,orpheus,athena,luna,zeus,"
            "perseus,helios,hera,stella at '/speaker'",
        ),
        (
            TURBO,
            {"audio": 5},
            "required properties at '/' are 'audio': Type mismatch of '/audio', 'string' not in 'number','integer'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(model: str, inputs: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as refusal:
        answer(model, inputs)
    assert refusal.value.description == f"Error: {sentence}"


@pytest.mark.parametrize("audio", ["no base64!", "data:audio/mp3;base64,???", "ab"])
def test_a_text_that_is_no_base64_is_invalid_data(audio: str) -> None:
    with pytest.raises(InvalidData) as refusal:
        answer(TURBO, {"audio": audio})
    assert (refusal.value.code, refusal.value.description) == (5004, "Invalid data type for base64 input: string")


@pytest.mark.parametrize("kind", ["linear16", "mulaw", "alaw"])
def test_the_header_of_a_wav_says_how_long_it_is(kind: Any) -> None:
    assert seconds_of(wav(3, 8000, kind)) == 3


def test_a_recording_without_a_header_is_as_long_as_most_of_its_size() -> None:
    assert seconds_of(bytes(16_000)) == 1
    assert seconds_of(b"") == 0
