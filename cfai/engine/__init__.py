"""The only room that imports torch: checkpoints into memory, tokens out of models."""

import cfai.engine.openmp  # noqa: F401  # before what imports torch

# isort: split

from cfai.engine.checkpoint import Checkpoint, load_checkpoint
from cfai.engine.devices import device_of
from cfai.engine.engine import LocalEngine
from cfai.engine.footprint import Footprint, footprint
from cfai.engine.memory import memory_for_models
from cfai.engine.precision import RunsAs, precision_for
from cfai.engine.sequence import Sampling
from cfai.engine.settings import EngineSettings
from cfai.engine.stream import TextStream
from cfai.engine.streamer import PieceStreamer

__all__ = [
    "Checkpoint",
    "EngineSettings",
    "Footprint",
    "LocalEngine",
    "PieceStreamer",
    "RunsAs",
    "Sampling",
    "TextStream",
    "device_of",
    "footprint",
    "load_checkpoint",
    "memory_for_models",
    "precision_for",
]
