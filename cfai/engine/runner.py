"""Steps through the model: the only code that touches the device while sequences run.

`run` takes a plan without tensors, sets the model and the sampler going, and returns what will hold the drawn tokens.
On a GPU it returns before the device is done, so the engine reads the tokens one step later.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Any

import torch

from cfai.engine.attention import (
    NAME,
    Batch,
    FlashSpans,
    KVCache,
    LayerShape,
    Recorder,
    Span,
    Unbatchable,
    register,
    runs_of,
)
from cfai.engine.checkpoint import Checkpoint
from cfai.engine.fusing import Forward, fuse
from cfai.engine.gathered import forward_gathered, gathered_shapes
from cfai.engine.graphs import CudaCapture, DecodeGraphs, DecodeInputs
from cfai.engine.lora import AdapterBank
from cfai.engine.memory import trim
from cfai.engine.pieces import Compiling, nobody_compiles
from cfai.engine.sampling import Draws, Features, Sampler
from cfai.engine.scheduler import Step, Work
from cfai.engine.sequence import Sequence, Token

__all__ = ["Form", "Pending", "Runner", "form_of", "vocabulary_of"]

log = logging.getLogger("cfai.engine")

LONG_STEP = 0.08
"""Seconds. A model whose smallest step takes longer on a CPU has little to gain from fusing, and who asks meanwhile
would wait: it runs some nine of them and copies weights. On a GPU these seconds are the host's, which fusing saves."""


class Pending:
    """The tokens of a step that may still be under way."""

    def __init__(self, works: Tokens[Work], draws: Draws | None) -> None:
        self.works = works
        self._parts: list[torch.Tensor] = []
        self._done: Any = None
        if draws is not None:
            self._parts = [part for part in draws.parts if part is not None]
        if self._parts and (device := self._parts[0].device).type == "cuda":
            # To pinned memory behind the step's own work; `tokens` waits for this copy, not for later steps.
            self._parts = [_to_host(part) for part in self._parts]
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch does not type it
            self._done.record(torch.cuda.current_stream(device))

    def tokens(self) -> list[list[Token]]:
        """For each work the tokens that it drew. Waits for the step."""
        if self._done is not None:
            self._done.synchronize()
        drawn = [Token(*values) for values in zip(*(part.tolist() for part in self._parts), strict=True)]
        tokens: list[list[Token]] = []
        at = 0
        for work in self.works:
            tokens.append(drawn[at : at + work.draws])
            at += work.draws
        return tokens


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    return host


class Runner:
    """A model with its KV cache and sampler.

    form      how the model takes several sequences at once
    slots     sequences in one step
    rows      sequences that may be begun at once
    capacity  tokens that the cache holds
    longest   tokens of the longest sequence
    adapters  where those of the sequences are when a step begins
    spare     bytes that copies of weights may take on a CPU
    compiles  have torch.compile make the model faster, piece by piece, when `warm_up` is called
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        form: Form,
        *,
        slots: int,
        rows: int,
        capacity: int,
        longest: int,
        adapters: AdapterBank,
        spare: int,
        compiles: bool = False,
    ) -> None:
        self._spare = spare
        self._compiles = compiles
        self._model = checkpoint.model
        self._adapters = adapters
        self._device = checkpoint.device
        if self._device.type == "cuda":
            # For this thread, which is the model's own: streams, events and graphs are those of the current device.
            torch.cuda.set_device(self._device)
        self._form = form
        self._fused: Forward | None = None
        self._is_fresh = True
        self._compiling: Compiling | None = None
        self.is_async = self._device.type == "cuda"
        """`run` returns before the device is done."""
        self.cache = KVCache(form.shapes, capacity)
        self.sampler = Sampler(rows, vocabulary_of(checkpoint), self._device)
        self._has_flash = not form.is_gathered and FlashSpans.fits(form.shapes)
        self._last = torch.zeros(rows + 1, dtype=torch.long, device=self._device)
        """Each row's last token, for steps that are planned before it is read back."""
        self._rows: dict[int, Sequence] = {}
        self._drafted: set[int] = set()
        """Rows whose last token was chosen among several by the host."""
        self._longest = min(longest, capacity)
        self._graphs: DecodeGraphs | None = None
        if self._has_flash:
            idle = (rows, 0, capacity, capacity, 1)
            self._graphs = DecodeGraphs(
                self._decode, most=slots, idle=idle, device=self._device, capture=CudaCapture(self._device)
            )

    @property
    def copies(self) -> int:
        """Bytes that copies of weights take, or may until that is decided."""
        return self._spare if self._is_fresh else self._fused.copies if self._fused else 0

    @property
    def compiled(self) -> str | None:
        """How many pieces of the model torch.compile has had a try at, "2 of 3"; None until that is known."""
        if not self._compiles or self._is_fresh:
            return None
        return f"{self._fused.compiled} of {self._fused.pieces}" if self._fused else "0 of 0"

    def close(self) -> None:
        """Let go of the model; waits for a piece of it that is being compiled."""
        if self._compiling is not None:
            self._compiling.stop()

    def warm_up(self, *, patience: float = 0.0) -> tuple[int, int] | None:
        """Do a part of what makes later steps faster. How much is done now, and of how much; None if it was all.

        patience  seconds to wait for a part that another thread does
        """
        if self._is_fresh:
            try:
                self._fused = None if self._form.is_gathered else self._fuse()
            finally:
                self._is_fresh = False
            trim()
            if self._fused is not None and self._fused.pieces:
                self._compiling = Compiling(self._fused, self._device)
            elif self._compiles:
                log.warning("the model runs without torch.compile: its steps cannot be recorded")
        elif self._compiling is not None and not self._compiling.is_over(patience):
            pass  # graphs are made of what comes of it
        elif self._graphs is None:
            return None
        else:
            with nobody_compiles(patience) as may_make:
                if may_make and not self._graphs.make_next():
                    return None
        done, in_all = (1 + self._fused.compiled, 1 + self._fused.pieces) if self._fused else (1, 1)
        return (done + self._graphs.done, in_all + self._graphs.in_all) if self._graphs else (done, in_all)

    def _fuse(self) -> Forward | None:
        one = torch.zeros(1, dtype=torch.long, device=self._device)
        started = time.monotonic()
        try:
            _forward(self._model, one, one, one, Recorder())
        except Exception:  # the next request will meet it again, and tell its reader
            return None
        is_long = self._device.type != "cuda" and time.monotonic() - started > LONG_STEP
        if is_long and not self._compiles:
            return None
        fused = fuse(self._model, memory=self._spare, bank=self._adapters, compiles=self._compiles)
        few = torch.zeros(4, dtype=torch.long, device=self._device)
        fused(few[None], few[None], few[:1], batch=Recorder())  # so that no prompt waits for second forms of weights
        return fused

    def run(self, step: Step) -> Pending:
        """Set the step going."""
        for copy in step.copies:
            self.cache.copy(copy)
        self._begin(step.works)
        adapted = any(work.sequence.adapter is not None for work in step.works)
        graphs = None if adapted else self._graphs  # which know of no adapters
        if graphs is not None and step.is_decode and (draws := self._replay(graphs, step.works)):
            return Pending(step.works, draws)
        tokens = [(work.sequence.adapter, work.count) for work in step.works]
        with self._adapters.step(tokens) if adapted else contextlib.nullcontext():
            logits = self._forward(step.works)
        drawing = [work for work in step.works if work.draws]
        if not drawing:
            return Pending(step.works, None)
        rows = self._tensor([work.sequence.row for work in drawing for _ in range(work.draws)])
        features = Features.of([work.sequence.sampling for work in drawing])
        draws = self.sampler.draw(logits, rows, self._uniforms(drawing) if features.draws else None, features)
        if self.is_async:
            self._last.index_copy_(0, rows, draws.tokens.clamp(min=0))
        return Pending(step.works, draws)

    def _begin(self, works: Tokens[Work]) -> None:
        for work in works:
            sequence = work.sequence
            if self._rows.get(sequence.row) is not sequence:
                self._rows[sequence.row] = sequence
                prompt, answer = sequence.ids[: sequence.prompt_tokens], sequence.ids[sequence.prompt_tokens :]
                self.sampler.begin(sequence.row, sequence.sampling, prompt, answer)
                self._last[sequence.row] = sequence.ids[-1]
            elif sequence.row in self._drafted or sequence.sampling.constraint is not None:
                self._last[sequence.row] = sequence.ids[-1]
            self._drafted.discard(sequence.row)
            if work.draft:
                self._drafted.add(sequence.row)
            if work.draws and sequence.sampling.constraint is not None:
                self.sampler.allow(sequence.row, sequence.sampling.constraint.allowed())

    def _forward(self, works: Tokens[Work]) -> torch.Tensor:
        """Scores for every token that is to be drawn, `[draws, vocabulary]`."""
        ids: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        drawn_at: list[int] = []
        spans: list[Span] = []
        from_device: list[tuple[int, int]] = []
        for work in works:
            sequence, begin, end = work.sequence, len(ids), work.start + work.count
            assert sequence.region is not None
            known = sequence.ids[work.start : end - len(work.draft)]
            ids += known
            ids += work.draft
            if len(ids) < begin + work.count:  # its last token is drawn, and not read back yet
                from_device.append((len(ids), sequence.row))
                ids.append(0)
            positions += range(work.start, end)
            place = sequence.region.start
            places += range(place + work.start, place + end)
            spans.append(Span(begin, work.count, place, end))
            drawn_at += range(len(ids) - work.draws, len(ids))
        packed = self._tensor([ids, positions, places])
        tokens = packed[0]
        if from_device:
            at, rows = self._tensor(list(zip(*from_device, strict=True)))
            tokens = tokens.index_copy(0, at, self._last[rows])
        runs = runs_of(spans, self.cache.capacity)
        batch = Batch(self.cache, packed[2], runs, self._flash_spans(spans) if self._has_flash else None)
        return self._scores(tokens, packed[1], self._tensor(drawn_at), batch)

    def _scores(
        self, tokens: torch.Tensor, positions: torch.Tensor, drawn_at: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        if self._form.is_gathered:
            return forward_gathered(self._model, tokens, positions, drawn_at, batch)
        # Who has put a hook on the model wants it called.
        if self._fused is None or self._model._forward_pre_hooks:
            return _forward(self._model, tokens, positions, drawn_at, batch)
        return self._fused(tokens[None], positions[None], drawn_at, batch=batch)[0]

    def _replay(self, graphs: DecodeGraphs, works: Tokens[Work]) -> Draws | None:
        numbers: list[tuple[int, ...]] = []
        uniforms: list[float] = []
        features = Features.of([work.sequence.sampling for work in works])
        for work in works:
            sequence = work.sequence
            assert sequence.region is not None
            place = sequence.region.start
            numbers.append((sequence.row, work.start, place + work.start, place, work.start + 1))
            uniforms += sequence.uniforms(sequence.drawn - 1, 1) if features.draws else (0.0,)
        return graphs.run(list(zip(*numbers, strict=True)), uniforms, features)

    def _decode(self, inputs: DecodeInputs, features: Features) -> Draws:
        """A step in which every sequence gives its last token and draws one. No host in between."""
        rows, positions, places, starts, lengths = inputs.numbers
        count = torch.arange(len(rows) + 1, device=self._device)
        spans = FlashSpans(count.int(), torch.cat([starts, starts[:1]]).int(), lengths.int(), 1, self._longest)
        batch = Batch(self.cache, places, flash=spans)
        logits = self._scores(self._last[rows], positions, count[:-1], batch)
        draws = self.sampler.draw(logits, rows, inputs.uniforms if features.draws else None, features)
        self._last.index_copy_(0, rows, draws.tokens.clamp(min=0))
        return draws

    def _flash_spans(self, spans: Tokens[Span]) -> FlashSpans:
        begins = [span.begin for span in spans] + [spans[-1].begin + spans[-1].count]
        places = [span.place for span in spans] + [0]
        lengths = [span.length for span in spans]
        packed = self._tensor([begins, places, [*lengths, 0]]).int()
        most = max(span.count for span in spans)
        return FlashSpans(packed[0], packed[1], packed[2, :-1], most, max(lengths))

    def _uniforms(self, works: Tokens[Work]) -> torch.Tensor:
        numbers: list[float] = []
        for work in works:
            # The scheduler has counted the draws of this step already.
            numbers += work.sequence.uniforms(work.sequence.drawn - work.draws, work.draws)
        return self._tensor(numbers, self.sampler.exact)

    def _tensor(self, values: Any, dtype: torch.dtype = torch.long) -> torch.Tensor:
        tensor = torch.tensor(values, dtype=dtype)
        if not self.is_async:
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _forward(
    model: torch.nn.Module,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    drawn_at: torch.Tensor,
    batch: Batch | Recorder,
) -> torch.Tensor:
    """Scores for the tokens at `drawn_at`, `[len(drawn_at), vocabulary]`."""
    out = model(
        input_ids=tokens[None], position_ids=positions[None], use_cache=False, logits_to_keep=drawn_at, batch=batch
    )
    logits: torch.Tensor = out.logits[0]
    return logits


def vocabulary_of(checkpoint: Checkpoint) -> int:
    return checkpoint.vocabulary


@dataclass(frozen=True, slots=True)
class Form:
    """How a model takes several sequences at once.

    shapes       what each layer puts into the cache
    is_gathered  through the cache and the mask that its own attention takes, rather than through `attend`
    """

    shapes: Tokens[LayerShape]
    is_gathered: bool = False


def form_of(checkpoint: Checkpoint) -> Form:
    """Find out, with a few tokens through the model. `Unbatchable` says why it takes one sequence at a time.

    Afterwards the model's attention is `attend`, unless the form is gathered.
    """
    config = checkpoint.model.config.get_text_config()
    _refuse_what_looks_at_the_whole(config)
    if not checkpoint.model.is_backend_compatible():
        return Form(gathered_shapes(checkpoint.model), is_gathered=True)
    return Form(_shapes_of_layers(checkpoint))


def _shapes_of_layers(checkpoint: Checkpoint) -> list[LayerShape]:
    model = checkpoint.model
    before = model.config._attn_implementation
    register()
    model.set_attn_implementation(NAME)
    recorder = Recorder()
    try:
        two = torch.zeros(2, dtype=torch.long, device=checkpoint.device)
        logits = _forward(model, two, torch.arange(2, device=checkpoint.device), two[:1], recorder)
        if logits.shape[0] != 1:
            raise Unbatchable("it computes scores for every token")
        if sorted(recorder.shapes) != list(range(model.config.get_text_config().num_hidden_layers)):
            raise Unbatchable("not all of its layers are attention")
    except Unbatchable:
        model.set_attn_implementation(before)
        raise
    except Exception as error:
        model.set_attn_implementation(before)
        raise Unbatchable(f"its attention does not take another cache: {error}") from error
    return [recorder.shapes[layer] for layer in sorted(recorder.shapes)]


def _refuse_what_looks_at_the_whole(config: Any) -> None:
    """Layers whose tokens depend on more than the tokens before them, position by position."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        raise Unbatchable(f"it has layers of {', '.join(sorted(kinds))}")
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {str(each.get("rope_type")) for each in (rope, *rope.values()) if isinstance(each, dict)}
    if changing := kinds & {"dynamic", "longrope"}:
        raise Unbatchable(f"its positions depend on the longest sequence ({', '.join(changing)})")
