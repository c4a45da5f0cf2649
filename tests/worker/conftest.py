"""A Worker of a few lines, in this process."""

import contextlib
import datetime
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cfai import FakeBinding
from cfai.config import Config
from cfai.worker import WorkerApp, import_path, worker_app
from tests.worker.asgi_client import Client


@dataclass
class Workers:
    """Makes Workers of scripts."""

    folder: Path
    stack: contextlib.ExitStack
    fake: FakeBinding = field(default_factory=lambda: FakeBinding(as_of="2023-11-14"))
    logged: list[str] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)

    def config(self, script: str, **changes: Any) -> Config:
        main = self.folder / "entry.py"
        main.write_text(textwrap.dedent(script))
        config = Config("test", main, self.folder, datetime.date(2026, 6, 1))
        return replace(config, **changes)

    def app(
        self, script: str, *, ai: Any = None, strict: bool = False, test_scheduled: bool = False, **changes: Any
    ) -> WorkerApp:
        config = self.config(script, **changes)
        self.stack.enter_context(import_path(config.root))
        app = worker_app(
            config,
            ai or self.fake,
            strict=strict,
            test_scheduled=test_scheduled,
            log=self.logged.append,
            report=self.reported.append,
        )
        self.stack.callback(app.close)
        return app

    def client(self, app: WorkerApp) -> Client:
        return Client(app)

    def __call__(self, script: str, **changes: Any) -> Client:
        return Client(self.app(script, **changes))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Workers]:
    with contextlib.ExitStack() as stack:
        yield Workers(tmp_path, stack)


@pytest.fixture
def anyio_backend() -> str:
    """Scripts use asyncio, as under Pyodide."""
    return "asyncio"


@pytest.fixture
def django_afresh() -> Iterator[None]:
    """Django without settings; they are the process's, and so are its routes."""
    from django.conf import empty, settings
    from django.urls import clear_url_caches

    settings._wrapped = empty
    clear_url_caches()
    yield
    settings._wrapped = empty
    clear_url_caches()
