"""What one test has: the binding that answers its calls, and what is said about them when it is over."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from cfai.ai import SessionOptions
from cfai.binding import Binding
from cfai.bindings.fake import FakeBinding
from cfai.clock import Clock, RealClock
from cfai.testing.ladder import Engines, Rung, missing_weights, remote_binding
from cfai.testing.observed import Observed, TestAi
from cfai.testing.transcript import transcript

__all__ = ["Stage"]


class Stage:
    """The bindings of one test, made when its first fixture asks."""

    def __init__(self, request: pytest.FixtureRequest, rung: Rung) -> None:
        self._request = request
        # A test that says what the fake answers means the fake.
        self.rung: Rung = "fake" if "fake_ai" in request.fixturenames else rung
        self._skip_without_weights()
        self.fake = FakeBinding()
        self.observed = Observed(self._bottom())
        self.ai = TestAi(self.observed, self.fake, self._clock(), self._session())

    def _bottom(self) -> Binding:
        match self.rung:
            case "fake":
                return self.fake
            case "demo":
                return self.engines.demo
            case "local":
                return self.engines.local
            case "remote":
                return remote_binding(os.environ)
        raise NotImplementedError(self.rung)

    @property
    def engines(self) -> Engines:
        engines: Engines = self._request.getfixturevalue("_cfai_engines")
        return engines

    def _clock(self) -> Clock:
        return getattr(self.fake, "clock", RealClock()) if self.rung == "fake" else RealClock()

    def _session(self) -> SessionOptions:
        session: SessionOptions = {}
        if (as_of := self._argument("as_of", "date")) is not None:
            session["as_of"] = str(as_of)
        if (fidelity := self._argument("fidelity", "name")) is not None:
            session["fidelity"] = str(fidelity)
        return session

    def _argument(self, marker: str, name: str) -> Any:
        """What the test's marker says; None for a test without."""
        if (mark := self._request.node.get_closest_marker(marker)) is None:
            return None
        given = [*mark.args, *mark.kwargs.values()]
        if len(given) != 1 or set(mark.kwargs) - {name}:
            pytest.fail(f"@pytest.mark.{marker} takes one argument, `{name}`; it has {given or 'none'}", pytrace=False)
        return given[0]

    def _skip_without_weights(self) -> None:
        if self.rung != "local":
            return
        for mark in self._request.node.iter_markers("model"):
            for model in mark.args:
                if (why := missing_weights(model)) is not None:
                    pytest.skip(f"--cfai=local: {why}")

    def problems(self) -> Iterator[str]:
        """What is wrong with a test that has passed so far."""
        check: Callable[[], None] | None = getattr(self.fake, "check", None)
        if check is not None:
            try:
                check()
            except AssertionError as error:
                yield str(error)
        budget = self._argument("budget", "neurons")
        if budget is not None and self.ai.neurons > budget:
            yield (
                f"the calls of this test cost {self.ai.neurons:.2f} neurons, and its budget is {budget}\n"
                f"{transcript(self.observed.seen)}"
            )

    def sections(self) -> Iterator[tuple[str, str]]:
        """What the report of a failed test shows."""
        if self.observed.seen:
            yield "calls of the AI binding", transcript(self.observed.seen)

    def wrap(self, item: Any) -> None:
        """Have what the test leaves open closed on its own event loop."""
        owner, name = (item.obj.hypothesis, "inner_test") if hasattr(item.obj, "hypothesis") else (item, "obj")
        test = getattr(owner, name)
        if not inspect.iscoroutinefunction(test):
            return

        @functools.wraps(test)
        async def run(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            try:
                return await test(*args, **kwargs)
            finally:
                with anyio.CancelScope(shield=True):
                    await self.aclose()

        setattr(owner, name, run)

    async def aclose(self) -> None:
        """Close what was opened on this event loop."""
        await self.observed.aclose()

    def close(self) -> None:
        """Close what belongs to no event loop."""
        self.ai.end()
