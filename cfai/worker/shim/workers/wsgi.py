"""`from workers import wsgi`, as a Python Worker sees it."""

from cfai.worker import compat
from cfai.worker.wsgi import DEFAULT_OPTIONS, Options, build_environ, entrypoint, fetch

__all__ = ["DEFAULT_OPTIONS", "Options", "build_environ", "entrypoint", "fetch"]

if not compat.current().compat.has_external_sdk:
    compat.current().lenient(
        "from workers import wsgi", lambda: ImportError("cannot import name 'wsgi' from 'workers'", name="workers")
    )
