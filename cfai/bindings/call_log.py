"""The calls that a double was asked, each with what became of it."""

from __future__ import annotations

from cfai.binding import Call
from cfai.tasks.parts import Finish, Usage

__all__ = ["LoggedCall"]


class LoggedCall(Call):
    """A call as it came in, equal to it, and its answer so far.

    ```python
    fake.calls[0].inputs["prompt"]  # 'where is new york?'
    fake.calls[0].usage.completion_tokens  # 2
    ```

    usage          tokens, once the answer has ended; of one that broke off those that were made
    neurons        what the answer cost; 0 where the model's price is not known
    finish_reason  why the answer ended, once it has
    error          what the call was refused with, or what ended its stream
    finished       whether the answer came to its end: all of a stream was read
    closed         whether the caller closed the stream before that
    """

    __slots__ = ("closed", "error", "finish_reason", "finished", "neurons", "usage")
    __setattr__ = object.__setattr__

    def __init__(self, call: Call) -> None:
        super().__init__(call.model, call.inputs, call.options, call.headers, call.form)
        self.usage: Usage | None = None
        self.neurons = 0.0
        self.finish_reason: Finish | None = None
        self.error: Exception | None = None
        self.finished = False
        self.closed = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Call):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Call.__slots__)

    __hash__ = None  # type: ignore[assignment]  # inputs are mutable
