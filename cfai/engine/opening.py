"""A checkpoint folder into a model that is ready to step: weights, KV cache, and who plans and runs the steps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from cfai.engine.attention import Unbatchable
from cfai.engine.checkpoint import Checkpoint, Progress, load_checkpoint
from cfai.engine.devices import device_of
from cfai.engine.footprint import LONGEST_CONTEXT, Footprint
from cfai.engine.lora import AdapterBank
from cfai.engine.matrices import join
from cfai.engine.memory import free_memory, give_back, is_out_of_memory, let_go, trim
from cfai.engine.packed import pack, packing_pays
from cfai.engine.regions import Regions
from cfai.engine.runner import Runner, form_of
from cfai.engine.scheduler import Scheduler
from cfai.engine.settings import PACKED_SHARE, EngineSettings, step_tokens_on
from cfai.engine.solo import Soloist
from cfai.errors import AiError, EngineFailure, NotEnoughMemory
from cfai.quantities import shown_size

__all__ = ["Opened", "open_model"]

log = logging.getLogger("cfai.engine")


@dataclass(frozen=True, slots=True)
class Opened:
    """A model in memory, and what it runs on: a runner, or a soloist where it cannot be batched."""

    checkpoint: Checkpoint
    scheduler: Scheduler
    adapters: AdapterBank
    runner: Runner | None
    soloist: Soloist | None = None
    why_alone: str = ""


def open_model(
    folder: Path, settings: EngineSettings, footprint: Footprint | None, *, name: str, progress: Progress
) -> Opened:
    """Load the model in `folder`; called by the thread that will run it.

    opened = open_model(folder, EngineSettings(), None, name="llama", progress=lambda done, total: None)

    Raises the `AiError` that says why it does not load: `NotEnoughMemory` where that is the reason.
    """
    try:
        return _opened(folder, settings, footprint, name=name, progress=progress)
    except AiError as error:
        cause = error.__cause__  # what torch said to whoever read the files
        let_go(error)
        if cause is None or not is_out_of_memory(cause):
            raise
        problem: AiError = _no_memory(folder, settings, footprint, name=name, error=cause)
    except BaseException as error:
        if is_out_of_memory(error):
            problem = _no_memory(folder, settings, footprint, name=name, error=error)
        else:
            log.exception("loading %s failed", folder)
            problem = EngineFailure(f"{folder} does not load: {error}")
        let_go(error)
    raise problem


def _opened(
    folder: Path, settings: EngineSettings, footprint: Footprint | None, *, name: str, progress: Progress
) -> Opened:
    dtype = settings.dtype or (footprint.dtype if footprint else None)
    loaded = load_checkpoint(folder, device=settings.device, dtype=dtype, progress=progress)
    trim()
    spare = footprint.spare if footprint else 0
    if loaded.device.type == "cpu":
        torch.set_num_threads(settings.threads_for(loaded.model.num_parameters()))
        if footprint is None:
            spare = int((free_memory(loaded.device) or 0) * PACKED_SHARE)
        if packing_pays(loaded.model):
            spare -= pack(loaded.model, spare=spare)
    elif loaded.device.type == "cuda":
        join(loaded.model)
        give_back()
    slots = settings.slots_on(loaded.device)
    context = loaded.max_positions or LONGEST_CONTEXT
    adapters = AdapterBank(loaded.model)
    try:
        with torch.inference_mode():
            form = form_of(loaded)
            token = sum(shape.bytes for shape in form.shapes)
            if footprint is None or settings.cache_tokens is not None:
                capacity = settings.cache_capacity(slots * context, token, loaded.device)
            else:
                capacity = max(1, min(slots * context, footprint.cache // token))
            runner = Runner(
                loaded,
                form,
                slots=slots,
                rows=2 * slots,
                capacity=capacity,
                longest=context,
                adapters=adapters,
                spare=spare,
                compiles=settings.torch_compile,
            )
    except Unbatchable as reason:
        log.warning("%s answers one request at a time: %s", name, reason)
        alone = _scheduler(settings, loaded, slots=1, capacity=context, draft_tokens=0)
        return Opened(loaded, alone, adapters, None, Soloist(loaded, adapters), str(reason))
    scheduler = _scheduler(settings, loaded, slots=slots, capacity=capacity, draft_tokens=settings.draft_tokens)
    return Opened(loaded, scheduler, adapters, runner)


def _scheduler(
    settings: EngineSettings, loaded: Checkpoint, *, slots: int, capacity: int, draft_tokens: int
) -> Scheduler:
    return Scheduler(
        slots=slots,
        queue_limit=settings.queue_limit,
        step_tokens=step_tokens_on(loaded.device),
        regions=Regions(capacity),
        draft_tokens=draft_tokens,
    )


def _no_memory(
    folder: Path, settings: EngineSettings, footprint: Footprint | None, *, name: str, error: BaseException
) -> NotEnoughMemory:
    free = free_memory(device_of(settings.device))
    needs = f", which needs {shown_size(footprint.total)} ({footprint})" if footprint else ""
    there = f"; {shown_size(free)} are free" if free is not None else ""
    log.warning("no memory to load %s: %s", folder, error)
    return NotEnoughMemory(
        f"{settings.device or ''} has no memory left for {name}{needs}{there}".strip(),
        hint="close what else uses the device, or choose a smaller model or dtype, or fewer cache_tokens",
    )
