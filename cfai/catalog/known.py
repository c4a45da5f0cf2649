"""The catalog that whoever answers goes by."""

from __future__ import annotations

from cfai.catalog.catalog import Catalog

__all__ = ["catalog_of"]


def catalog_of(binding: object) -> Catalog:
    """The catalog of a binding, its attribute `catalog`; of one that has none, the catalog that ships with cfai.

    ```python
    catalog_of(LocalBinding({"@cf/mine/llama": "./llama"})).get("@cf/mine/llama")
    ```
    """
    catalog = getattr(binding, "catalog", None)
    return catalog if isinstance(catalog, Catalog) else Catalog.builtin()
