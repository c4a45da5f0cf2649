"""Descriptions become images: stripes of colour, of the size that was asked for."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cfai.errors import BadInput
from cfai.tasks import fields
from cfai.tasks.answers.answer import Answer, Asked
from cfai.tasks.media import data_of, form_of, size_of
from cfai.tasks.pictures import Colour, jpeg, png

__all__ = [
    "diffused",
    "from_form",
    "has_images",
    "has_prompt_in_form",
    "lucid",
    "phoenix",
    "schnell",
    "tiles_and_steps",
]

_STRIPES = 5
_TILE = 512
_USUAL_SIZE = 1024
_SIZES = {
    "@cf/lykon/dreamshaper-8-lcm": 512,
    "@cf/runwayml/stable-diffusion-v1-5-img2img": 512,
    "@cf/runwayml/stable-diffusion-v1-5-inpainting": 512,
    "@cf/stabilityai/stable-diffusion-xl-turbo": 512,
}
"""What the models were trained on, where it is not 1024 pixels each way."""


def has_images(inputs: Mapping[str, Any]) -> None:
    for name in ("image", "image_b64", "mask"):
        if name in inputs:
            data_of(inputs[name], f"/{name}")


def diffused(asked: Asked) -> Answer:
    return Answer(png(*_size(asked.inputs, _SIZES.get(asked.model.id, _USUAL_SIZE)), _stripes(asked)), "image/png")


def phoenix(asked: Asked) -> Answer:
    return Answer(_jpeg(asked), "image/jpeg")


def schnell(asked: Asked) -> Answer:
    return Answer({"image": base64.b64encode(jpeg(_USUAL_SIZE, _USUAL_SIZE, _stripes(asked))).decode()})


def lucid(asked: Asked) -> Answer:
    return Answer({"image": base64.b64encode(_jpeg(asked)).decode()})


def has_prompt_in_form(inputs: Mapping[str, Any]) -> None:
    if not _form(inputs).get("prompt"):
        raise BadInput("required properties at '/multipart' are 'prompt'", hint="the form has a field of that name")
    _size_in_form(inputs)


def from_form(asked: Asked) -> Answer:
    width, height = _size(_size_in_form(asked.inputs), _USUAL_SIZE)
    return Answer({"image": base64.b64encode(jpeg(width, height, _stripes(asked))).decode()})


def _form(inputs: Mapping[str, Any]) -> dict[str, bytes]:
    given = inputs["multipart"]
    content_type = fields.text(given["contentType"], "/multipart/contentType")
    return form_of(data_of(given, "/multipart"), content_type, "/multipart")


def _size_in_form(inputs: Mapping[str, Any]) -> dict[str, int]:
    form = _form(inputs)
    found: dict[str, int] = {}
    for name in ("width", "height"):
        if name in form:
            text = form[name].decode("latin-1").strip()
            if not (text.isdigit() and 0 < int(text[:6]) <= _MOST_PIXELS):
                raise BadInput(f"'/multipart/{name}' must be >= 1 and <= {_MOST_PIXELS}", hint=f"it is {text[:40]!r}")
            found[name] = int(text)
    return found


_MOST_PIXELS = 2500


def _jpeg(asked: Asked) -> bytes:
    return jpeg(*_size(asked.inputs, _USUAL_SIZE), _stripes(asked))


def _size(inputs: Mapping[str, Any], usual: int) -> tuple[int, int]:
    """Width and height; 0 is for no wish."""
    width, height = (int(inputs.get(name) or usual) for name in ("width", "height"))
    return width, height


def _stripes(asked: Asked) -> list[Colour]:
    def part() -> int:
        return asked.rng.randrange(256)

    return [(part(), part(), part()) for _ in range(_STRIPES)]


def tiles_and_steps(inputs: Any, answer: Answer) -> dict[str, float]:
    made = answer.body if isinstance(answer.body, bytes) else base64.b64decode(answer.body["image"])
    width, height = size_of(made) or (_TILE, _TILE)
    steps = inputs.get("num_steps") or inputs.get("steps") or 4
    return {"512 by 512 tile": -(-width // _TILE) * -(-height // _TILE), "step": steps}
