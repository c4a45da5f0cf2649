"""The models in memory: one engine for each, lent to whoever answers with it."""

from cfai.bindings.loaded.lease import Lease
from cfai.bindings.loaded.models import LoadedModels
from cfai.bindings.loaded.weights import Engine, Weights

__all__ = ["Engine", "Lease", "LoadedModels", "Weights"]
