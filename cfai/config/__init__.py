"""wrangler.json, wrangler.jsonc, wrangler.toml, `.dev.vars` and `.env` -> one `Config`.

project       the whole: where the file is, what is in it, what is refused
environments  which keys an `env.<name>` inherits; flags: the compatibility flags that concern Python
bindings      what the config declares for `env`
cron          the expressions of `triggers`
secrets       which of the dotenv files count; dotenv reads their syntax
document      a file's values and their lines; jsonc and toml_lines find those
problems      errors and remarks, with file and line

settings      `cfai.toml` or `[tool.cfai]`: the user's own, and no part of a Worker. It knows the catalog, so it is
              imported by itself; model_settings is one model of it, values what its keys may hold
"""

from cfai.config.bindings import BINDINGS, AssetsConfig, D1Database, KvNamespace, VectorizeIndex
from cfai.config.cron import Cron, CronError
from cfai.config.document import read_document
from cfai.config.dotenv import parse_dotenv
from cfai.config.flags import PYTHON_FLAGS, problems_of_flags
from cfai.config.problems import ConfigError, Remark
from cfai.config.project import CONFIG_NAMES, Config, find_config, load_config, parse_variable

__all__ = [
    "BINDINGS",
    "CONFIG_NAMES",
    "PYTHON_FLAGS",
    "AssetsConfig",
    "Config",
    "ConfigError",
    "Cron",
    "CronError",
    "D1Database",
    "KvNamespace",
    "Remark",
    "VectorizeIndex",
    "find_config",
    "load_config",
    "parse_dotenv",
    "parse_variable",
    "problems_of_flags",
    "read_document",
]
