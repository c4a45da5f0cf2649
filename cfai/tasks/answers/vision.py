"""Images become labels, boxes and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai.tasks import fields
from cfai.tasks.answers.answer import Answer, Asked
from cfai.tasks.media import data_of, is_url, size_of
from cfai.tasks.words import prose, sentence, tokens_in

__all__ = [
    "classified",
    "described",
    "detected",
    "has_image",
    "has_image_as_text",
    "has_image_for_task",
    "has_image_in_any_form",
    "moondream",
    "tokens_seen",
]

# Of the thousand labels of ImageNet and the eighty of COCO, some, written as the models write them.
_IMAGENET = (
    "EGYPTIAN CAT",
    "GOLDEN RETRIEVER",
    "BURRITO",
    "ESPRESSO",
    "LAKESIDE",
    "BEAGLE",
    "TABBY",
    "ORANGE",
    "CASTLE",
    "SPORTS CAR",
    "ACOUSTIC GUITAR",
    "HOT AIR BALLOON",
)
_COCO = ("person", "cat", "dog", "car", "bicycle", "bird", "chair", "cup", "book", "clock", "potted plant", "bottle")
_USUAL_SIZE = (640, 480)
"""Of an image that is none: a test need not bring one."""


def has_image(inputs: Mapping[str, Any]) -> None:
    if "image" not in inputs:  # the schema of object detection requires nothing
        fields.missing("/", "image")
    data_of(inputs["image"], "/image")


def has_image_in_any_form(inputs: Mapping[str, Any]) -> None:
    data_of(inputs["image"], "/image", is_binary_text=True)


def has_image_as_text(inputs: Mapping[str, Any]) -> None:
    if not is_url(inputs["image"]):
        data_of(inputs["image"], "/image")


def has_image_for_task(inputs: Mapping[str, Any]) -> None:
    if "image" in inputs:
        has_image_as_text(inputs)
    elif inputs["task"] != "query":
        fields.missing("/", "image")


def classified(asked: Asked) -> Answer:
    """Five labels, the likeliest first; together they are less than certain."""
    labels = asked.rng.sample(_IMAGENET, 5)
    parts = sorted((asked.rng.random() ** 3 for _ in labels), reverse=True)
    whole = sum(parts) / asked.rng.uniform(0.8, 0.99) or 1
    return Answer(
        [{"label": label, "score": round(part / whole, 9)} for label, part in zip(labels, parts, strict=True)]
    )


def detected(asked: Asked) -> Answer:
    """Some objects, the surest first, each in a box inside the image."""
    width, height = size_of(data_of(asked.inputs["image"], "/image")) or _USUAL_SIZE
    scores = sorted((round(asked.rng.uniform(0.5, 1), 9) for _ in range(asked.rng.randint(1, 4))), reverse=True)
    return Answer([_found(asked, score, width, height) for score in scores])


def _found(asked: Asked, score: float, width: int, height: int) -> dict[str, Any]:
    left, right = _span(asked, width)
    top, bottom = _span(asked, height)
    box = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
    return {"score": score, "label": asked.rng.choice(_COCO), "box": box}


def _span(asked: Asked, size: int) -> tuple[int, int]:
    start = asked.rng.randrange(size)
    return start, asked.rng.randint(start + 1, size)


def described(asked: Asked) -> Answer:
    words = sentence(asked.rng).split()
    most = max(1, int(asked.inputs.get("max_tokens", 512)))
    while len(words) > 1 and tokens_in(*words) > most:
        words.pop()
    return Answer({"description": " ".join(words)})


def moondream(asked: Asked) -> Answer:
    """One JSON object, also where a stream was asked for, which is the default: how its events look is not known."""
    inputs, task = asked.inputs, asked.inputs["task"]
    text = prose(asked.rng, _CAPTION_WORDS[inputs["caption_length"]]) if task == "caption" else sentence(asked.rng)
    thought = sentence(asked.rng)
    count = min(asked.rng.randint(1, 3), int(inputs["max_objects"]))
    first = round(asked.rng.uniform(20, 80), 2)
    tells = task in ("query", "caption")
    output = tokens_in(text) if tells else count * _TOKENS_OF_A_PLACE[task]
    metrics = {
        "input_tokens": _IMAGE_TOKENS + tokens_in(inputs["question"]),
        "output_tokens": output,
        "prefill_time_ms": first,
        "decode_time_ms": round(output * 5.0, 2),
        "ttft_ms": first,
    }
    reasons = task == "query" and inputs["reasoning"]
    return Answer(
        {
            "finish_reason": "stop",
            "metrics": metrics,
            "answer": text if task == "query" else None,
            "caption": text if task == "caption" else None,
            "points": [_point(asked) for _ in range(count)] if task == "point" else None,
            "objects": [_object(asked) for _ in range(count)] if task == "detect" else None,
            "reasoning": {"text": thought, "grounding": []} if reasons else None,
        }
    )


_CAPTION_WORDS = {"short": 8, "normal": 20, "long": 60}
_TOKENS_OF_A_PLACE = {"point": 2, "detect": 4}
_IMAGE_TOKENS = 729
"""Moondream's encoder makes 27 by 27 patches of an image."""


def _point(asked: Asked) -> dict[str, float]:
    return {"x": round(asked.rng.random(), 4), "y": round(asked.rng.random(), 4)}


def _object(asked: Asked) -> dict[str, float]:
    left, right = sorted(round(asked.rng.random(), 4) for _ in range(2))
    top, bottom = sorted(round(asked.rng.random(), 4) for _ in range(2))
    return {"x_min": left, "y_min": top, "x_max": right, "y_max": bottom}


def tokens_seen(inputs: Any, answer: Answer) -> dict[str, float]:
    metrics = answer.body["metrics"]
    return {"input tokens": metrics["input_tokens"], "output tokens": metrics["output_tokens"]}
