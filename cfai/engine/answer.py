"""One answer in the making: what becomes of its sequence's tokens on their way to the reader."""

from __future__ import annotations

from dataclasses import replace

from cfai.engine.checkpoint import Checkpoint
from cfai.engine.sequence import Sequence, Token
from cfai.engine.streamer import PieceStreamer
from cfai.metrics import RequestMetrics

__all__ = ["Answer"]


class Answer:
    """Text, log-probabilities and the end of one sequence. It holds no tensor and knows no other sequence.

    metrics  counts what the reader waits for
    """

    def __init__(self, sequence: Sequence, checkpoint: Checkpoint, metrics: RequestMetrics) -> None:
        self.sequence = sequence
        self.metrics = metrics
        self._checkpoint = checkpoint
        self._made_streamer: PieceStreamer | None = None

    def take(self, token: Token) -> bool:
        """Hand over the next token; true if the answer ends with it."""
        sequence, constraint = self.sequence, self.sequence.sampling.constraint
        if constraint is not None:
            if (settled := constraint.settle(token.id)) is None:
                self._streamer.end()
                sequence.stream.finish_reason = "stop"
                return True
            token = replace(token, id=settled)
        sequence.ids.append(token.id)
        if (asked := sequence.sampling.logprobs) is not None:
            sequence.stream.logprobs.append(
                replace(token, likeliest=token.likeliest[:asked], their_logprobs=token.their_logprobs[:asked])
            )
        return self._is_last(token.id)

    def _is_last(self, token: int) -> bool:
        streamer, constraint = self._streamer, self.sequence.sampling.constraint
        is_end = token in self._checkpoint.end_tokens
        if not is_end:
            streamer.put(token)
            if constraint is not None:
                constraint.advance(token)
        is_end = is_end or streamer.is_stopped or (constraint is not None and constraint.is_over)
        is_out = self.sequence.made >= self.sequence.sampling.max_tokens
        if not (is_end or is_out):
            return False
        streamer.end()
        # A constraint that has led the answer to an end in time has not cut it short.
        is_whole = is_end or (constraint is not None and constraint.is_satisfied)
        self.sequence.stream.finish_reason = "stop" if is_whole or streamer.is_stopped else "length"
        return True

    @property
    def _streamer(self) -> PieceStreamer:
        # Made with the first token, in the engine thread: whoever submits has no time for it.
        if self._made_streamer is None:
            stream, sampling = self.sequence.stream, self.sequence.sampling

            def deliver(piece: str) -> None:
                stream.put(piece, streamer.tokens_delivered)

            streamer = PieceStreamer(self._checkpoint.tokenizer, deliver, stop=sampling.stop, shown=sampling.shown)
            self._made_streamer = streamer
        return self._made_streamer
