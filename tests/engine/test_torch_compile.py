"""Models in pieces that torch.compile has made: what they compute, and that nobody waits for the compiler."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
import torch
from transformers import GPT2Config, LlamaConfig, PreTrainedConfig, Qwen2Config

from cfai.engine import EngineSettings, LocalEngine, Sampling
from cfai.engine.fusing import fuse
from cfai.engine.int8 import quantise
from cfai.engine.matrices import join
from cfai.engine.packed import pack
from cfai.engine.pieces import Compiling, Piece, nobody_compiles, put_pieces
from cfai.engine.recording import Call, Recording, Value
from tests.architectures import make_checkpoint
from tests.engine.test_fusing import SHAPE, assert_same, build, row
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch's own

HAS_COMPILER = any(map(shutil.which, ("g++", "c++", "clang++")))
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="there is no C++ compiler here")
DEEP = LlamaConfig(**{**SHAPE, "num_hidden_layers": 5})


@pytest.fixture(autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where compiled code is kept."""
    monkeypatch.setenv("CFAI_HOME", str(tmp_path_factory.getbasetemp() / "cfai"))
    temporary = Path(tempfile.gettempdir())
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(temporary / "torchinductor_somebody"))  # as torch writes it
    yield tmp_path_factory.getbasetemp() / "cfai" / "compiled"


def never() -> bool:
    return False


@needs_compiler
@pytest.mark.parametrize(
    ("config", "is_int8"),
    [(DEEP, False), (Qwen2Config(**SHAPE), True), (GPT2Config(vocab_size=160, n_embd=64, n_layer=2, n_head=4), False)],
    ids=["llama", "qwen2 int8", "gpt2"],
)
def test_a_compiled_model_computes_the_same(
    config: PreTrainedConfig, is_int8: bool, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build(config)
    if is_int8:
        quantise(model, torch.device("cpu"), torch.float32)
    else:
        join(model)
    with torch.inference_mode():
        forward = fuse(model, compiles=True)
        expected = {length: forward(**row(length)) for length in (1, 2, 7, 70)}
        assert (forward.compiled, forward.is_fused) == (0, True)
        forward.compile(never)
        assert forward.compiled == forward.pieces
        assert "without torch.compile" not in caplog.text
        for length, wanted in expected.items():
            assert_same(forward(**row(length)), wanted, 1e-3 if is_int8 else 1e-5)
    assert any(kept.iterdir()), "and what was compiled is kept"


@needs_compiler
@pytest.mark.skipif(not torch._C._has_mkldnn, reason="there is no oneDNN here")
def test_weights_that_onednn_multiplies_as_they_lie_are_left_to_it(caplog: pytest.LogCaptureFixture) -> None:
    model = build(GPT2Config(vocab_size=160, n_embd=64, n_layer=2, n_head=4))
    pack(model, spare=0)  # no room for a copy of the embedding
    with torch.inference_mode():
        forward = fuse(model, compiles=True)
        expected = forward(**row(7))
        forward.compile(never)
        assert "without torch.compile" not in caplog.text
        assert_same(forward(**row(7)), expected)


def test_layers_that_are_alike_are_the_same_pieces() -> None:
    pieces = fuse(build(LlamaConfig(**SHAPE)), compiles=True).pieces
    assert pieces == fuse(build(DEEP), compiles=True).pieces == 3, "a beginning, a layer, and an end"
    assert fuse(build(DEEP)).pieces == 0


@needs_compiler
async def test_an_engine_answers_while_it_is_compiled_and_the_same_afterwards(endless_llama: Path) -> None:
    engine = LocalEngine(endless_llama, EngineSettings(device="cpu", torch_compile=True))
    try:
        await engine.ready.wait()
        prompt = engine.checkpoint.prompts.raw("New")

        async def answer() -> str:
            return "".join([piece async for piece in engine.submit(prompt, Sampling(temperature=0, max_tokens=12))])

        before = await answer()
        during = 0
        with anyio.fail_after(120):
            while engine.stats()["compiled"] is None or len(set(engine.stats()["compiled"].split(" of "))) > 1:
                assert await answer() == before
                during += 1
                await anyio.sleep(0.4)  # else there is no idle moment
        assert during > 1
        assert await answer() == before
    finally:
        engine.close()


async def test_an_engine_that_was_not_asked_compiles_nothing(endless_llama: Path) -> None:
    engine = LocalEngine(endless_llama, EngineSettings(device="cpu"))
    try:
        await engine.ready.wait()
        assert engine.stats()["compiled"] is None
    finally:
        engine.close()


async def test_a_model_that_cannot_be_taken_to_pieces_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_checkpoint(tmp_path, "falcon-rotary")
    engine = LocalEngine(folder, EngineSettings(device="cpu", torch_compile=True))
    try:
        with caplog.at_level(logging.WARNING, "cfai.engine"):
            await engine.ready.wait()
            await until(lambda: "runs without torch.compile" in caplog.text)
        assert engine.stats()["compiled"] == "0 of 0"
    finally:
        engine.close()


@needs_compiler
def test_a_piece_that_computes_something_else_then_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    piece = Piece(lambda x: x * 2 + 1, "cpu")
    with caplog.at_level(logging.WARNING, "cfai.engine"):
        assert not piece.compile(never)
    assert "runs without torch.compile: it computes something else then" in caplog.text
    assert piece(torch.ones(2)).tolist() == [3, 3]


def test_a_piece_that_cannot_be_compiled_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    piece = Piece(lambda x: torch.tensor([float(os.fspath("7"))]) * x, "cpu")

    def check() -> bool:
        raise RuntimeError("there is no compiler\nand more")

    with caplog.at_level(logging.WARNING, "cfai.engine"):
        assert not piece.compile(check)
    assert "runs without torch.compile: there is no compiler" in caplog.text
    assert piece(torch.ones(2)).tolist() == [7, 7]


def told(x: torch.Tensor) -> torch.Tensor:
    return x + (1 if torch.compiler.is_compiling() else 2)


class OfOnePiece:
    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor] = told) -> None:
        self.piece = Piece(run, "cpu")

    def compile(self, is_stopped: Callable[[], bool]) -> None:
        x = torch.zeros(1)
        assert self.piece.compile(lambda: bool(self.piece(x).isfinite().all()))

    @property
    def is_compiled(self) -> bool:
        with torch.inference_mode():
            return bool(self.piece(torch.zeros(1)) == 1)


@needs_compiler
def test_what_one_thread_compiles_is_for_the_one_that_has_it_compiled() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            forward = OfOnePiece()
            assert not forward.is_compiled
            assert Compiling(forward, torch.device("cpu")).is_over(120)
            assert forward.is_compiled, threads
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_a_model_is_compiled_while_another_runs_what_was_compiled_before() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            begun.set()
            may_end.wait(120)
        return x * 2

    first, second = OfOnePiece(slow), OfOnePiece()
    may_end.set()
    assert Compiling(first, torch.device("cpu")).is_over(120)
    may_end.clear()
    begun.clear()
    running = threading.Thread(target=first.piece, args=(torch.zeros(1, dtype=torch.float64),))  # not compiled for it
    running.start()
    begun.wait()
    try:
        assert Compiling(second, torch.device("cpu")).is_over(120)
        assert second.is_compiled
    finally:
        may_end.set()
        running.join()


@needs_compiler
def test_only_what_differs_from_row_to_row_varies_in_a_piece() -> None:
    for width in (64, 48):
        weight = torch.ones(width)
        calls = [
            Call(torch.mean, (weight,), {}, Value(1)),
            Call(torch.mul, (Value(0), Value(1)), {}, Value(2)),
            Call(told, (Value(2),), {}, Value(3)),
        ]
        (piece,) = put_pieces(Recording(calls, Value(3), {}), "cpu")

        def made(rows: int, columns: int, piece: Piece = piece, weight: torch.Tensor = weight) -> float:
            (out,) = piece(torch.zeros(rows, columns), weight)
            return float(out[0, 0])

        assert piece.compile(lambda: [made(rows, width) for rows in (1, 2)] == [1, 1])  # noqa: B023  # called at once
        assert made(7, width) == 1, "compiled for any row"
        assert made(7, 32) == 2, "but for one width, whatever another model has"


@needs_compiler
def test_a_folder_that_somebody_chose_is_left_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tmp_path / "torchinductor_mine"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(chosen))
    OfOnePiece().compile(never)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(chosen)
    assert any(chosen.iterdir())


class Slow:
    """A forward pass whose pieces take as long as one likes."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.done = 0

    def compile(self, is_stopped: Callable[[], bool]) -> None:
        while not is_stopped():
            self.begun.set()
            self.may_end.wait()
            self.done += 1


def test_who_stops_waits_for_the_piece_under_way_and_for_no_other() -> None:
    forward = Slow()
    compiling = Compiling(forward, torch.device("cpu"))
    second = Slow()
    behind = Compiling(second, torch.device("cpu"))
    forward.begun.wait()
    assert not compiling.is_over(0)
    behind.stop()  # it has not begun, since one compiles at a time
    stopping = threading.Thread(target=compiling.stop)
    stopping.start()
    forward.may_end.set()
    stopping.join()
    assert compiling.is_over(0)
    assert behind.is_over(0)
    assert second.done == 0


def test_no_graph_is_made_while_something_is_compiled() -> None:
    forward = Slow()
    with nobody_compiles(0) as is_so:
        assert is_so
        compiling = Compiling(forward, torch.device("cpu"))
        assert not forward.begun.wait(0.3)
    forward.begun.wait()
    with nobody_compiles(0) as is_so:
        assert not is_so
    forward.may_end.set()
    compiling.stop()
    with nobody_compiles(0) as is_so:
        assert is_so


def test_a_process_ends_once_the_piece_under_way_is_done() -> None:
    script = """
import time, torch
from cfai.engine.pieces import Compiling

class Endless:
    def compile(self, is_stopped):
        while not is_stopped():
            time.sleep(0.05)

Compiling(Endless(), torch.device("cpu"))
Compiling(Endless(), torch.device("cpu"))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


class Broken:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def compile(self, is_stopped: Callable[[], bool]) -> None:
        raise self._error


def test_only_a_device_that_failed_is_told_to_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    compiling = Compiling(Broken(ValueError("no such thing")), torch.device("cpu"))
    assert compiling.is_over(60)
    assert "runs without torch.compile: no such thing" in caplog.text
    compiling = Compiling(Broken(torch.AcceleratorError("an illegal address")), torch.device("cpu"))
    with pytest.raises(torch.AcceleratorError, match="an illegal address"):
        compiling.is_over(60)
    compiling.stop()
