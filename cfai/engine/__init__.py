"""The only room that imports torch: checkpoints into memory, tokens out of models."""

from cfai.engine.checkpoint import Checkpoint, load_checkpoint
from cfai.engine.engine import LocalEngine
from cfai.engine.precision import RunsAs, precision_for
from cfai.engine.sequence import Sampling
from cfai.engine.settings import EngineSettings
from cfai.engine.stream import TextStream
from cfai.engine.streamer import PieceStreamer

__all__ = [
    "Checkpoint",
    "EngineSettings",
    "LocalEngine",
    "PieceStreamer",
    "RunsAs",
    "Sampling",
    "TextStream",
    "load_checkpoint",
    "precision_for",
]
