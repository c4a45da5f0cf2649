"""The weights of models: where they are on this machine, and how they come and go.

find         where a model's weights are, in a folder, in the hub's cache, or imported
pull         from the hub: `listing` says what there is, `hub` has the bytes, `download` one file, `store` its place
importing    from the user's own files
verify       whether they are what they were
remove       and off again
"""

from cfai.weights.finding import DEMO_MODEL, are_here, find, size_on_disk, with_imported
from cfai.weights.home import home, is_offline
from cfai.weights.source import Source, parse_source

__all__ = [
    "DEMO_MODEL",
    "Source",
    "are_here",
    "find",
    "home",
    "is_offline",
    "parse_source",
    "size_on_disk",
    "with_imported",
]
