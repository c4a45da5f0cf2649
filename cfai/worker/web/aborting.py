"""`AbortController` and `AbortSignal`: telling work to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from cfai.worker.web.callbacks import Later, report
from cfai.worker.web.events import Event, EventTarget
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.promises import error_of
from cfai.worker.web.values import JsClass, JsProxy, JsTypeError

__all__ = ["AbortController", "AbortSignal", "aborted_by"]


class AbortSignal(EventTarget):
    """Whether to go on: `signal.aborted`, `signal.reason`, `addEventListener("abort", ...)`, `throwIfAborted()`.

    ```python
    await fetch(url, signal=AbortSignal.timeout(1000))
    ```
    """

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.reason: Any = None
        self.onabort: Any = None
        self._on_abort: list[Callable[[], Any]] = []

    @classmethod
    def abort(cls, reason: Any = None) -> AbortSignal:
        signal: AbortSignal = cls.new()
        signal.trigger(reason)
        return signal

    @classmethod
    def timeout(cls, delay: float) -> AbortSignal:
        signal: AbortSignal = cls.new()
        error = dom_exception("TimeoutError", "The operation was aborted due to timeout")
        Later(max(0.0, delay) / 1000, lambda: signal.trigger(error))
        return signal

    @classmethod
    def any(cls, signals: Iterable[AbortSignal]) -> AbortSignal:
        """A signal that aborts with the first of `signals`."""
        joint: AbortSignal = cls.new()
        signals = list(signals)
        for signal in signals:
            if signal.aborted:
                joint.trigger(signal.reason)
                return joint
        for signal in signals:
            signal.on_abort(_Follow(joint, signal))
        return joint

    def throwIfAborted(self) -> None:  # noqa: N802  # JavaScript's spelling
        if self.aborted:
            raise error_of(self.reason)

    def trigger(self, reason: Any = None) -> None:
        """Abort, once."""
        if self.aborted:
            return
        self.aborted = True
        self.reason = dom_exception("AbortError", "The operation was aborted") if reason is None else reason
        calls, self._on_abort = self._on_abort, []
        for call in calls:
            call()
        try:
            self.dispatchEvent(Event.new("abort"))
        except (Exception, SystemExit) as error:
            report(error)

    def on_abort(self, call: Callable[[], Any]) -> Callable[[], None]:
        """Call `call` when this aborts, before the script's own listeners. What is returned takes it back."""
        self._on_abort.append(call)

        def forget() -> None:
            if call in self._on_abort:
                self._on_abort.remove(call)

        return forget


class _Follow:
    def __init__(self, joint: AbortSignal, signal: AbortSignal) -> None:
        self._joint, self._signal = joint, signal

    def __call__(self) -> None:
        self._joint.trigger(self._signal.reason)


class AbortController(JsProxy, metaclass=JsClass):
    """`controller = AbortController.new()`; give `controller.signal` to the work, and `controller.abort()` it."""

    def __init__(self) -> None:
        self.signal: AbortSignal = AbortSignal.new()

    def abort(self, reason: Any = None) -> None:
        self.signal.trigger(reason)


async def aborted_by(signal: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """`work`, which is cancelled when `signal` aborts; what is raised then is the signal's reason."""
    if signal is None:
        return await work
    if not isinstance(signal, AbortSignal):
        work.close()
        raise JsTypeError(f"signal: expected an AbortSignal, not {type(signal).__name__}")
    if signal.aborted:
        work.close()
        signal.throwIfAborted()
    running = asyncio.get_running_loop().create_task(work)
    forget = signal.on_abort(running.cancel)
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait([running])
        raise
    finally:
        forget()
    if signal.aborted and running.cancelled():
        signal.throwIfAborted()
    return running.result()
