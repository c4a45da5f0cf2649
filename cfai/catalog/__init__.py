"""Model ids as data: task, limits over time, dates, prices, weights.

`models.json` has one model per line, so that a change of one figure is a change of one line. What stands in a row are
today's figures; `earlier` and `prompts` have what held before a day. `sources.json` says where figures are from: by
the name of the field, unless the row's own `sources` says otherwise.
"""

from cfai.catalog.as_of import parse_as_of
from cfai.catalog.catalog import Catalog
from cfai.catalog.known import catalog_of
from cfai.catalog.model import (
    Alias,
    Capability,
    Era,
    Evidence,
    Family,
    Limits,
    Model,
    Neurons,
    Precision,
    Price,
    PromptEra,
    Status,
    Task,
    Weights,
)
from cfai.catalog.prompts import PromptTemplate, bare_form, system_of, template_of
from cfai.catalog.retirement import answering, note_on
from cfai.catalog.rows import ROW_FIELDS
from cfai.catalog.search import Search
from cfai.catalog.sources import Source, sources, sources_of

__all__ = [
    "ROW_FIELDS",
    "Alias",
    "Capability",
    "Catalog",
    "Era",
    "Evidence",
    "Family",
    "Limits",
    "Model",
    "Neurons",
    "Precision",
    "Price",
    "PromptEra",
    "PromptTemplate",
    "Search",
    "Source",
    "Status",
    "Task",
    "Weights",
    "answering",
    "bare_form",
    "catalog_of",
    "note_on",
    "parse_as_of",
    "sources",
    "sources_of",
    "system_of",
    "template_of",
]
