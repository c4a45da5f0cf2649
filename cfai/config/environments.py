"""Named environments: which keys `env.<name>` takes from the top of the file and which it must have itself.

The rules and the list of keys are those of wrangler's `normalizeAndValidateEnvironment`.
"""

from __future__ import annotations

from cfai.config.bindings import BINDINGS
from cfai.config.document import Table

__all__ = ["Settings", "choose"]


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INHERITED = _keys(
    """
    access account_id assets base_dir build cache compatibility_date compatibility_flags compliance_region exports
    find_additional_modules first_party_worker jsx_factory jsx_fragment keep_names limits logfwdr logpush main
    migrations minify name no_bundle observability placement preserve_file_names preview_urls previews python_modules
    route routes rules triggers tsconfig upload_source_maps workers_dev
    """
)
_NOT_INHERITED = _keys("vars secrets define cloudchamber connect") | (frozenset(BINDINGS) - _INHERITED)
_TOP_ONLY = _keys(
    """
    $schema addresses alias data_blobs dependencies_instrumentation dev env keep_vars legacy_env node_compat
    pages_build_output_dir send_metrics site text_blobs wasm_modules
    """
)


class Settings:
    """What holds in one environment: its own keys over the top's."""

    def __init__(self, top: Table, own: Table, name: str | None) -> None:
        self.top = top
        self.own = own
        self.name = name

    def at(self, key: str) -> Table:
        """The object in which `key` holds."""
        return self.top if key in _INHERITED and key not in self.own else self.own

    def worker_name(self, fallback: str) -> str:
        """The Worker's name; an environment without one of its own has the top's, with its own behind a dash."""
        given = self.at("name").text("name", "the name of the Worker")
        if self.name and (self.own is self.top or "name" not in self.own):
            return f"{given or fallback}-{self.name}"
        return given or fallback


def choose(top: Table, name: str | None) -> Settings:
    """The settings of the environment `name`; those of the top where it is None or empty."""
    top.remark_unknown(_INHERITED | _NOT_INHERITED | _TOP_ONLY)
    environments = top.table("env", "an object of named environments")
    if not name:
        return Settings(top, top, None)
    known = [] if environments is None else list(environments.values)
    if environments is None or not known:
        top.remark(None, f'there is no environment "{name}", nor any other; the top of the file is used')
        return Settings(top, top, name)
    if name not in known:
        raise top.error("env", f'there is no environment "{name}"; the file has {", ".join(known)}')
    own = environments.table(name, "an object")
    if own is None:
        raise environments.error(name, f'"env.{name}" should be an object, not null')
    own.remark_unknown(_INHERITED | _NOT_INHERITED)
    _remark_what_is_not_inherited(top, own, name)
    return Settings(top, own, name)


def _remark_what_is_not_inherited(top: Table, own: Table, name: str) -> None:
    for key in top.values:
        if key in _NOT_INHERITED and key in top and key not in own:
            own.remark(None, f'"{key}" is set at the top and not in env.{name}, and environments do not inherit it')
    ours, theirs = (table.table("vars", "an object of names and values") for table in (own, top))
    if ours is not None and theirs is not None:
        for key in theirs.values:
            if key not in ours.values:
                ours.remark(
                    None, f'the var "{key}" is set at the top and not in env.{name}, and environments do not inherit it'
                )
