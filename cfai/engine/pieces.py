"""A recorded forward pass in pieces that torch compiles, where that was asked for.

Between one attention and the next a recording is a run of torch calls, the same in every layer but for the weights. A
`Piece` is such a run as one function of its inputs and weights; equal runs are one piece, so a model of any depth has a
handful. `torch.compile` makes fewer kernels of a piece: a norm, an activation or a rotation is one in place of several,
and on a GPU one token's products read weights as fast as memory gives them.

Compiling takes seconds and needs a compiler (Triton on a GPU, a C++ one on a CPU). So a thread of its own does it, for
one token and for many, while steps run as they are; what would need another compilation later runs as it is too, and no
request waits for one. What was compiled is kept on disk, in `compiled` below cfai's own folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from cfai.engine.lora import adapted
from cfai.engine.matrices import multiply
from cfai.engine.recording import Call, Recording, Size, Value, attention, leaves, line_of, mapped
from cfai.weights.home import home

__all__ = ["Compiling", "Piece", "nobody_compiles", "put_pieces"]

log = logging.getLogger("cfai.engine")

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""torch's own variable for where compiled code is kept; whoever sets it has it that way."""

TORCHS_OWN = "torchinductor_"
"""How the name of the temporary folder begins that torch writes there where nobody has."""

ON_A_GPU: dict[str, Any] = {"coordinate_descent_tuning": True}
"""torch then writes its own kernels for products of one token, and tries several sizes of them."""


class Piece:
    """A run of calls as one function of tensors, on a device of type `device`."""

    def __init__(self, run: Callable[..., Any], device: str) -> None:
        self._run = run
        self._device = device

    def __call__(self, *args: Any) -> Any:
        return self._run(*args)

    def compile(self, check: Callable[[], bool]) -> bool:
        """Compile it, and tell whether that worked; if not, it runs as it did.

        check  runs the forward pass that this piece is part of, with one token and with several, and tells whether the
               results are right
        """
        before = self._run
        try:
            _keep_on_disk()
            self._run = torch.compile(before, fullgraph=True, options=ON_A_GPU if self._device == "cuda" else None)
            problem = "" if check() else "it computes something else then"
        except torch.AcceleratorError:
            raise
        except Exception as error:
            lines = str(error).split("\n")  # the second has what went wrong, where the first says who failed
            problem = " ".join(filter(None, map(str.strip, lines[:2]))) or type(error).__name__
        if problem:
            log.warning("a part of the model runs without torch.compile: %s", problem)
            self._run = before
            return False

        # As `torch.compiler.set_stance("eager_on_recompile")` has it, which is for all threads of the process, the one
        # that compiles the next model included; this is for the thread that calls.
        self._run = torch._dynamo.run(before)
        return True


class Compilable(Protocol):
    def compile(self, is_stopped: Callable[[], bool]) -> None: ...


class Compiling:
    """A thread that has a model's forward pass on `device` compiled, beside the one that runs its steps."""

    def __init__(self, forward: Compilable, device: torch.device) -> None:
        self._failure: Exception | None = None
        self._stopped = threading.Event()
        # Compiled code is for as many threads as there were; who runs it has as many as who makes this object.
        threads = torch.get_num_threads()
        # Not a daemon: Python ends those by force, and the process with them where one is inside torch.
        self._thread = threading.Thread(target=self._run, args=(forward, device, threads), name="cfai-compile")
        self._thread.start()

    def is_over(self, patience: float) -> bool:
        """Whether it is, after `patience` seconds at the most. Raises what a device that failed has raised."""
        self._thread.join(patience)
        if self._failure is not None:
            raise self._failure
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Leave the pieces that have not begun, and wait for the one that has."""
        self._stopped.set()
        self._thread.join()

    def _is_stopped(self) -> bool:
        # Python waits for this thread before it calls what is registered with `atexit`, as an engine's `close`.
        return self._stopped.is_set() or not threading.main_thread().is_alive()

    def _run(self, forward: Compilable, device: torch.device, threads: int) -> None:
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            torch.set_num_threads(threads)
            with _alone(self._is_stopped) as is_allowed, torch.inference_mode():
                if is_allowed:
                    forward.compile(self._is_stopped)
        except torch.AcceleratorError as error:
            self._failure = error
        except Exception as error:
            log.warning("the model runs without torch.compile: %s", error)


_one_at_a_time = threading.Lock()
"""torch compiles one thing at a time in a process, and while it does it waits for the whole device now and then, which
breaks off whatever graph is being made there."""

SWITCH_SECONDS = 0.0005
"""How long Python lets the compiler's thread run before a step's gets its turn, which it wants after every kernel."""


@contextlib.contextmanager
def nobody_compiles(patience: float) -> Iterator[bool]:
    """Keeps compilers waiting until the block is left; false if one is still at it after `patience` seconds."""
    if not _one_at_a_time.acquire(timeout=patience):
        yield False
        return
    try:
        yield True
    finally:
        _one_at_a_time.release()


@contextlib.contextmanager
def _alone(is_stopped: Callable[[], bool]) -> Iterator[bool]:
    """Nobody else compiles, and other threads wait for the interpreter a tenth as long; false if stopped before."""
    while not _one_at_a_time.acquire(timeout=0.1):
        if is_stopped():
            yield False
            return
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield True
    finally:
        sys.setswitchinterval(before)
        _one_at_a_time.release()


def _keep_on_disk() -> None:
    folder = Path(os.environ.get(FOLDER, TORCHS_OWN))
    if folder.name.startswith(TORCHS_OWN) and folder.parent in (Path(), Path(tempfile.gettempdir())):
        os.environ[FOLDER] = str(home() / "compiled")


def put_pieces(recording: Recording, device: str) -> list[Piece]:
    """Put a piece in the place of every run of calls between those that torch cannot compile; returns the pieces.

    device  the type of the device that the model is on

        recording = record(model)
        for piece in put_pieces(recording, "cuda"):
            piece.compile(check)
    """
    last = {value: at for at, call in enumerate(recording.calls) for value in call.used}
    last[recording.logits] = len(recording.calls)
    pieces: dict[Any, Piece] = {}
    calls: list[Call] = []
    end = 0
    for run in _runs(recording.calls):
        end += len(run)
        if len(run) > 1:
            made = [value for call in run for value in call.made]
            calls.append(_piece_of(run, [value for value in made if last.get(value, 0) >= end], pieces, device))
        else:
            calls += run
    recording.replace(calls)
    return [*pieces.values()]


def _runs(calls: list[Call]) -> Iterator[list[Call]]:
    """The calls in their order; each that torch cannot compile alone."""
    run: list[Call] = []
    for call in calls:
        if _is_plain(call):
            run.append(call)
            continue
        yield from ([run] if run else [])
        yield [call]
        run = []
    yield from ([run] if run else [])


def _is_plain(call: Call) -> bool:
    """Whether it is a call of a function that torch can look into, made for what it returns."""
    is_ours = call.function in (attention, multiply, adapted) or not hasattr(call.function, "__name__")
    is_own = is_ours or getattr(call.function, "namespace", "") == "mkldnn"  # which torch takes packed weights for
    return not is_own and call.results is not None and all(map(_is_open, leaves((call.args, call.kwargs))))


def _is_open(leaf: Any) -> bool:
    """Whether torch can look into it; not into modules, nor into weights in an order of the processor's."""
    return not isinstance(leaf, torch.nn.Module) and (
        not isinstance(leaf, torch.Tensor) or leaf.layout == torch.strided
    )


def _piece_of(run: list[Call], results: list[Value], pieces: dict[Any, Piece], device: str) -> Call:
    """One call for a run of them, of a piece among `pieces` or of a new one there."""
    made = {value for call in run for value in call.made}
    inputs = [*dict.fromkeys(value for call in run for value in call.used if value not in made)]
    renamed = {value: Value(number) for number, value in enumerate((*inputs, *dict.fromkeys(_in_order(run))))}
    weights: dict[int, torch.Tensor] = {}
    others: dict[int, Any] = {}

    def named(thing: Any) -> str:
        known, letter = (weights, "w") if isinstance(thing, torch.Tensor) else (others, "c")
        known.setdefault(id(thing), thing)
        return f"{letter}{[*known].index(id(thing))}"

    lines = [f"    {line_of(_with(renamed, call), named)}" for call in run]
    is_sized = any(isinstance(leaf, Size) for call in run for leaf in leaves((call.args, call.kwargs)))
    parameters = [*(repr(renamed[value]) for value in inputs), *(f"w{number}" for number in range(len(weights)))]
    source = "\n".join(
        [
            f"def piece({', '.join([*parameters, *(['n'] if is_sized else [])])}):",
            *lines,
            f"    return ({''.join(f'{renamed[value]!r}, ' for value in results)})",
        ]
    )
    kinds = tuple(
        (type(weight), weight.shape, weight.stride(), weight.dtype, weight.device) for weight in weights.values()
    )
    key = source, kinds, tuple(_identity(other) for other in others.values())
    if key not in pieces:
        names = {f"c{number}": other for number, other in enumerate(others.values())}
        # torch tells functions apart by file, line and name, and takes for variable what differs between two of a kind.
        digest = hashlib.sha256(repr((source, kinds)).encode()).hexdigest()
        exec(compile(source, f"<piece {digest}>", "exec"), names)
        pieces[key] = Piece(names.pop("piece"), device)
    arguments = (*inputs, *weights.values(), *([Size(1, 0)] if is_sized else []))
    return Call(pieces[key], arguments, {}, tuple(results))


def _in_order(run: list[Call]) -> Iterator[Value]:
    return (value for call in run for value in call.made)


def _with(renamed: dict[Value, Value], call: Call) -> Call:
    args, kwargs = mapped(lambda leaf: renamed[leaf] if isinstance(leaf, Value) else leaf, (call.args, call.kwargs))
    results = call.results
    if isinstance(results, tuple):
        return Call(call.function, args, kwargs, tuple(None if value is None else renamed[value] for value in results))
    return Call(call.function, args, kwargs, None if results is None else renamed[results])


def _identity(thing: Any) -> Any:
    """What tells a constant from another: itself where it is simple, else which object it is."""
    if isinstance(thing, int | float | str | torch.dtype | torch.device):
        return type(thing), repr(thing)
    if isinstance(thing, tuple | list | slice) and not any(isinstance(leaf, torch.Tensor) for leaf in leaves(thing)):
        return type(thing), repr(thing)
    return thing if callable(thing) else id(thing)
