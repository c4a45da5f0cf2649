"""The weights of models: where they are on this machine."""

from cfai.weights.finding import DEMO_MODEL, are_here, find, size_on_disk
from cfai.weights.home import home, is_offline
from cfai.weights.source import Source, parse_source

__all__ = ["DEMO_MODEL", "Source", "are_here", "find", "home", "is_offline", "parse_source", "size_on_disk"]
