"""The bindings that a config declares: those that run here as data, the others by name and kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cfai.config.document import Table

if TYPE_CHECKING:
    from cfai.config.environments import Settings

__all__ = [
    "BINDINGS",
    "AssetsConfig",
    "D1Database",
    "Kind",
    "KvNamespace",
    "VectorizeIndex",
    "ai_binding",
    "assets",
    "d1_databases",
    "declared",
    "kv_namespaces",
    "simple_binding",
    "vectorize",
]


@dataclass(frozen=True, slots=True)
class AssetsConfig:
    """Static files: `assets`."""

    directory: Path
    binding: str | None = None
    run_worker_first: bool | tuple[str, ...] = False
    """Whether the script is asked before the files are; or the paths on which it is, `*` and `!` as in wrangler."""
    html_handling: str = "auto-trailing-slash"
    """Or "drop-trailing-slash", "force-trailing-slash", "none"."""
    not_found_handling: str = "none"
    """Or "single-page-application", "404-page"."""


@dataclass(frozen=True, slots=True)
class KvNamespace:
    """One of `kv_namespaces`."""

    binding: str
    id: str
    """Its `id`, or the binding's name where there is none: what its local state is kept under."""


@dataclass(frozen=True, slots=True)
class D1Database:
    """One of `d1_databases`."""

    binding: str
    id: str
    """`preview_database_id`, `database_id` or the binding's name: what its local state is kept under."""
    name: str
    migrations_dir: str = "migrations"
    migrations_table: str = "d1_migrations"


@dataclass(frozen=True, slots=True)
class VectorizeIndex:
    """One of `vectorize`."""

    binding: str
    index_name: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of binding: wrangler's word for it, and how the config lists its own."""

    label: str
    name_key: str = "binding"
    """The key of its name in `env`."""
    within: str | None = None
    """The key under which the list stands, where it is not the kind's own."""
    is_simulated: bool = False


BINDINGS = {
    "ai": Kind("AI", is_simulated=True),
    "assets": Kind("Assets", is_simulated=True),
    "version_metadata": Kind("Worker Version Metadata", is_simulated=True),
    "kv_namespaces": Kind("KV Namespace", is_simulated=True),
    "d1_databases": Kind("D1 Database", is_simulated=True),
    "vectorize": Kind("Vectorize Index", is_simulated=True),
    "durable_objects": Kind("Durable Object", "name", "bindings"),
    "queues": Kind("Queue", within="producers"),
    "r2_buckets": Kind("R2 Bucket"),
    "services": Kind("Worker"),
    "workflows": Kind("Workflow"),
    "hyperdrive": Kind("Hyperdrive Config"),
    "browser": Kind("Browser"),
    "images": Kind("Images"),
    "stream": Kind("Stream"),
    "media": Kind("Media"),
    "send_email": Kind("Send Email", "name"),
    "analytics_engine_datasets": Kind("Analytics Engine Dataset"),
    "dispatch_namespaces": Kind("Dispatch Namespace"),
    "mtls_certificates": Kind("mTLS Certificate"),
    "pipelines": Kind("Pipeline"),
    "secrets_store_secrets": Kind("Secrets Store Secret"),
    "ratelimits": Kind("Rate Limit", "name"),
    "worker_loaders": Kind("Worker Loader"),
    "ai_search_namespaces": Kind("AI Search Namespace"),
    "ai_search": Kind("AI Search Instance"),
    "websearch": Kind("Web Search"),
    "agent_memory": Kind("Agent Memory"),
    "artifacts": Kind("Artifacts"),
    "flagship": Kind("Flagship"),
    "vpc_services": Kind("VPC Service"),
    "vpc_networks": Kind("VPC Network"),
    "unsafe_hello_world": Kind("Hello World"),
    "logfwdr": Kind("logfwdr", "name", "bindings"),
    "unsafe": Kind("Unsafe Metadata", "name", "bindings"),
    "containers": Kind("Container"),
    "tail_consumers": Kind("Tail Consumer"),
    "streaming_tail_consumers": Kind("Streaming Tail Consumer"),
}
"""Every kind of binding, by its key in the config, with the label that `wrangler dev` prints for it.

A kind that is simulated is read strictly. Of the others only the names are taken: what does not run here must not keep
the rest from running.
"""

_UNNAMED = {"containers", "tail_consumers", "streaming_tail_consumers"}


def declared(settings: Settings) -> Iterator[tuple[str, str, str, int | None]]:
    """Every binding: its name in env, its key, its label, its line. The name of what no script can see is empty."""
    for key, kind in BINDINGS.items():
        table = settings.at(key)
        found = table.values.get(key)
        within = table.table(key, "an object") if kind.within and isinstance(found, dict) else None
        if within is not None and kind.within:
            found = within.values.get(kind.within)
        for index, one in enumerate(found if isinstance(found, list) else [found]):
            if isinstance(one, dict):
                place = (*table.place, key, *((kind.within,) if kind.within else ()))
                place = (*place, index) if isinstance(found, list) else place
                name = "" if key in _UNNAMED else one.get(kind.name_key)
                is_ai = key == "unsafe" and one.get("type") == "ai"
                if isinstance(name, str):
                    label = "AI" if is_ai else kind.label
                    yield name, "ai" if is_ai else key, label, table.document.line_of((*place, kind.name_key))
    queues = settings.at("queues").values.get("queues")
    if isinstance(queues, dict) and queues.get("consumers"):
        yield "", "queues", "Queue Consumer", settings.at("queues").line("queues")


def ai_binding(settings: Settings) -> str | None:
    """The name of the AI binding: that of `ai`, or of an unsafe binding of its type, as `cfai wrangler` writes."""
    ai = settings.at("ai").table("ai", 'an object, {"binding": "AI"}')
    if ai is not None:
        return ai.text("binding", "the name of the AI binding in env") or "AI"
    return next((name for name, key, *_ in declared(settings) if key == "ai" and name), None)


def simple_binding(settings: Settings, key: str) -> str | None:
    """The name of a binding of which there is one: `{"binding": "NAME"}`."""
    table = settings.at(key).table(key, 'an object, {"binding": "NAME"}')
    return None if table is None else table.required("binding", "the name of the binding in env")


_HTML_HANDLING = ("auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none")
_NOT_FOUND_HANDLING = ("single-page-application", "404-page", "none")


def assets(settings: Settings, folder: Path) -> AssetsConfig | None:
    within = settings.at("assets")
    if isinstance(bare := within.values.get("assets"), str):
        within.remark("assets", f'"assets" is an object for wrangler: {{"directory": "{bare}"}}')
        within = Table(within.document, {"assets": {"directory": bare}}, within.place)
    table = within.table("assets", "an object with a directory")
    if table is None:
        return None
    table.remark_unknown(("directory", "binding", "html_handling", "not_found_handling", "run_worker_first"))
    directory = table.required("directory", "the path of a folder")
    if not (folder / directory).is_dir():
        raise table.error("directory", f"the assets directory is {directory}, and there is no such folder")
    return AssetsConfig(
        folder / directory,
        table.text("binding", "the name of the assets binding in env"),
        _run_worker_first(table),
        table.choice("html_handling", "auto-trailing-slash", _HTML_HANDLING),
        table.choice("not_found_handling", "none", _NOT_FOUND_HANDLING),
    )


def _run_worker_first(table: Table) -> bool | tuple[str, ...]:
    found = table.values.get("run_worker_first")
    if found is None or isinstance(found, bool):
        return bool(found)
    patterns = table.texts("run_worker_first", "true, false, or a list of paths")
    if wrong := next((one for one in patterns if not one.removeprefix("!").startswith("/")), None):
        raise table.error(
            "run_worker_first", f'"{table.path("run_worker_first")}" has the path "{wrong}"; a path begins with / or !/'
        )
    return patterns


def kv_namespaces(settings: Settings) -> tuple[KvNamespace, ...]:
    def read(one: Table) -> KvNamespace:
        one.remark_unknown(("binding", "id", "preview_id", "remote"))
        binding = _name(one)
        return KvNamespace(binding, one.text("id", "the id of the namespace") or binding)

    return _read_all(settings, "kv_namespaces", read)


def d1_databases(settings: Settings) -> tuple[D1Database, ...]:
    def read(one: Table) -> D1Database:
        one.remark_unknown(
            (
                *("binding", "database_id", "database_internal_env", "database_name", "migrations_dir"),
                *("migrations_pattern", "migrations_table", "preview_database_id", "remote"),
            )
        )
        binding = _name(one)
        preview = one.text("preview_database_id", "the id of the database for previews")
        return D1Database(
            binding,
            preview or one.text("database_id", "the id of the database") or binding,
            one.text("database_name", "the name of the database") or binding,
            one.text("migrations_dir", "the path of a folder") or "migrations",
            one.text("migrations_table", "the name of a table") or "d1_migrations",
        )

    return _read_all(settings, "d1_databases", read)


def vectorize(settings: Settings) -> tuple[VectorizeIndex, ...]:
    def read(one: Table) -> VectorizeIndex:
        one.remark_unknown(("binding", "index_name", "remote"))
        return VectorizeIndex(_name(one), one.required("index_name", "the name of the index"))

    return _read_all(settings, "vectorize", read)


def _name(one: Table) -> str:
    return one.required("binding", "the name of the binding in env")


One = TypeVar("One")


def _read_all(settings: Settings, key: str, read: Callable[[Table], One]) -> tuple[One, ...]:
    return tuple(read(one) for one in settings.at(key).tables(key, 'a list of objects, each with a "binding"'))
