import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Scripts use asyncio, as they do under Pyodide."""
    return "asyncio"
