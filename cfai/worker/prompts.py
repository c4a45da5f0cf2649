"""Scripts that stop and ask: `breakpoint()`, `pdb`, `input()`.

They read lines from a terminal whose keys are the supervisor's. So the first question asks for the terminal, and it is
given back when the event loop goes on: between two commands to a debugger nobody else may read a key. Meanwhile every
other request of this process waits.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections.abc import Callable

from cfai.dev.channel import Supervisor

__all__ = ["Prompts"]


class Prompts:
    """Makes `input`, and with it `pdb`, ask the supervisor first."""

    def __init__(self, supervisor: Supervisor, loop: asyncio.AbstractEventLoop) -> None:
        self._has_terminal = False
        self._supervisor = supervisor
        self._loop = loop
        self._lock = threading.Lock()
        self._ask: Callable[[object], str] = builtins.input
        builtins.input = self._input

    def has_the_terminal(self) -> bool:
        return self._has_terminal

    def _input(self, prompt: object = "", /) -> str:
        with self._lock:
            if not self._has_terminal:
                self._supervisor.tell("terminal")
                self._supervisor.next_order()
                self._has_terminal = True
                self._loop.call_soon_threadsafe(self._give_back)
        return self._ask(prompt)

    def _give_back(self) -> None:
        self._has_terminal = False
        self._supervisor.tell("done")
