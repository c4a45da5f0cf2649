"""The Worker of one test: its project found, its modules imported, its `env` made."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from cfai.ai import SessionOptions
from cfai.packages import WORKER_IN_TESTS, absent, install
from cfai.testing.ladder import Engines
from cfai.testing.observed import Observed, TestAi

if TYPE_CHECKING:
    from cfai.testing.imports import ScriptImports
    from cfai.testing.worker import TestWorker
    from cfai.worker.env import Env

__all__ = ["StagedWorker"]


class StagedWorker:
    """The Worker of the test of `request`, opened when a fixture first asks for it.

    stack     closes it
    ai        by whose clock its streams come
    observed  what answers the calls of its `env.AI`
    session   the options of these calls
    """

    def __init__(
        self,
        request: pytest.FixtureRequest,
        stack: contextlib.ExitStack,
        ai: TestAi,
        observed: Observed,
        session: SessionOptions,
    ) -> None:
        self._request = request
        self._stack = stack
        self._ai = ai
        self._observed = observed
        self._session = session
        self._is_fresh = self._has_env = False
        self.opened: TestWorker | None = None

    def imported_afresh(self) -> TestWorker:
        """The Worker of the test's project, imported afresh."""
        _check_packages()
        if self.opened is None or not self._is_fresh:
            from cfai.testing.projects import fresh_import, is_a_test

            worker = self._open()
            patterns = self._request.config.getini("python_files")
            keeps = is_a_test(self._request.path.parent, worker.config.root, patterns)
            self._stack.enter_context(fresh_import(worker.config.root, keeps))
            self._is_fresh = True
        return self._open()

    def env(self, imports: ScriptImports) -> Env:
        """The `env` of the same Worker, for a test that calls handlers itself."""
        _check_packages()
        from cfai.worker.compat import running
        from cfai.worker.env import as_the_module_has_it
        from cfai.worker.loader import import_path

        worker = self._open()
        if not self._has_env:
            self._has_env = True
            if "worker" in self._request.fixturenames:
                self.imported_afresh()  # whichever comes first, fixtures after it import what the Worker runs
            elif not self._is_fresh:
                self._stack.enter_context(import_path(worker.config.root))
            with running(worker.runtime):
                imports.env = as_the_module_has_it(worker.env)
            self._stack.callback(setattr, imports, "env", None)
        return worker.env

    def _open(self) -> TestWorker:
        if self.opened is None:
            self._skip_on_trio()
            from cfai.config import ConfigError
            from cfai.testing.projects import NoProject, project_of
            from cfai.testing.worker import TestWorker
            from cfai.worker.ai import WorkerAi

            named, variables = self._marks()
            config = self._request.config
            try:
                project = project_of(
                    self._request.path, named, config.getini("cfai_project"), config.rootpath, variables
                )
            except (NoProject, ConfigError) as error:
                raise pytest.fail.Exception(str(error), pytrace=False) from None
            engines: Engines = self._request.getfixturevalue("_cfai_engines")
            state = self._request.getfixturevalue("tmp_path_factory").getbasetemp() / "cfai" / engines.next_name()
            # A Worker gets the bytes as they are, as on Cloudflare: `Ai` would raise where half an answer ends.
            ai = WorkerAi(self._observed, self._session)
            self.opened = TestWorker(project, ai, state=state, clock=self._ai.clock)
            self._stack.callback(self.opened.close)
        return self.opened

    def _marks(self) -> tuple[str | None, dict[str, Any]]:
        named: str | None = None
        variables: dict[str, Any] = {}
        for mark in self._request.node.iter_markers("worker"):  # the closest first
            if len(mark.args) > 1 or set(mark.kwargs) - {"vars"}:
                pytest.fail(
                    f"@pytest.mark.worker takes a path and vars={{...}}; it has {[*mark.args, *mark.kwargs]}",
                    pytrace=False,
                )
            if mark.args and named is None:
                named = str(mark.args[0])
            variables = {**mark.kwargs.get("vars", {}), **variables}
        return named, variables

    def _skip_on_trio(self) -> None:
        on_trio = self._request.node.get_closest_marker("trio") is not None
        if "anyio_backend" in self._request.fixturenames:
            on_trio = self._request.getfixturevalue("anyio_backend_name") != "asyncio"
        if on_trio:
            pytest.skip("Workers run on asyncio, as under Pyodide; this test runs on trio")

    async def around(self, test: Coroutine[Any, Any, Any]) -> Any:
        """Run a test, as a handler does its work if it has the `env`."""
        if self.opened is not None and self._has_env:
            return await self.opened.as_a_handler(test)
        return await test

    async def aclose(self) -> None:
        """Close what was opened on this event loop."""
        if self.opened is not None:
            await self.opened.aclose()


def _check_packages() -> None:
    """Fail the test if a light install lacks what a Worker needs."""
    if missing := absent(WORKER_IN_TESTS):
        names = " and ".join(name.replace("_", "-") for name in missing)
        pytest.fail(f"the fixtures worker and env need {names}, not installed here: {install(missing)}", pytrace=False)
