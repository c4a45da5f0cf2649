"""`workers.FormData`."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from cfai.worker.compat import current
from cfai.worker.sdk.blobs import Blob, File
from cfai.worker.web import blobs, forms

__all__ = ["FormData"]


class FormData(MutableMapping[str, Any]):
    """A form as a mapping; a name may be there several times.

    ```python
    form = await request.form_data()
    form["name"], form.get_all("tag"), form["upload"].name
    ```
    """

    def __init__(self, form_data: forms.FormData | dict[str, Any] | None = None) -> None:
        if form_data and not isinstance(form_data, dict | forms.FormData):
            raise TypeError("Expected form_data to be a dict or an instance of FormData")
        self.js_object = form_data if isinstance(form_data, forms.FormData) else forms.FormData.new()
        if isinstance(form_data, dict):
            for name, value in form_data.items():
                self.append(name, value)

    def __getitem__(self, key: str) -> Any:
        return _python(self.js_object.get(key))

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list):
            raise TypeError("Expected single item in arguments to FormData.__setitem__")
        self.js_object.set(key, _javascript(value))

    def __delitem__(self, key: str) -> None:
        self.js_object.delete(key)

    delete = __delitem__

    def __contains__(self, key: object) -> bool:
        return self.js_object.has(key)

    def __iter__(self) -> Iterator[str]:
        return self.js_object.keys()

    # Not the views of a Mapping: a name that is there twice is told twice.
    def keys(self) -> Iterator[str]:  # type: ignore[override]
        return self.js_object.keys()

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        return map(_python, self.js_object.values())

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        return ((name, _python(value)) for name, value in self.js_object.entries())

    def __len__(self) -> int:
        problem = "object of type 'generator' has no len()"
        current().lenient("len(form), or a form as a condition", lambda: TypeError(problem))
        return sum(1 for _ in self)

    def append(self, key: str, value: Any, filename: str | None = None) -> None:
        self.js_object.append(key, _javascript(value), filename)

    def get_all(self, key: str) -> list[Any]:
        return [_python(value) for value in self.js_object.getAll(key)]


def _javascript(value: Any) -> Any:
    return value.js_object if isinstance(value, Blob) else value


def _python(value: Any) -> Any:
    if isinstance(value, blobs.File):
        return File(value, value.name)
    return Blob(value) if isinstance(value, blobs.Blob) else value
