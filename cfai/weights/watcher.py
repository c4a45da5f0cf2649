"""What whoever waits for weights gets to see of it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NobodyWatches", "Watcher"]


class Watcher(Protocol):
    """Called while weights come, from any thread.

    ```python
    pull("@cf/meta/llama-2-7b-chat-int8", watcher=NobodyWatches())
    ```
    """

    def begins(self, files: int, size: int, here: int) -> None:
        """So many files and bytes it will be, of which `here` bytes are on this machine."""

    def moved(self, file: str, count: int, size: int) -> None:
        """`count` more bytes of a file of `size` came; they are negative where it has to begin anew."""

    def done(self, file: str) -> None:
        """A file is there, and its checksum is right."""

    def says(self, line: str) -> None:
        """A line for the user."""


class NobodyWatches:
    """A watcher that looks away."""

    def begins(self, files: int, size: int, here: int) -> None: ...

    def moved(self, file: str, count: int, size: int) -> None: ...

    def done(self, file: str) -> None: ...

    def says(self, line: str) -> None: ...
