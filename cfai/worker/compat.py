"""What the compatibility date and flags of a Worker mean for its Python: every such branch, in this one place.

Cloudflare has run four generations of Python Workers, told apart by date and flags (`src/pyodide` and
`compatibility-date.capnp` of workerd). A script sees here what its date gives it there. Where cfai takes more than that
generation does, `Runtime.lenient` says so once, or, with `strict`, refuses as Cloudflare would.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["Compat", "Runtime", "current", "running"]

LATEST = datetime.date.max


@dataclass(frozen=True, slots=True)
class Compat:
    """One Worker's date and flags, and what follows from them.

    ```python
    Compat(datetime.date(2025, 10, 1)).pyodide  # "0.28.2"
    ```
    """

    date: datetime.date = LATEST
    flags: frozenset[str] = frozenset()

    def _is_on(self, since: datetime.date | None, on: str, off: str) -> bool:
        if on in self.flags:
            return True
        return off not in self.flags and since is not None and self.date >= since

    @property
    def has_class_handlers(self) -> bool:
        """`Default.fetch` answers; before, `on_fetch` of the module or of the class."""
        since = datetime.date(2025, 8, 14)
        return self._is_on(since, "python_no_global_handlers", "disable_python_no_global_handlers")

    @property
    def has_external_sdk(self) -> bool:
        """`workers` is the package workers-runtime-sdk; before, the runtime's own module."""
        since = datetime.date(2026, 4, 21)
        return self._is_on(since, "enable_python_external_sdk", "disable_python_external_sdk")

    @property
    def pyodide(self) -> str:
        """The version of Pyodide."""
        if self._is_on(None, "python_workers_20260610", "no_python_workers_20260610"):
            return "314.0.5"
        since = datetime.date(2025, 9, 29)
        if self._is_on(since, "python_workers_20250116", "no_python_workers_20250116"):
            return "0.28.2"
        return "0.26.0a2"

    @property
    def has_jsnull(self) -> bool:
        """JavaScript's null is `jsnull`; before, None."""
        return self.pyodide != "0.26.0a2"

    @property
    def sees_keys_of_dicts(self) -> bool:
        """JavaScript can read the keys of a dict that it is given as it is; before, it sees none."""
        return self.pyodide != "0.26.0a2"

    @property
    def makes_objects_of_dicts(self) -> bool:
        """`to_js(dict)` is a plain object; before, a Map whose keys are attributes too."""
        return self.pyodide.startswith("314.")

    @property
    def has_py_json(self) -> bool:
        """`as_py_json()` is what `as_object_map()` was."""
        return self.pyodide.startswith("314.")

    @property
    def not_a_container(self) -> str:
        """What Python's message about `x in y` says that y is not; Python 3.14 words it anew."""
        return "a container or iterable" if self.pyodide.startswith("314.") else "iterable"

    @property
    def has_blobs_of_websockets(self) -> bool:
        """The binary messages of a WebSocket are Blobs unless its `binaryType` says otherwise."""
        since = datetime.date(2026, 3, 17)
        return self._is_on(since, "websocket_standard_binary_type", "no_websocket_standard_binary_type")

    @property
    def replies_to_close(self) -> bool:
        """A WebSocket that is told to close does so by itself; before, the script calls `close()`."""
        since = datetime.date(2026, 4, 7)
        return self._is_on(since, "web_socket_auto_reply_to_close", "web_socket_manual_reply_to_close")

    @property
    def has_fetch_errors(self) -> bool:
        """`pyodide.http` has errors of its own, of which OSError is the base; before, OSError itself."""
        return self.pyodide != "0.26.0a2"

    @property
    def has_run_sync(self) -> bool:
        """Synchronous code may wait for a promise (JavaScript promise integration)."""
        return self.pyodide != "0.26.0a2"

    @property
    def keeps_commas(self) -> bool:
        """Several cookies of a request are several headers `Set-Cookie`; before, they are told like all others."""
        since = datetime.date(2026, 2, 17)
        return self._is_on(
            since, "python_request_headers_preserve_commas", "disable_python_request_headers_preserve_commas"
        )

    @property
    def navigation_prefers_assets(self) -> bool:
        """A browser that goes to a page is shown the assets' own page for what is not there; before, the script is."""
        since = datetime.date(2025, 4, 1)
        return self._is_on(since, "assets_navigation_prefers_asset_serving", "assets_navigation_has_no_effect")


@dataclass(slots=True)
class Runtime:
    """The Worker that runs: its `Compat`, and what is done about what only cfai takes.

    strict  raise what Cloudflare would raise
    note    takes a line for the terminal; each is given once
    where   tells the script's line that runs, `src/entry.py:7`, or ""; asked once per note
    """

    compat: Compat = Compat()
    strict: bool = False
    note: Callable[[str], None] = lambda line: None
    where: Callable[[], str] = lambda: ""
    _noted: set[str] = field(default_factory=set)

    def lenient(self, idiom: str, refusal: Callable[[], BaseException], *, kind: str = "", instead: str = "") -> None:
        """The script used `idiom`, which its date refuses by raising `refusal()`.

        ```python
        runtime.lenient('result["response"]', lambda: TypeError("'pyodide.ffi.JsProxy' object is not subscriptable"))
        ```

        kind     what idioms of which one note is enough have in common; default: the idiom itself
        instead  what to write in its place, in a few words; beside Cloudflare's message, never in it
        """
        if self.strict:
            error = refusal()
            if instead:
                error.add_note(f"try: {instead}")
            raise error
        if self._is_new(kind or idiom):
            error = refusal()
            said = f"{type(error).__name__}: {error}"
            self._say(idiom, f"raises {said}", instead)

    def differs(self, idiom: str, there: str, *, kind: str = "", instead: str = "") -> bool:
        """Whether to do as the date does for `idiom`, which raises nothing there: `there` says what it does.

        ```python
        if runtime.differs("js.JSON.stringify(<dict>)", "gives '{}'"):
            return "{}"
        ```

        True under `strict`. Otherwise one note is given, and the script gets what it meant.
        """
        if not self.strict and self._is_new(kind or idiom):
            self._say(idiom, there, instead)
        return self.strict

    def note_once(self, line: str) -> None:
        """Print `line`, the first time.

        ```python
        runtime.note_once("cfai: No such model @cf/x or task: `cfai models` lists the ids")
        ```
        """
        if self._is_new(line):
            self.note(line)

    def _is_new(self, kind: str) -> bool:
        if kind in self._noted:
            return False
        self._noted.add(kind)
        return True

    def _say(self, idiom: str, there: str, instead: str) -> None:
        said = f"note: {idiom} works here and {_one_line(there)} on Cloudflare with {self._date_and_flags()}"
        where = self.where()
        self.note(f"{said}{f', at {where}' if where else ''}{f'; try: {instead}' if instead else ''}")

    def _date_and_flags(self) -> str:
        flags = sorted(flag for flag in self.compat.flags if "python" in flag and flag != "python_workers")
        return " and ".join([f"compatibility_date {self.compat.date}", *flags])


def _one_line(text: str) -> str:
    return text.partition("\n")[0]


_newest = Runtime()
_running: ContextVar[Runtime] = ContextVar("cfai.worker.compat.running")


def current() -> Runtime:
    """The Worker that this code runs in; outside of one, the newest generation, without notes."""
    return _running.get(_newest)


@contextmanager
def running(runtime: Runtime) -> Iterator[None]:
    """Make `runtime` the current one."""
    token = _running.set(runtime)
    try:
        yield
    finally:
        _running.reset(token)
