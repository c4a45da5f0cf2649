"""The pytest plugin: fixtures that answer AI calls, and run a Worker, without a model.

Every pytest run of an environment that has cfai imports this file. So it imports nothing but pytest; what the fixtures
are made of is in `cfai.testing`, and is imported when a test asks for one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from cfai.bindings.faults import FaultBinding
    from cfai.bindings.tape import TapeBinding
    from cfai.testing.imports import ScriptImports
    from cfai.testing.ladder import Engines
    from cfai.testing.network import NetworkGuard
    from cfai.testing.observed import ObservedAi, TestAi
    from cfai.testing.stage import Stage
    from cfai.testing.worker import TestWorker
    from cfai.worker.env import Env

RUNGS = ("fake", "demo", "local", "tape", "remote")

RECORD_MODES = ("once", "none", "all", "new")
SHIMS = ("asgi", "js", "pyodide", "workers")

MARKERS = (
    "worker(path, vars={...}): the project or script of the fixtures worker and env, and variables over the project's",
    "model(id, ...): the models that the test needs; with --cfai=local it is skipped where their weights are missing",
    "as_of(date): the day, '2023-11-14', whose models, limits and wire form the test's calls meet",
    "fidelity(name): 'clean', or 'production' for the oddities of Cloudflare's own answers",
    "no_network: fail the test if anything in this process leaves loopback, also where the error is swallowed",
    "budget(neurons): fail the test if its calls cost more neurons",
)

_stage: pytest.StashKey[Stage] = pytest.StashKey()
_imports: pytest.StashKey[ScriptImports] = pytest.StashKey()
_guard: pytest.StashKey[NetworkGuard] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cfai", "Workers AI without a model (cfai)")
    group.addoption(
        "--cfai",
        choices=RUNGS,
        help="what answers the fixtures ai, env and worker: the fake (default), the demo model, the weights of this "
        "machine, tapes, or Cloudflare, with CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN",
    )
    group.addoption(
        "--cfai-record",
        choices=RECORD_MODES,
        help="what the tapes of tests record: a tape that is not there (once; default), nothing (none; default where "
        "CI is set), everything anew (all), or the calls that a tape does not have (new)",
    )
    parser.addini("cfai_project", "the Worker project of the tests; default: the nearest wrangler config", default="")
    parser.addini("cfai", "what answers the fixtures ai, env and worker, as --cfai", default="fake")


class _Finder:
    """Asks `ScriptImports` for names that a file outside of installed packages imports.

    means  tells which ones
    """

    def __init__(self, config: pytest.Config, means: Callable[[str], bool]) -> None:
        self._config = config
        self._means = means

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if path is not None:
            return None
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_IMPORTING):
            frame = frame.f_back
        importer = frame.f_code.co_filename
        if importer.startswith(_NO_SCRIPTS) or "site-packages" in importer or not self._means(name):
            return None
        return _imports_of(self._config).find(name, importer)


def _is_a_mere_folder(name: str) -> bool:
    spec = PathFinder.find_spec(name)
    return spec is not None and spec.origin is None


_LIBRARY = str(Path(os.__file__).parent)
_IMPORTING = ("<frozen importlib", f"{_LIBRARY}{os.sep}importlib{os.sep}")
_NO_SCRIPTS = ("<", f"{_LIBRARY}{os.sep}", f"{Path(__file__).parent}{os.sep}")


def _imports_of(config: pytest.Config) -> ScriptImports:
    if (imports := config.stash.get(_imports, None)) is None:
        from cfai.testing.imports import ScriptImports

        setting = config.getini("cfai_project")
        imports = config.stash[_imports] = ScriptImports(config.rootpath / setting if setting else None)
    return imports


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # `workers` is found before an installed workers-runtime-sdk is; the modules of a script after all others, but for
    # folders of the same name beside it: `docs` without an `__init__.py` is a module to Python.
    first = _Finder(early_config, lambda name: name in SHIMS or _is_a_mere_folder(name))
    last = _Finder(early_config, lambda name: True)
    sys.meta_path.insert(0, first)
    sys.meta_path.append(last)
    early_config.add_cleanup(lambda: sys.meta_path.remove(first))
    early_config.add_cleanup(lambda: sys.meta_path.remove(last))


def pytest_collectstart(collector: pytest.Collector) -> None:
    imports = collector.config.stash.get(_imports, None)
    if imports is not None and isinstance(collector, pytest.Module):
        imports.leave(collector.path)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture(scope="session")
def _cfai_engines(pytestconfig: pytest.Config) -> Iterator[Engines]:
    from cfai.testing.ladder import Engines

    engines = Engines(pytestconfig.rootpath)
    yield engines
    engines.close()


@pytest.fixture
def _cfai(request: pytest.FixtureRequest) -> Iterator[Stage]:
    from cfai.testing.ladder import parse_rung
    from cfai.testing.stage import Stage

    record = request.config.getoption("cfai_record")
    try:
        rung = parse_rung(request.config.getoption("cfai") or request.config.getini("cfai"))
        default = "none" if os.environ.get("CI") else "once"
        stage = Stage(request, rung, record or default, records_it=record not in (None, "none"))
    except ValueError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    request.node.stash[_stage] = stage
    yield stage
    stage.close()
    if problems := stage.late_problems():
        pytest.fail("\n\n".join(problems), pytrace=False)


@pytest.fixture
def ai(_cfai: Stage) -> TestAi:
    """An `Ai` that `--cfai` chooses the binding of: a fake with `ai.answers`, a model, a tape, or Cloudflare."""
    return _cfai.ai


@pytest.fixture
def fake_ai(_cfai: Stage) -> TestAi:
    """An `Ai` over a fake, whatever `--cfai` says: `fake_ai.answers[model] = "hello"`, `fake_ai.calls`."""
    return _cfai.ai


@pytest.fixture
def tape(_cfai: Stage) -> TapeBinding:
    """The tape of this test, `tapes/<module>/<test>.json`: recorded once by what `--cfai` says, and replayed after."""
    return _cfai.tape()


@pytest.fixture
def faults(_cfai: Stage) -> FaultBinding:
    """Faults of the calls of this test: `faults.add("capacity", times=2)`, also for its Worker and its env."""
    return _cfai.faults()


@pytest.fixture
def local_ai(_cfai: Stage) -> ObservedAi:
    """An `Ai` over the demo model, a real one that is loaded once for all tests."""
    return _cfai.local_ai()


@pytest.fixture
def worker(_cfai: Stage) -> TestWorker:
    """The Worker of the nearest wrangler config, in this process: `response = await worker.fetch("/")`."""
    return _cfai.worker()


@pytest.fixture
def env(_cfai: Stage, request: pytest.FixtureRequest) -> Env:
    """What a handler of the Worker gets: its vars and bindings, KV, D1 and Vectorize empty for each test."""
    return _cfai.env(_imports_of(request.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if (imports := item.config.stash.get(_imports, None)) is not None:
        imports.leave(item.path)
    guard = None
    if item.get_closest_marker("no_network") is not None and (guard := item.config.stash.get(_guard, None)) is None:
        from cfai.testing.network import NetworkGuard

        guard = item.config.stash[_guard] = NetworkGuard()
    if guard is not None:
        guard.begin()
    try:
        return (yield)
    finally:
        if guard is not None:
            guard.end()
        if _stage in item.stash:
            del item.stash[_stage]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    stage = item.stash.get(_stage, None)
    if stage is None:
        result = yield
    else:
        with stage.around(item):
            result = yield
    problems = [] if stage is None else list(stage.problems())
    if stage is None and item.get_closest_marker("budget") is not None:
        problems.append("@pytest.mark.budget counts the calls of cfai's fixtures, and this test asks for none of them")
    problems += _left_loopback(item)
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    if problems := _left_loopback(item):
        pytest.fail("\n".join(problems), pytrace=False)
    return result


def _left_loopback(item: pytest.Item) -> list[str]:
    guard = item.config.stash.get(_guard, None)
    attempts = [] if guard is None or not guard.is_on else guard.take()
    return ["\n".join(["this test is marked no_network, and left loopback:", *attempts])] if attempts else []


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    imports = collector.config.stash.get(_imports, None) if report.failed else None
    if imports is not None and (problem := imports.problem_at(collector.path)) is not None:
        report.sections.append(("config of the Worker", problem))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None and "cfai.errors" in sys.modules:  # on which all of cfai stands
        from cfai.testing.frames import hide_our_frames

        hide_our_frames(call.excinfo.value)
    report = yield
    if (stage := item.stash.get(_stage, None)) is not None:
        sections = list(stage.sections())
        report.sections.extend(sections if report.failed else ())
    return report
