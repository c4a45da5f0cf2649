"""The only room that imports torch: checkpoints into memory, tokens out of models."""

from cfai.engine.checkpoint import Checkpoint, load_checkpoint
from cfai.engine.engine import EngineSettings, LocalEngine
from cfai.engine.sequence import Sampling
from cfai.engine.stream import TextStream
from cfai.engine.streamer import PieceStreamer

__all__ = ["Checkpoint", "EngineSettings", "LocalEngine", "PieceStreamer", "Sampling", "TextStream", "load_checkpoint"]
