"""`workers.fetch`."""

from __future__ import annotations

from http import HTTPMethod
from typing import Any

from cfai.worker.pyfetch import pyfetch
from cfai.worker.sdk.forms import FormData
from cfai.worker.sdk.requests import Request
from cfai.worker.sdk.responses import Response

__all__ = ["fetch"]


async def fetch(resource: Any, **other_options: Any) -> Response:
    """Ask the network; what fails on the way there is an OSError.

    ```python
    response = await fetch("https://example.com", method="POST", headers={"x-a": "1"}, body="text")
    ```
    """
    if isinstance(resource, Request):
        resource = resource.js_object
    if isinstance(method := other_options.get("method"), HTTPMethod):
        other_options["method"] = method.value
    if isinstance(body := other_options.get("body"), FormData):
        other_options["body"] = body.js_object
    return Response((await pyfetch(resource, **other_options)).js_response)
