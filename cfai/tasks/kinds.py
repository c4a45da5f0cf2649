"""Which model takes and gives what, as a table: a kind for each task, and one for each model that differs from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cfai.catalog import Model
from cfai.tasks.answers import embeddings, images, language, speech, vision
from cfai.tasks.answers.answer import Answer, Asked

__all__ = ["Kind", "kind_of"]


def _nothing(inputs: Mapping[str, Any]) -> None:
    """The schema says it all."""


def _one_request(inputs: Any, answer: Answer) -> Mapping[str, float]:
    return {"inference request": 1}


@dataclass(frozen=True, slots=True)
class Kind:
    """What some models take and give."""

    schema: str
    """The file of `schemas/`."""
    variant: str
    """Its entries are `VARIANT-input` and `VARIANT-output`."""
    answer: Callable[[Asked], Answer]
    work: Callable[[Any, Answer], Mapping[str, float]] = _one_request
    """How much is paid for, by the units of the catalog's prices."""
    look_again: Callable[[Mapping[str, Any]], None] = _nothing
    """Refuses what the schema lets through."""
    output: str = ""
    """Another variant's output that is this one's too."""
    raw: str = ""
    """The key of the inputs that the body of a request is when it is no JSON."""
    has_type: bool = False
    """Whether that input is an object, `{"body", "contentType"}`."""

    @property
    def input_entry(self) -> str:
        return f"{self.variant}-input"

    @property
    def output_entry(self) -> str:
        return f"{self.output or self.variant}-output"


def kind_of(model: Model) -> Kind:
    """The kind of `model`, which generates no text."""
    found = _OF_MODELS.get(model.id) or _OF_TASKS.get(model.task)
    if found is None:
        raise ValueError(f"{model.id} has the task {model.task!r}; there are: {', '.join(sorted(_OF_TASKS))}")
    return found


_BGE = Kind("embeddings", "bge", embeddings.bge, embeddings.tokens_read)
_M3 = Kind("embeddings", "m3", embeddings.m3, embeddings.tokens_read)
_PLAIN = Kind("embeddings", "plain", embeddings.plain, embeddings.tokens_read)
_QWEN3 = Kind(
    "embeddings",
    "qwen3",
    embeddings.plain,
    embeddings.tokens_read,
    look_again=embeddings.has_something_to_embed,
    output="plain",
)

_CLASSIFICATION = Kind("language", "classification", language.classified, language.tokens_classified)
_RERANKER = Kind("language", "reranker", embeddings.ranked, embeddings.tokens_ranked)
_TRANSLATION = Kind("language", "translation", language.translated, language.tokens_translated)
_INDIC = Kind("language", "indic", language.indic, language.tokens_translated)
_SUMMARY = Kind("language", "summary", language.summarized, language.tokens_summarized)
_SIMILARITY = Kind("language", "similarity", embeddings.similarities)
_PIPE = Kind("language", "pipe", language.passed_on)

_WHISPER = Kind("speech", "whisper", speech.whisper, speech.minutes_heard, speech.has_audio, raw="audio")
_TURBO = Kind("speech", "turbo", speech.turbo, speech.minutes_heard, speech.has_audio, raw="audio", has_type=True)
_NOVA = Kind("speech", "nova", speech.nova, speech.minutes_heard, speech.has_audio, raw="audio", has_type=True)
_FLUX = Kind("speech", "flux", speech.flux)
_TURN = Kind("speech", "turn", speech.turn, speech.minutes_heard, speech.has_audio, raw="audio", has_type=True)
_MELOTTS = Kind("speech", "melotts", speech.melotts, speech.minutes_spoken)
_AURA_1 = Kind("speech", "aura1", speech.aura, speech.characters_spoken, output="aura")
_AURA_2_EN = Kind("speech", "aura2en", speech.aura, speech.characters_spoken, output="aura")
_AURA_2_ES = Kind("speech", "aura2es", speech.aura, speech.characters_spoken, output="aura")

_RESNET = Kind("vision", "classification", vision.classified, look_again=vision.has_image, raw="image")
_DETECTION = Kind("vision", "detection", vision.detected, look_again=vision.has_image, raw="image")
_DESCRIPTION = Kind("vision", "description", vision.described, look_again=vision.has_image_in_any_form, raw="image")
_CONVERSATION = Kind(
    "vision", "conversation", vision.described, look_again=vision.has_image_as_text, output="description"
)
_MOONDREAM = Kind("vision", "moondream", vision.moondream, vision.tokens_seen, vision.has_image_for_task)

_DIFFUSION = Kind("vision", "diffusion", images.diffused, images.tiles_and_steps, images.has_images)
_PHOENIX = Kind("vision", "phoenix", images.phoenix, images.tiles_and_steps)
_SCHNELL = Kind("vision", "schnell", images.schnell, images.tiles_and_steps, output="base64")
_LUCID = Kind("vision", "lucid", images.lucid, images.tiles_and_steps, output="base64")
_FORM = Kind(
    "vision",
    "form",
    images.from_form,
    images.tiles_and_steps,
    images.has_prompt_in_form,
    output="base64",
    raw="multipart",
    has_type=True,
)

_OF_TASKS: Mapping[str, Kind] = {
    "Automatic Speech Recognition": _WHISPER,
    "Dumb Pipe": _PIPE,
    "Image Classification": _RESNET,
    "Image-Text-to-Text": _CONVERSATION,
    "Image-to-Text": _DESCRIPTION,
    "Object Detection": _DETECTION,
    "Sentence Similarity": _SIMILARITY,
    "Summarization": _SUMMARY,
    "Text Classification": _CLASSIFICATION,
    "Text Embeddings": _BGE,
    "Text-to-Image": _DIFFUSION,
    "Text-to-Speech": _MELOTTS,
    "Translation": _TRANSLATION,
    "Voice Activity Detection": _TURN,
}

_OF_MODELS: Mapping[str, Kind] = {
    "@cf/ai4bharat/indictrans2-en-indic-1B": _INDIC,
    "@cf/baai/bge-m3": _M3,
    "@cf/baai/bge-reranker-base": _RERANKER,
    "@cf/baai/omni-bge-m3": _M3,
    "@cf/black-forest-labs/flux-1-schnell": _SCHNELL,
    "@cf/black-forest-labs/flux-2-dev": _FORM,
    "@cf/black-forest-labs/flux-2-klein-4b": _FORM,
    "@cf/black-forest-labs/flux-2-klein-9b": _FORM,
    "@cf/deepgram/aura-1": _AURA_1,
    "@cf/deepgram/aura-2-en": _AURA_2_EN,
    "@cf/deepgram/aura-2-es": _AURA_2_ES,
    "@cf/deepgram/flux": _FLUX,
    "@cf/deepgram/nova-3": _NOVA,
    "@cf/google/embeddinggemma-300m": _PLAIN,
    "@cf/leonardo/lucid-origin": _LUCID,
    "@cf/leonardo/phoenix-1.0": _PHOENIX,
    "@cf/moondream/moondream3.1-9B-A2B": _MOONDREAM,
    "@cf/openai/whisper-large-v3-turbo": _TURBO,
    "@cf/pfnet/plamo-embedding-1b": _PLAIN,
    "@cf/qwen/qwen3-embedding-0.6b": _QWEN3,
}
