"""The models in memory: one engine for each on every device, lent to whoever answers with it."""

from cfai.bindings.loaded.lease import Lease
from cfai.bindings.loaded.lives import Lives
from cfai.bindings.loaded.models import KEEP_ALIVE, Life, LoadedModels
from cfai.bindings.loaded.resident import Resident
from cfai.bindings.loaded.ticket import Ticket
from cfai.bindings.loaded.weights import Claim, Engine, Loader, Weights

__all__ = [
    "KEEP_ALIVE",
    "Claim",
    "Engine",
    "Lease",
    "Life",
    "Lives",
    "LoadedModels",
    "Loader",
    "Resident",
    "Ticket",
    "Weights",
]
