"""The local runtime: models in this process, each with an engine of its own."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import aclosing
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from cfai import weights
from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.bindings.asked import Asked, CutNotices, Terms
from cfai.bindings.finetunes import Adapters, FinetuneStore
from cfai.bindings.generation import Generation
from cfai.bindings.loaded import KEEP_ALIVE, LoadedModels, Weights
from cfai.bindings.loader import EngineLoader, import_engine
from cfai.catalog import Catalog, Model, parse_as_of
from cfai.config.settings import ModelSettings
from cfai.cost import cost_headers
from cfai.devices import check_device, check_dtype
from cfai.errors import AiError, BadInput, NoSuchModel, OutOfCapacity, WeightsMissing
from cfai.quantities import parse_duration
from cfai.request_id import of_request
from cfai.results import ByteStream
from cfai.tasks.shapes import Fidelity, parse_fidelity

if TYPE_CHECKING:
    from cfai.engine import LocalEngine, RunsAs

__all__ = ["LocalBinding"]

USUAL_SLOTS = 64
"""How many answers may wait for a model to load, beside those of the queue, where `slots` does not say."""


class LocalBinding:
    """Answer with models on this machine.

    ```python
    binding = LocalBinding({"@cf/meta/llama-2-7b-chat-int8": "./llama-2-7b-chat"})
    ai = Ai(binding)
    ```

    models       model ids to checkpoint folders, hub repositories (`"org/name"`) or `ModelSettings`; ids may be new
    demo         let the demo model answer for models whose weights are missing; default: the variable CFAI_DEMO
    as_of        the day, `"2023-11-14"`, whose limits and wire form apply; default today's. A call's own wins
    device       "cuda", "mps" or "cpu"; default the best that is there. Several, "cuda:0,cuda:1", run a model on each:
                 a call goes where the fewest are, calls with the same `x-session-affinity` header to the same one
    dtype        "float32", "bfloat16", "float16", or "int8" for weights of eight bits; default what the id says where
                 the device can do it (`@cf/meta/llama-2-7b-chat-int8`, see docs/precision.md), else float32 on the CPU
                 and the checkpoint's own on a GPU
    threads      CPU threads of one model; default one per physical core, fewer for a very small model
    slots        answers that one model makes at once; default 16, on CUDA 64
    queue_limit  answers that may wait for a slot; one more is refused with 3040/429. Default 32
    cache_tokens  tokens of prompts and answers that one model's KV cache holds; default what all its slots can use, if
                 there is memory for it
    draft_tokens  tokens guessed from the text before and computed with the next one while few answers are made; what is
                 answered stays the same. Default 0
    torch_compile  have torch.compile make models faster on a GPU, beside their answers: seconds to minutes once, kept
                 on disk. Default False; on a CPU it makes them slower
    fidelity     "clean", or "production" for the oddities of Cloudflare's own answers (padding, numbers as `response`,
                 events without it), to find at home what a client stumbles over. A call's own wins
    strict_retired  refuse what Cloudflare no longer serves, or does not yet on the day of `as_of`, with its own error,
                 5028 or 5007; default: the model answers, with a note. A call's own, `strictRetired`, wins
    offline      open no connection to fetch weights; default: CFAI_OFFLINE, or the hub's own variables
    memory       bytes that all models in memory may take together, on each device; default what is free less a margin.
                 Those that were not used for longest leave for others, never one that loads or answers
    model_keep_alive  seconds from a model's last answer until it leaves memory; 0 at once, -1 never. Default 300. A
                 call's own, `keepAlive`, wins
    pinned       ids of models that stay in memory; `warm_up` loads them, else their first call does
    keep_alive   seconds after which a stream that has no piece yet (a model loads, a long prompt is read) sends its
                 head and a comment line, again and again; an error is then an event. Default 15
    finetunes    where LoRA adapters were uploaded to; default cfai's own folder
    on_progress  called with the model's id, tensors loaded and tensors in all while a model loads, from its thread
    on_notice    called with a line that the user should see; default: stderr
    on_lost      called from a model's thread with what happened when a device has failed for good; nothing will run on
                 it again in this process

    A model loads when it is first asked for. Usable from any number of tasks and event loops.
    """

    def __init__(
        self,
        models: Mapping[str, str | Path | weights.Source | ModelSettings] | None = None,
        *,
        demo: bool | None = None,
        as_of: str | date | None = None,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        slots: int | None = None,
        queue_limit: int = 32,
        cache_tokens: int | None = None,
        draft_tokens: int = 0,
        torch_compile: bool = False,
        fidelity: Fidelity = "clean",
        strict_retired: bool = False,
        offline: bool | None = None,
        memory: int | None = None,
        model_keep_alive: float = KEEP_ALIVE,
        pinned: Collection[str] = (),
        keep_alive: float = 15.0,
        finetunes: FinetuneStore | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        given = {name: _as_settings(place) for name, place in (models or {}).items()}
        if elsewhere := next((name for name, model in given.items() if model.upstream is not None), None):
            raise ValueError(f"{elsewhere} has an upstream, which `configured_binding` asks, and this binding does not")
        builtin = weights.with_imported(Catalog.builtin())
        self.catalog = builtin.with_rows({name: model.catalog_row for name, model in given.items()})
        self._models = {self.catalog.get(name).id: model for name, model in given.items()}
        adapters = {model_id: model.adapters for model_id, model in self._models.items()}
        self._adapters = Adapters(finetunes or FinetuneStore(), adapters)
        self._offline = offline
        self._demo_folder = weights.find(builtin.get(weights.DEMO_MODEL))
        self._demo = os.environ.get("CFAI_DEMO", "") not in ("", "0") if demo is None else demo
        self._terms = Terms(
            parse_as_of(as_of) if isinstance(as_of, str) else as_of, parse_fidelity(fidelity), strict_retired
        )
        for setting, least, value in (
            ("threads", 1, threads),
            ("slots", 1, slots),
            ("queue_limit", 0, queue_limit),
            ("cache_tokens", 1, cache_tokens),
            ("draft_tokens", 0, draft_tokens),
            ("memory", 1, memory),
        ):
            if value is not None and value < least:
                raise ValueError(f"{setting} must be at least {least}, it is {value}")
        if device is not None:
            check_device(device)
        if dtype is not None:
            check_dtype(dtype)
        self._devices: list[str | None] = [*device.split(",")] if device is not None else [None]
        self._dtype = dtype
        settings = {
            "threads": threads,
            "slots": slots,
            "queue_limit": queue_limit,
            "cache_tokens": cache_tokens,
            "draft_tokens": draft_tokens,
            "torch_compile": torch_compile,
        }
        self._pinned = {self.catalog.get(model).id for model in pinned}
        self._pinned.update(name for name, model in self._models.items() if model.pinned)
        self._keep_alive = keep_alive
        self._on_notice = on_notice or _to_stderr
        self._cut_notices = CutNotices(self._on_notice)
        self._folders: dict[str, Path] = {}
        self._precisions: dict[str, RunsAs] = {}
        self._loaded: LoadedModels[LocalEngine] = LoadedModels(
            EngineLoader(settings, is_several=len(self._devices) > 1, on_progress=on_progress, on_lost=on_lost),
            devices=self._devices,
            memory=memory,
            keep_alive=parse_duration(model_keep_alive),
            waiting_limit=(slots or USUAL_SLOTS) + queue_limit,
        )
        self._noticed: set[tuple[str, str]] = set()

    async def send(self, call: Call) -> Reply:
        headers = {"cf-ai-req-id": of_request()}
        try:
            answer = await self._prepare(call)
            if answer.request.stream:
                try:
                    with anyio.move_on_after(self._keep_alive):
                        await answer.begin()
                except BaseException:  # refused, failed or cancelled: nobody will read it
                    await answer.aclose()
                    raise
                return Reply(ByteStream(answer), headers={**headers, "content-type": EVENT_STREAM}, cost=answer.cost)
            async with aclosing(answer):
                body, usage = await answer.whole()
            headers = {**headers, **cost_headers(usage.neurons), "content-type": JSON}
            return Reply(body, headers=headers, cost=lambda: usage.cost)
        except AiError as error:
            if isinstance(error, OutOfCapacity):
                headers["retry-after"] = "1"
            return Reply.from_error(error, headers)

    async def _prepare(self, call: Call) -> Generation:
        terms = self._terms.of(call.options)
        notes: list[tuple[str, str]] = []
        model = terms.model(call.model, self.catalog, on_notice=lambda *note: notes.append(note))
        if not model.generates_text:
            raise NoSuchModel(call.model, hint=f"its task, {model.task}, does not run here")
        asked = Asked.of(call, model, terms)
        adapter = None
        if (lora := asked.request.lora) is not None:
            adapter = await to_thread.run_sync(self._adapters.find, model, lora, abandon_on_cancel=True)
        rejects = bool(call.options.get("rejectIfBusy"))
        found = await self._weights_of(model)
        for note in notes:  # that it still answers here is true only now
            self._note_once(("retired", note[0]), note[1])
        lease = self._loaded.use(
            found,
            session=call.headers.get("x-session-affinity"),
            keep_alive=_keep_alive_of(call, self._settings_of(model)),
            pinned=model.id in self._pinned,
            reject_if_busy=rejects,
        )
        return Generation(
            lease,
            asked,
            adapter=adapter,
            keep_alive=self._keep_alive,
            reject_if_busy=rejects,
            cut_notices=self._cut_notices,
        )

    async def _weights_of(self, model: Model) -> Weights:
        folder = self._folders.get(model.id) or await self._find(model)
        is_demo = folder == self._demo_folder
        runs_as = self._precisions.get(model.id) or await self._precision_of(model, is_demo)
        name = weights.DEMO_MODEL if is_demo else model.id
        return Weights(folder, runs_as.dtype, name=name, model_id=model.id, note=runs_as.note)

    async def _precision_of(self, model: Model, is_demo: bool) -> RunsAs:
        room = await self._room()
        named = None if is_demo else model.precision  # in the place of another model, the demo model is what it is
        dtype = self._settings_of(model).dtype or self._dtype
        runs_as: RunsAs = room.precision_for(named, self._devices[0], asked=dtype)
        self._precisions[model.id] = runs_as
        return runs_as

    async def warm_up(self) -> None:
        """Do before the first answer is asked for what takes seconds: import torch, and load the pinned models."""
        await self._room()
        await self.load_pinned()

    async def load_pinned(self) -> None:
        """Load the pinned models, one after the other. Why one does not load is a notice: others may still answer."""
        for model_id in sorted(self._pinned):
            try:
                async with self._loaded.use(await self._weights_of(self.catalog.get(model_id)), pinned=True):
                    pass
            except AiError as error:
                self._on_notice(f"cfai: the pinned model {model_id} is not loaded: {error.description}")

    async def _room(self) -> Any:
        return await to_thread.run_sync(import_engine, abandon_on_cancel=True)

    async def _find(self, model: Model) -> Path:
        source = self._source_of(model)
        try:
            find = partial(weights.find, model, source, offline=self._offline)
            folder = await to_thread.run_sync(find, abandon_on_cancel=True)
        except WeightsMissing:
            if not self._demo or source is not None:
                raise
        else:
            self._folders[model.id] = folder
            return folder
        demo = self.catalog.get(weights.DEMO_MODEL)
        line = f"cfai: the demo model {demo.id} answers in place of {model.id}, whose weights are not here"
        self._note_once(("demo", model.id), line)
        return self._demo_folder

    def _settings_of(self, model: Model) -> ModelSettings:
        return self._models.get(model.id, _NOTHING_SAID)

    def _source_of(self, model: Model) -> weights.Source | None:
        return self._settings_of(model).source

    def _note_once(self, about: tuple[str, str], line: str) -> None:
        if about not in self._noticed:
            self._noticed.add(about)
            self._on_notice(line)

    async def models_here(self) -> list[str]:
        """The ids of the models whose weights are on this machine, or were named, those that generate text."""
        return await to_thread.run_sync(self._models_here)

    def _models_here(self) -> list[str]:
        here = []
        for model in self.catalog.models():
            if model.generates_text and (self._source_of(model) is not None or weights.are_here(model)):
                here.append(model.id)
        return here

    def stats(self) -> dict[str, Any]:
        """Running and waiting answers, tokens made so far, and the same for every loaded model.

        Ids that share their weights and dtype share an engine; it goes by the id that was asked for first.
        """
        models: dict[str, Any] = {}
        for life in self._loaded.lives():
            for stats in life.stats():
                # A device may be there twice, and one set of weights in two dtypes.
                name = next(name for name in _numbered(stats.pop("name")) if name not in models)
                models[name] = stats
        total = {key: sum(int(model[key]) for model in models.values()) for key in ("running", "waiting", "tokens")}
        return {**total, "models": models}

    async def aclose(self) -> None:
        """End the running answers with 3008 and give the models' memory back."""
        await self._loaded.aclose()


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(2):
        yield f"{name} ({number})"


def _keep_alive_of(call: Call, model: ModelSettings) -> float | None:
    if (given := call.options.get("keepAlive")) is None:
        return model.keep_alive
    try:
        return parse_duration(given)
    except ValueError as error:
        raise BadInput(f"keepAlive: {error}") from error


_NOTHING_SAID = ModelSettings()


def _as_settings(place: str | Path | weights.Source | ModelSettings) -> ModelSettings:
    if isinstance(place, ModelSettings):
        return place
    source = place if isinstance(place, weights.Source) else weights.Source(str(place))
    return ModelSettings(weights=source.place, revision=source.revision)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
