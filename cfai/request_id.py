"""The id of the request that is being answered, for its log lines and the headers of its reply."""

from __future__ import annotations

import uuid
from contextvars import ContextVar

__all__ = ["of_request", "request_id"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set by a server when a request arrives; what the request starts inherits it. Empty elsewhere."""


def of_request() -> str:
    """The id of the request that is being answered; a new one where no server has given it one."""
    return request_id.get() or str(uuid.uuid4())
