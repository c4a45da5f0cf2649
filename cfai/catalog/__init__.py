"""Model ids as data: task, limits over time, dates, prices, weights.

`models.json` has one model per line, so that a change of one figure is a change of one line. `limits` holds the eras
of a model, oldest first; a model without them has the context window of its row and the usual default of 256 tokens.
"""

from cfai.catalog.as_of import parse_as_of
from cfai.catalog.catalog import Catalog
from cfai.catalog.model import Era, Family, Limits, Model, Neurons, Precision, Price, Status, Task, Weights

__all__ = [
    "Catalog",
    "Era",
    "Family",
    "Limits",
    "Model",
    "Neurons",
    "Precision",
    "Price",
    "Status",
    "Task",
    "Weights",
    "parse_as_of",
]
