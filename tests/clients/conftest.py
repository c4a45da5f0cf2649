from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.held import TOKEN
from tests.processes import Process


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """`cfai serve` with the demo model, as a user has it."""
    with Process("serve", "--demo", "--port", "0", "--token", TOKEN) as process:
        yield process.read_until("listens on").split()[-1]
