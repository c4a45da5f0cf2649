"""The pytest plugin: fixtures that answer AI calls, and run a Worker, without a model.

Every pytest run of an environment that has cfai imports this file. So it imports nothing but pytest; what the fixtures
are made of is in `cfai.testing`, and is imported when a test asks for one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cfai.testing.ladder import Engines
    from cfai.testing.network import NetworkGuard
    from cfai.testing.observed import TestAi
    from cfai.testing.stage import Stage

RUNGS = ("fake", "demo", "local", "tape", "remote")

MARKERS = (
    "model(id, ...): the models that the test needs; with --cfai=local it is skipped where their weights are missing",
    "as_of(date): the day, '2023-11-14', whose models, limits and wire form the test's calls meet",
    "fidelity(name): 'clean', or 'production' for the oddities of Cloudflare's own answers",
    "no_network: fail the test if anything in this process leaves loopback, also where the error is swallowed",
    "budget(neurons): fail the test if its calls cost more neurons",
)

_stage: pytest.StashKey[Stage] = pytest.StashKey()
_guard: pytest.StashKey[NetworkGuard] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cfai", "Workers AI without a model (cfai)")
    group.addoption(
        "--cfai",
        choices=RUNGS,
        help="what answers the fixtures ai, env and worker: the fake (default), the demo model, the weights of this "
        "machine, tapes, or Cloudflare, with CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN",
    )
    parser.addini("cfai", "what answers the fixtures ai, env and worker, as --cfai", default="fake")


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture(scope="session")
def _cfai_engines() -> Iterator[Engines]:
    from cfai.testing.ladder import Engines

    engines = Engines()
    yield engines
    engines.close()


@pytest.fixture
def _cfai(request: pytest.FixtureRequest) -> Iterator[Stage]:
    from cfai.testing.ladder import parse_rung
    from cfai.testing.stage import Stage

    try:
        rung = parse_rung(request.config.getoption("cfai") or request.config.getini("cfai"))
        stage = Stage(request, rung)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    request.node.stash[_stage] = stage
    yield stage
    stage.close()


@pytest.fixture
def ai(_cfai: Stage) -> TestAi:
    """An `Ai` that `--cfai` chooses the binding of: a fake with `ai.answers`, a model, a tape, or Cloudflare."""
    return _cfai.ai


@pytest.fixture
def fake_ai(_cfai: Stage) -> TestAi:
    """An `Ai` over a fake, whatever `--cfai` says: `fake_ai.answers[model] = "hello"`, `fake_ai.calls`."""
    return _cfai.ai


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if item.get_closest_marker("no_network") is None:
        return (yield)
    if (guard := item.config.stash.get(_guard, None)) is None:
        from cfai.testing.network import NetworkGuard

        guard = item.config.stash[_guard] = NetworkGuard()
    guard.begin()
    try:
        return (yield)
    finally:
        guard.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    stage = item.stash.get(_stage, None)
    if stage is not None:
        stage.wrap(item)
    result = yield
    problems = [] if stage is None else list(stage.problems())
    if stage is None and item.get_closest_marker("budget") is not None:
        problems.append("@pytest.mark.budget counts the calls of cfai's fixtures, and this test asks for none of them")
    guard = item.config.stash.get(_guard, None)
    if guard is not None and guard.is_on and guard.attempts:
        problems.append("\n".join(["this test is marked no_network, and left loopback:", *guard.attempts]))
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (stage := item.stash.get(_stage, None)) is not None:
        report.sections.extend(stage.sections())
    return report
