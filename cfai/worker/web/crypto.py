"""`crypto`."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from cfai.worker.web.values import Uint8Array

__all__ = ["crypto"]


class _Crypto:
    """`crypto`."""

    def randomUUID(self) -> str:  # noqa: N802
        return str(uuid.uuid4())

    def getRandomValues(self, array: Any) -> Any:  # noqa: N802
        data = secrets.token_bytes(len(array))
        if isinstance(array, bytearray | list):
            array[:] = data
            return array
        return Uint8Array(data)


crypto = _Crypto()
