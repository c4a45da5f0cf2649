"""Speech becomes text, text becomes speech, and whoever speaks may have finished."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cfai.errors import BadInput, EngineFailure
from cfai.tasks import sounds
from cfai.tasks.answers.answer import Answer, Asked
from cfai.tasks.media import data_of, seconds_of
from cfai.tasks.words import prose, words_of

__all__ = [
    "aura",
    "characters_spoken",
    "flux",
    "has_audio",
    "melotts",
    "minutes_heard",
    "minutes_spoken",
    "nova",
    "turbo",
    "turn",
    "whisper",
]

_WORDS_PER_SECOND = 2.5
_SPOKEN_PART = 0.8
"""Of the time until the next word."""


@dataclass(frozen=True, slots=True)
class _Word:
    word: str
    start: float
    end: float

    def row(self) -> dict[str, Any]:
        return {"word": self.word, "start": self.start, "end": self.end}


def has_audio(inputs: Mapping[str, Any]) -> None:
    data_of(inputs["audio"], "/audio")


def whisper(asked: Asked) -> Answer:
    words = _words(asked, _seconds(asked.inputs))
    return Answer(
        {
            "text": _text(words),
            "word_count": len(words),
            "words": [word.row() for word in words],
            "vtt": _vtt(_sentences(words)),
        }
    )


def turbo(asked: Asked) -> Answer:
    seconds = _seconds(asked.inputs)
    words = _words(asked, seconds)
    sentences = _sentences(words)
    info = {
        "language": asked.inputs.get("language", "en"),
        "language_probability": 1 if "language" in asked.inputs else round(asked.rng.uniform(0.9, 0.99), 4),
        "duration": round(seconds, 2),
        "duration_after_vad": words[-1].end if asked.inputs.get("vad_filter") else round(seconds, 2),
    }
    return Answer(
        {
            "transcription_info": info,
            "text": _text(words),
            "word_count": len(words),
            "segments": [_segment(asked, sentence) for sentence in sentences],
            "vtt": _vtt(sentences),
        }
    )


def _segment(asked: Asked, sentence: list[_Word]) -> dict[str, Any]:
    return {
        "start": sentence[0].start,
        "end": sentence[-1].end,
        "text": _text(sentence),
        "temperature": 0,
        "avg_logprob": round(asked.rng.uniform(-0.3, -0.1), 6),
        "compression_ratio": round(asked.rng.uniform(1.1, 1.6), 6),
        "no_speech_prob": round(asked.rng.uniform(0, 0.1), 6),
        "words": [word.row() for word in sentence],
    }


def nova(asked: Asked) -> Answer:
    words = _words(asked, _seconds(asked.inputs))
    sure = [round(asked.rng.uniform(0.9, 1), 6) for _ in words]
    rows = [
        {"confidence": confidence, "end": word.end, "start": word.start, "word": "".join(words_of(word.word))}
        for word, confidence in zip(words, sure, strict=True)
    ]
    alternative = {"confidence": round(sum(sure) / len(sure), 6), "transcript": _text(words), "words": rows}
    return Answer({"results": {"channels": [{"alternatives": [alternative]}]}})


def flux(asked: Asked) -> Answer:
    raise BadInput(f"{asked.model.id} answers over a WebSocket only", hint="models over a WebSocket are not simulated")


def turn(asked: Asked) -> Answer:
    probability = round(asked.rng.random(), 6)
    return Answer({"is_complete": probability > 0.5, "probability": probability})


def melotts(asked: Asked) -> Answer:
    return Answer({"audio": base64.b64encode(sounds.mp3(_time_to_say(asked.inputs["prompt"]))).decode()})


def aura(asked: Asked) -> Answer:
    """Silence as long as the text takes to say: an MP3, or samples with and without the header of a WAV."""
    seconds = _time_to_say(asked.inputs["text"])
    encoding = asked.inputs.get("encoding", "mp3")
    if encoding == "mp3":
        return Answer(sounds.mp3(seconds), "audio/mpeg")
    if encoding not in _SAMPLES:
        raise EngineFailure(
            f"no audio in the encoding {encoding!r} is made up",
            hint="mp3, linear16, mulaw and alaw are; script the answer with bytes",
        )
    usual_rate, kind = _SAMPLES[encoding]
    rate = min(_HIGHEST_RATE, max(1, int(asked.inputs.get("sample_rate", usual_rate))))
    if asked.inputs.get("container", "wav") == "wav":
        return Answer(sounds.wav(seconds, rate, encoding), "audio/wav")
    return Answer(sounds.samples(seconds, rate, encoding), f"audio/{kind};rate={rate}")


# https://developers.deepgram.com/docs/tts-media-output-settings: the usual rates.
_SAMPLES = {"linear16": (24_000, "l16"), "mulaw": (8_000, "mulaw"), "alaw": (8_000, "alaw")}
_HIGHEST_RATE = 48_000


def minutes_heard(inputs: Any, answer: Answer) -> dict[str, float]:
    return {"audio minute": _seconds(inputs) / 60}


def minutes_spoken(inputs: Any, answer: Answer) -> dict[str, float]:
    return {"audio minute": _time_to_say(inputs["prompt"]) / 60}


def characters_spoken(inputs: Any, answer: Answer) -> dict[str, float]:
    return {"characters": len(inputs["text"])}


def _seconds(inputs: Mapping[str, Any]) -> float:
    return seconds_of(data_of(inputs["audio"], "/audio"))


def _time_to_say(text: str) -> float:
    return max(1, len(words_of(text))) / _WORDS_PER_SECOND


def _words(asked: Asked, seconds: float) -> list[_Word]:
    """As many words as are said in that time, one behind the other, the last one said before the end."""
    said = prose(asked.rng, max(1, int(seconds * _WORDS_PER_SECOND))).split()
    apart = seconds / len(said)
    return [
        _Word(word, round(at * apart, 3), round(at * apart + apart * _SPOKEN_PART, 3)) for at, word in enumerate(said)
    ]


def _text(words: list[_Word]) -> str:
    return " ".join(word.word for word in words)


def _sentences(words: list[_Word]) -> list[list[_Word]]:
    sentences: list[list[_Word]] = [[]]
    for word in words:
        sentences[-1].append(word)
        if word.word.endswith("."):
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def _vtt(sentences: list[list[_Word]]) -> str:
    """https://www.w3.org/TR/webvtt1/"""
    cues = [f"{_clock(words[0].start)} --> {_clock(words[-1].end)}\n{_text(words)}\n" for words in sentences]
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"
