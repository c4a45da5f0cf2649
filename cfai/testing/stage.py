"""What one test has: the binding that answers its calls, its Worker, and what is said of both when it is over."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from cfai.ai import SessionOptions
from cfai.binding import Binding
from cfai.bindings.fake import FakeBinding, UnexpectedCall
from cfai.catalog import parse_as_of
from cfai.clock import RealClock, VirtualClock
from cfai.tasks.shapes import parse_fidelity
from cfai.testing.ladder import (
    NO_TAPE,
    NOT_THE_FAKE,
    Engines,
    NothingToRecord,
    Rung,
    missing_weights,
    remote_binding,
    without_price,
)
from cfai.testing.observed import Observed, ObservedAi, Seen, TestAi
from cfai.testing.staged_worker import StagedWorker
from cfai.testing.transcript import transcript

if TYPE_CHECKING:
    from cfai.bindings.faults import FaultBinding
    from cfai.bindings.tape import TapeBinding
    from cfai.testing.imports import ScriptImports
    from cfai.testing.worker import TestWorker
    from cfai.worker.env import Env

__all__ = ["Stage"]


class Stage:
    """The doubles of one test, each made when its fixture is asked for.

    record      what a tape of the test records
    records_it  whether it has a tape without asking for one
    """

    def __init__(self, request: pytest.FixtureRequest, rung: Rung, record: str, *, records_it: bool = False) -> None:
        self._request = request
        self._stack = contextlib.ExitStack()
        # A test that says what the fake answers means the fake.
        self.rung: Rung = "fake" if "fake_ai" in request.fixturenames else rung
        self._records_it = records_it
        self._record = "none" if self.rung == "tape" else record
        self._skip_without_weights()
        self.fake = FakeBinding()
        self._tape: TapeBinding | None = None
        self._faults: FaultBinding | None = None
        self._local: ObservedAi | None = None
        self._remote: Binding | None = None
        self.observed = Observed(self.fake)
        self._told = 0
        session = self._session()
        self.ai = TestAi(self.observed, self.fake, self.fake.clock, session)
        self._worker = StagedWorker(request, self._stack, self.ai, self.observed, session)
        if self.rung == "tape":
            self.tape()
        elif self.rung != "fake":
            self.observed.inner = self._model()
            self.ai.clock = RealClock()
            if self._records_it:
                self.tape()

    def _model(self) -> Binding:
        """What answers on a rung that is no double."""
        if self.rung == "remote":
            is_recorded = self._records_it or "tape" in self._request.fixturenames
            self._remote = self._remote or remote_binding(os.environ, is_recorded=is_recorded)
            return self._remote
        return self.engines.local if self.rung == "local" else self.engines.demo

    @property
    def engines(self) -> Engines:
        engines: Engines = self._request.getfixturevalue("_cfai_engines")
        return engines

    def _session(self) -> SessionOptions:
        session: SessionOptions = {}
        if (as_of := self._argument("as_of", "date")) is not None:
            session["as_of"] = parse_as_of(str(as_of)).isoformat()
        if (fidelity := self._argument("fidelity", "name")) is not None:
            session["fidelity"] = parse_fidelity(str(fidelity))
        return session

    def _argument(self, marker: str, name: str) -> Any:
        """What the test's marker says; None for a test without."""
        if (mark := self._request.node.get_closest_marker(marker)) is None:
            return None
        given = [*mark.args, *mark.kwargs.values()]
        if len(given) != 1 or set(mark.kwargs) - {name}:
            has = (
                ", ".join([*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())])
                or "none"
            )
            pytest.fail(f"@pytest.mark.{marker} takes one argument, `{name}`; it has {has}", pytrace=False)
        return given[0]

    def _skip_without_weights(self) -> None:
        if self.rung != "local":
            return
        for mark in self._request.node.iter_markers("model"):
            for model in mark.args:
                if (why := missing_weights(model, self.engines.settings)) is not None:
                    pytest.skip(f"--cfai=local: {why}")

    def local_ai(self) -> ObservedAi:
        """An `Ai` over the demo model, beside what else answers."""
        if self._local is None:
            self._local = ObservedAi(Observed(self.engines.demo), self._session())
        return self._local

    def tape(self) -> TapeBinding:
        """The tape of this test, between it and what answers its calls."""
        if self._tape is None:
            from cfai.bindings.tape import TapeBinding, parse_record_mode

            mode = parse_record_mode(self._record)
            path = self._request.path.parent / "tapes" / self._request.path.stem / f"{_file_name(self._name)}.json"
            if path.exists() and mode in ("once", "none"):
                # Replayed in the recorded time, by a clock that it costs nothing to wait for.
                self.ai.clock = VirtualClock()
                self._tape = TapeBinding(path, record=mode, speed=1.0, clock=self.ai.clock)
            else:
                self._tape = TapeBinding(path, self._recorded(path), record=mode)
            self._put(self._tape if path.exists() or mode != "none" else NothingToRecord(path, NO_TAPE))
        return self._tape

    def _recorded(self, path: Path) -> Binding | None:
        if self.rung == "fake" and "fake_ai" not in self._request.fixturenames:
            return NothingToRecord(path, NOT_THE_FAKE)
        return None if self.rung == "tape" else self.observed.inner if self._faults is None else self._faults.inner

    def _put(self, binding: Binding) -> None:
        if self._faults is None:
            self.observed.inner = binding
        else:
            self._faults.inner = binding

    def faults(self) -> FaultBinding:
        """The faults of this test, outermost: they happen to what is replayed as well."""
        if self._faults is None:
            from cfai.bindings.faults import FaultBinding

            if "tape" in self._request.fixturenames:
                self.tape()
            self._faults = self.observed.inner = FaultBinding(self.observed.inner, clock=self.ai.clock)
        return self._faults

    @property
    def _name(self) -> str:
        inner = str(self._request.node.nodeid.partition("::")[2])
        if "anyio_backend" in self._request.fixturenames:  # what a model says does not depend on the event loop
            loop = re.escape(self._request.getfixturevalue("anyio_backend_name"))
            inner = re.sub(rf"\[{loop}\]$|(?<=\[){loop}-|-{loop}(?=\]$)", "", inner)
        return inner.replace("::", ".")

    def worker(self) -> TestWorker:
        """The Worker of the test's project, imported afresh."""
        return self._worker.imported_afresh()

    def env(self, imports: ScriptImports) -> Env:
        """The `env` of the same Worker, for a test that calls handlers itself."""
        return self._worker.env(imports)

    def problems(self) -> Iterator[str]:
        """What is wrong with a test that has passed so far."""
        # The code under test may have caught them. The fake has its own list of what it did not expect.
        yield from (str(error) for error in self.observed.unexpected if not isinstance(error, UnexpectedCall))
        checks = [self.fake.check, *([] if self._tape is None else [self._tape.check, self._tape.close_tape])]
        for check in checks:  # a tape of a test that failed is not written: it would be in the way of the next try
            try:
                check()
            except AssertionError as error:
                yield str(error)
                return
        yield from self._over_budget()

    def _over_budget(self) -> Iterator[str]:
        if (budget := self._argument("budget", "neurons")) is None:
            return
        seen = [*self.observed.seen, *([] if self._local is None else self._local.seen)]
        neurons = self.ai.neurons + (0 if self._local is None else self._local.neurons)
        if neurons > budget:
            yield f"the calls of this test cost {neurons:.6g} neurons, and its budget is {budget}\n{transcript(seen)}"
        elif unknown := self._unpriced(seen):
            yield f"a budget of {budget} neurons says nothing here: no price is known for {', '.join(unknown)}"

    def _unpriced(self, seen: Sequence[Seen]) -> list[str]:
        if self.rung == "fake":
            return without_price(one.call.model for one in seen)
        return list(dict.fromkeys(one.call.model for one in seen if one.is_answered and one.neurons is None))

    def late_problems(self) -> list[str]:
        """What is wrong with the calls that fixtures have made since the last report."""
        return [str(error) for error in self.observed.unexpected[self._told :]]

    def sections(self) -> Iterator[tuple[str, str]]:
        """What the report of a test shows if it failed."""
        self._told = len(self.observed.unexpected)
        if self.observed.seen:
            yield "calls of the AI binding", transcript(self.observed.seen)
        if (worker := self._worker.opened) is not None:
            if worker.logs:
                yield "log of the Worker", "\n".join(worker.logs)
            if worker.errors:
                yield "errors of the Worker", "\n".join(worker.errors)

    @contextlib.contextmanager
    def around(self, item: Any) -> Iterator[None]:
        """While the test runs, have what it leaves open closed on its own event loop."""
        test: Any = getattr(item, "obj", None)
        owner, name = (test.hypothesis, "inner_test") if hasattr(test, "hypothesis") else (item, "obj")
        test = getattr(owner, name, None)
        if not inspect.iscoroutinefunction(test):
            yield
            return

        @functools.wraps(test)
        async def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return await self._worker.around(test(*args, **kwargs))
            finally:
                with anyio.CancelScope(shield=True):
                    await self.aclose()

        setattr(owner, name, run)
        try:
            yield
        finally:
            setattr(owner, name, test)

    async def aclose(self) -> None:
        """Close what was opened on this event loop."""
        await self._worker.aclose()
        await self.observed.aclose()
        if self._local is not None:
            await self._local.aclose()
        if self._remote is not None:
            await self._remote.aclose()

    def close(self) -> None:
        """Close what belongs to no event loop."""
        self._stack.close()
        for ai in (self.ai, self._local):
            if ai is not None:
                ai.end(self.aclose)


def _file_name(test: str) -> str:
    return re.sub(r"[^\w.\[\]-]+", "-", test)
