"""Inputs that are valid for each model that generates no text, and answers to them that fit the schema."""

from __future__ import annotations

from random import Random
from typing import Any

import jsonschema

from cfai.catalog import Catalog, Model
from cfai.tasks import task_for
from cfai.tasks.answers.answer import Answer
from cfai.tasks.pictures import png
from cfai.tasks.sounds import mp3, wav

__all__ = ["FORM", "FORM_TYPE", "PICTURE", "RECORDING", "SPEECH", "answer", "answer_of", "inputs_for"]

PICTURE = png(64, 48, [(200, 10, 10), (10, 10, 200)])
RECORDING = mp3(6)
SPEECH = wav(4, 16_000)
FORM_TYPE = "multipart/form-data; boundary=cut"
FORM = (
    b'--cut\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na cat\r\n'
    b'--cut\r\ncontent-disposition: form-data; name="width"\r\n\r\n512\r\n--cut--\r\n'
)

_OF_TASKS: dict[str, Any] = {
    "Automatic Speech Recognition": {"audio": [*RECORDING]},
    "Image Classification": {"image": [*PICTURE]},
    "Image-to-Text": {"image": [*PICTURE], "prompt": "What is this?"},
    "Object Detection": {"image": [*PICTURE]},
    "Sentence Similarity": {"source": "a cat", "sentences": ["a cat", "a dog"]},
    "Summarization": {"input_text": "New York is a big city. It lies by the sea, and many people live there."},
    "Text Classification": {"text": "I love it"},
    "Text Embeddings": {"text": ["a cat", "a dog"]},
    "Text-to-Image": {"prompt": "a cat"},
    "Text-to-Speech": {"prompt": "New York is big"},
    "Translation": {"text": "New York is big", "target_lang": "fr"},
}
_STREAM = {"body": RECORDING, "contentType": "audio/mpeg"}
_OF_MODELS: dict[str, Any] = {
    "@cf/ai4bharat/indictrans2-en-indic-1B": {"text": "New York is big", "target_language": "tam_Taml"},
    "@cf/baai/bge-reranker-base": {"query": "cats", "contexts": [{"text": "dogs"}, {"text": "cats"}]},
    "@cf/deepgram/aura-1": {"text": "New York is big"},
    "@cf/deepgram/aura-2-en": {"text": "New York is big"},
    "@cf/deepgram/aura-2-es": {"text": "Nueva York es grande"},
    "@cf/deepgram/flux": {"sample_rate": "16000", "encoding": "linear16"},
    "@cf/deepgram/nova-3": {"audio": _STREAM},
    "@cf/moondream/moondream3.1-9B-A2B": {},
    "@cf/openai/whisper-large-v3-turbo": {"audio": _STREAM},
    "@cf/pipecat-ai/smart-turn-v2": {"audio": _STREAM},
}


def inputs_for(model: Model) -> Any:
    """Inputs that `model` takes."""
    if "flux-2" in model.id:
        return {"multipart": {"body": FORM, "contentType": FORM_TYPE}}
    return _OF_MODELS.get(model.id, _OF_TASKS.get(model.task))


def answer_of(model: Model, inputs: Any, seed: int = 0) -> Answer:
    """A plausible answer of `model`, which fits its schema and comes out the same a second time."""
    task = task_for(model)
    checked = task.check(inputs)
    made = task.plausible(checked, Random(seed))
    assert made == task.plausible(task.check(inputs), Random(seed))
    if isinstance(made.body, bytes):
        assert task.output_schema["format"] == "binary"
    else:
        assert made.content_type == "application/json"
        jsonschema.validate(made.body, dict(task.output_schema))
    return made


def answer(model_id: str, inputs: Any, seed: int = 0) -> Any:
    """The body of a plausible answer of the model with that id."""
    return answer_of(Catalog.builtin().get(model_id), inputs, seed).body
