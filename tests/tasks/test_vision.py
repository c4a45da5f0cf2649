"""What is seen in an image that no model looked at, and images that no model made."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cfai.errors import BadInput, InvalidData
from cfai.tasks.media import data_of, form_of, size_of
from cfai.tasks.pictures import Colour, jpeg, png
from tests.plausible import FORM, FORM_TYPE, PICTURE, answer

RESNET = "@cf/microsoft/resnet-50"
DETR = "@cf/facebook/detr-resnet-50"
LLAVA = "@cf/llava-hf/llava-1.5-7b-hf"
MOONDREAM = "@cf/moondream/moondream3.1-9B-A2B"
SDXL = "@cf/stabilityai/stable-diffusion-xl-base-1.0"
SCHNELL = "@cf/black-forest-labs/flux-1-schnell"
FLUX_2 = "@cf/black-forest-labs/flux-2-dev"
LUCID = "@cf/leonardo/lucid-origin"
PHOENIX = "@cf/leonardo/phoenix-1.0"


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_an_image_has_five_labels_the_likeliest_first() -> None:
    rows = answer(RESNET, {"image": [*PICTURE]})
    scores = [row["score"] for row in rows]
    assert len({row["label"] for row in rows}) == 5
    assert all(row["label"] == row["label"].upper() for row in rows)
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) <= 1


@pytest.mark.parametrize("image", [PICTURE, jpeg(300, 20, [(1, 2, 3)]), b"GIF89a\x0a\x00\x14\x00"])
def test_objects_are_in_boxes_inside_the_image_the_surest_first(image: bytes) -> None:
    width, height = size_of(image) or (0, 0)
    assert width > 0
    for seed in range(30):
        rows = answer(DETR, {"image": image}, seed)
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)
        for row in rows:
            assert 0 <= row["box"]["xmin"] < row["box"]["xmax"] <= width
            assert 0 <= row["box"]["ymin"] < row["box"]["ymax"] <= height


@pytest.mark.parametrize("image", [[*PICTURE], PICTURE, base64.b64encode(PICTURE).decode(), PICTURE.decode("latin-1")])
def test_a_description_takes_the_image_in_any_form(image: Any) -> None:
    assert answer(LLAVA, {"image": image})["description"].endswith(".")


def test_a_description_has_at_most_max_tokens() -> None:
    assert len(answer(LLAVA, {"image": PICTURE, "max_tokens": 3})["description"].split()) <= 3


@pytest.mark.parametrize(
    ("inputs", "filled"),
    [
        ({}, {"answer", "reasoning"}),
        ({"question": "who?", "reasoning": False}, {"answer"}),
        ({"task": "caption", "image": "https://example.com/a.png"}, {"caption"}),
        ({"task": "point", "image": "data:image/png;base64,aGk="}, {"points"}),
        ({"task": "detect", "image": "aGk=", "max_objects": 1}, {"objects"}),
    ],
)
def test_moondream_answers_the_task_that_was_asked(inputs: Any, filled: set[str]) -> None:
    body = answer(MOONDREAM, inputs)
    assert {
        name for name in ("answer", "caption", "points", "objects", "reasoning") if body[name] is not None
    } == filled
    assert len(body["objects"] or [1]) == 1


def test_moondreams_other_tasks_need_an_image() -> None:
    with pytest.raises(BadInput, match="required properties at '/' are 'image'"):
        answer(MOONDREAM, {"task": "detect"})


@pytest.mark.parametrize(("wanted", "size"), [({}, (1024, 1024)), ({"width": 256, "height": 300}, (256, 300))])
def test_an_image_has_the_size_that_was_asked_for(wanted: dict[str, int], size: tuple[int, int]) -> None:
    image = opened(answer(SDXL, {"prompt": "a cat", **wanted}))
    assert (image.format, image.size) == ("PNG", size)


def test_the_same_prompt_and_seed_make_the_same_image() -> None:
    assert answer(SDXL, {"prompt": "a cat"}, 1) == answer(SDXL, {"prompt": "a cat"}, 1)
    assert answer(SDXL, {"prompt": "a cat"}, 1) != answer(SDXL, {"prompt": "a cat"}, 2)


@pytest.mark.parametrize(
    ("model", "inputs", "size"),
    [
        (SCHNELL, {"prompt": "a cat", "steps": 8}, (1024, 1024)),
        (LUCID, {"prompt": "a cat"}, (1120, 1120)),
        (LUCID, {"prompt": "a cat", "width": 0, "height": 64}, (1024, 64)),
        (FLUX_2, {"multipart": {"body": FORM, "contentType": FORM_TYPE}}, (512, 1024)),
    ],
)
def test_some_models_answer_with_a_jpeg_in_base64(model: str, inputs: Any, size: tuple[int, int]) -> None:
    image = opened(base64.b64decode(answer(model, inputs)["image"]))
    assert (image.format, image.size) == ("JPEG", size)


def test_phoenix_answers_with_a_jpeg() -> None:
    image = opened(answer(PHOENIX, {"prompt": "a cat", "width": 100, "height": 50}))
    assert (image.format, image.size) == ("JPEG", (100, 50))


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (SDXL, {"prompt": "a", "width": 255}, "'/width' must be >= 256"),
        (SDXL, {"prompt": "a", "num_steps": 21}, "'/num_steps' must be <= 20"),
        (SCHNELL, {"prompt": "a" * 2049}, "Length of '/prompt' must be <= 2048"),
        (SCHNELL, {"prompt": "a", "x": 1}, "Additional or unevaluated properties '/x' at '/' not allowed"),
        (DETR, {"images": []}, "oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'object'"),
        (
            FLUX_2,
            {"multipart": {"body": b"prompt=cat", "contentType": "application/x-www-form-urlencoded"}},
            "'/multipart' is not multipart/form-data with a boundary",
        ),
        (
            FLUX_2,
            {"multipart": {"body": FORM.replace(b'"prompt"', b'"text"'), "contentType": FORM_TYPE}},
            "required properties at '/multipart' are 'prompt'",
        ),
        (
            FLUX_2,
            {"multipart": {"body": FORM.replace(b"512", b"9999999999"), "contentType": FORM_TYPE}},
            "'/multipart/width' must be >= 1 and <= 2500",
        ),
    ],
)
def test_what_does_not_fit_is_refused(model: str, inputs: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as refusal:
        answer(model, inputs)
    assert refusal.value.description == f"Error: {sentence}"


def test_an_image_to_start_from_may_be_numbers_or_base64() -> None:
    for start in ({"image": [*PICTURE]}, {"image_b64": base64.b64encode(PICTURE).decode()}, {"image": PICTURE}):
        assert answer(SDXL, {"prompt": "a cat", "width": 256, "height": 256, **start}).startswith(b"\x89PNG")
    with pytest.raises(InvalidData):
        answer(SDXL, {"prompt": "a cat", "image_b64": "no base64!"})


COLOURS: st.SearchStrategy[Colour] = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))


@settings(max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70), st.lists(COLOURS, min_size=1, max_size=9))
def test_pictures_open_and_show_their_colours(width: int, height: int, stripes: list[Colour]) -> None:
    for make, nearly in ((png, 0), (jpeg, 3)):
        data = make(width, height, stripes)
        image = opened(data)
        assert (image.size, image.mode, size_of(data)) == ((width, height), "RGB", (width, height))
        shown: Any = image.getpixel((width - 1, 0))
        assert all(abs(one - other) <= nearly for one, other in zip(shown, stripes[0], strict=True))


@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange_to_measure(data: bytes) -> None:
    for head in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF"):
        size = size_of(head + data)
        assert size is None or min(size) > 0


@given(st.binary(max_size=60))
def test_a_form_is_read_or_refused(data: bytes) -> None:
    form = form_of(b"--cut\r\n" + data + b"\r\n--cut--", FORM_TYPE, "/multipart")
    assert all(isinstance(value, bytes) for value in form.values())


def test_numbers_are_bytes_however_javascript_writes_them() -> None:
    assert data_of([0.0, 255.0], "/image") == data_of({"0": 0, "1": 255}, "/image") == b"\x00\xff"
    for number, told in ((-1, ">= 0"), (256, "<= 255")):
        with pytest.raises(BadInput, match=f"'/image/1' must be {told}"):
            data_of([0, number], "/image")
