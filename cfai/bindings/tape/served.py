"""A tape behind a server: clients read why there is no answer, and the one who runs the server does, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cfai.binding import Call, Reply
from cfai.bindings.tape.binding import TapeBinding
from cfai.bindings.tape.errors import TapeError
from cfai.errors import AiError, EngineFailure
from cfai.request_id import of_request
from cfai.wording import count

__all__ = ["ServedTape"]


class ServedTape:
    """`tape`, whose complaints are refusals.

    ```python
    ServedTape(TapeBinding("tape.json", repeat=True), on_notice=print)
    ```

    on_notice  called with a line that the user should see
    """

    def __init__(self, tape: TapeBinding, *, on_notice: Callable[[str], None]) -> None:
        self._tape = tape
        self._on_notice = on_notice

    async def send(self, call: Call) -> Reply:
        try:
            return await self._tape.send(call)
        except TapeError as error:
            self._on_notice(str(error))
            # 400, since clients ask again after a 500, and the tape will say the same.
            refusal = AiError.of(EngineFailure.code, str(error), status=400)
            return Reply.from_error(refusal, {"cf-ai-req-id": of_request()})

    def stats(self) -> dict[str, Any]:
        return self._tape.stats()

    async def models_here(self) -> list[str]:
        return await self._tape.models_here()

    def close_tape(self) -> None:
        """Write what was recorded, and say so; what cannot be written is said as well."""
        try:
            if recorded := self._tape.close_tape():
                self._on_notice(f"recorded {count(recorded, 'call')} in {self._tape.path}")
        except (OSError, TypeError, ValueError) as error:
            self._on_notice(f"{self._tape.path} could not be written: {error}")

    async def aclose(self) -> None:
        """End what runs. The tape is written by `close_tape`, when the last streams have ended."""
        await self._tape.close_inner()
