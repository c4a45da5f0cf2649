"""`Event`, `EventTarget` and the kinds of events that Workers have."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from typing import Any

from cfai.worker.web.callbacks import begin, kept, reported
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.values import JsArray, JsClass, JsProxy, JsTypeError, options_of

__all__ = ["CloseEvent", "CustomEvent", "ErrorEvent", "Event", "EventTarget", "MessageEvent"]


class Event(JsProxy, metaclass=JsClass):
    """`Event.new("ready")`"""

    NONE, CAPTURING_PHASE, AT_TARGET, BUBBLING_PHASE = range(4)

    def __init__(self, type: str, init: Any = None) -> None:  # noqa: A002  # JavaScript's name
        options = options_of(init)
        self.type = str(type)
        self.bubbles = bool(options.get("bubbles"))
        self.cancelable = bool(options.get("cancelable"))
        self.composed = bool(options.get("composed"))
        self.defaultPrevented = False
        self.isTrusted = False
        self.timeStamp = time.time_ns() // 1_000_000
        self.target: EventTarget | None = None
        self.currentTarget: EventTarget | None = None
        self.is_stopped = False
        self._take(options)

    def _take(self, options: dict[str, Any]) -> None:
        """What a kind of event has besides."""

    @property
    def srcElement(self) -> EventTarget | None:  # noqa: N802  # JavaScript's spelling
        return self.target

    @property
    def eventPhase(self) -> int:  # noqa: N802
        return self.NONE if self.currentTarget is None else self.AT_TARGET

    @property
    def returnValue(self) -> bool:  # noqa: N802
        return not self.defaultPrevented

    def preventDefault(self) -> None:  # noqa: N802
        self.defaultPrevented = self.defaultPrevented or self.cancelable

    def stopPropagation(self) -> None:  # noqa: N802
        """An event has one target here, so there is nowhere to propagate to."""

    def stopImmediatePropagation(self) -> None:  # noqa: N802
        self.is_stopped = True

    def composedPath(self) -> JsArray:  # noqa: N802
        return JsArray([] if self.currentTarget is None else [self.currentTarget])

    def __repr__(self) -> str:
        return f"[object {type(self).__name__}]"


class CustomEvent(Event):
    """`CustomEvent.new("ready", detail=...)`"""

    def _take(self, options: dict[str, Any]) -> None:
        self.detail = options.get("detail")


class MessageEvent(Event):
    """A message of a WebSocket: `event.data` is a str or bytes."""

    def _take(self, options: dict[str, Any]) -> None:
        self.data = options.get("data")
        self.origin = options.get("origin")
        self.lastEventId = options.get("lastEventId", "")
        self.source = options.get("source")
        self.ports = JsArray(options.get("ports") or ())


class CloseEvent(Event):
    """The end of a WebSocket: `event.code`, `event.reason`, `event.wasClean`."""

    def _take(self, options: dict[str, Any]) -> None:
        self.code = int(options.get("code") or 0)
        self.reason = str(options.get("reason") or "")
        self.wasClean = bool(options.get("wasClean"))


class ErrorEvent(Event):
    """What went wrong: `event.message`, `event.error`."""

    def _take(self, options: dict[str, Any]) -> None:
        self.message = str(options.get("message") or "")
        self.error = options.get("error")
        self.filename, self.lineno, self.colno = "", 0, 0


@dataclass(slots=True)
class _Listener:
    call: Any
    once: bool


class EventTarget(JsProxy, metaclass=JsClass):
    """Listeners by the type of event. `target.onready = call` counts as one, too."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[_Listener]] = {}

    def addEventListener(self, type: str, listener: Any, options: Any = None) -> None:  # noqa: A002, N802
        """Call `listener` for each such event: `{"once": True}` the next only, `{"signal": ...}` until it aborts."""
        if listener is None:
            return
        given: dict[str, Any] = {"capture": options} if isinstance(options, bool) else options_of(options)
        if given.get("capture"):
            raise JsTypeError("addEventListener(): options.capture must be false.")
        signal = given.get("signal")
        if signal is not None and signal.aborted:
            return
        listeners = self._listeners.setdefault(type, [])
        if any(one.call is listener for one in listeners):
            return
        kept(listener, "addEventListener")
        listeners.append(_Listener(listener, bool(given.get("once"))))
        if signal is not None:
            signal.on_abort(lambda: self.removeEventListener(type, listener))

    def removeEventListener(self, type: str, listener: Any, options: Any = None) -> None:  # noqa: A002, N802
        listeners = self._listeners.get(type, [])
        listeners[:] = [one for one in listeners if one.call is not listener]

    def dispatchEvent(self, event: Event) -> bool:  # noqa: N802
        """Call the listeners, in the order in which they came. False if one of them prevented the default."""
        if event.currentTarget is not None:
            raise dom_exception("InvalidStateError", "The event is already being dispatched.")
        event.target = event.currentTarget = self
        try:
            self._dispatch(event)
        finally:
            event.currentTarget = None
        return not event.defaultPrevented

    def _dispatch(self, event: Event) -> None:
        if (old_style := getattr(self, f"on{event.type}", None)) is not None:
            _call(old_style, event)
        for one in list(self._listeners.get(event.type, ())):
            if event.is_stopped:
                return
            if one not in self._listeners[event.type]:
                continue
            if one.once:
                self.removeEventListener(event.type, one.call)
            _call(one.call, event)


def _call(listener: Any, event: Event) -> None:
    call = listener if callable(listener) else listener.handleEvent
    result = call(event)
    if result is True:
        event.preventDefault()
    elif inspect.isawaitable(result):
        begin(reported(result))
