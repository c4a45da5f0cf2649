from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cfai import LocalBinding
from tests.models import make_llama

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background like this, and every process of a test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes whose threads wait for each other in turns take many times as long as two threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ANY_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
"""For tests of code that both event loops run."""


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What cfai keeps for a user, it and the processes of the tests keep apart from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFAI_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "asyncio")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that ends its answers now and then."""
    return make_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def endless_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that never ends an answer by itself."""
    return make_llama(tmp_path_factory.mktemp("endless"), endless=True)


@pytest.fixture
async def local(llama: Path, endless_llama: Path) -> AsyncIterator[LocalBinding]:
    binding = LocalBinding({"@cf/test/llama": llama, "@cf/test/endless": endless_llama}, demo=False)
    yield binding
    await binding.aclose()
