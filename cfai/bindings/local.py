"""The local runtime: models in this process."""

from __future__ import annotations

from cfai.binding import Call, Reply


class LocalBinding:
    async def send(self, call: Call) -> Reply:
        raise NotImplementedError

    async def aclose(self) -> None: ...
