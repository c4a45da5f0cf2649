"""What a script raises, as an answer."""

from __future__ import annotations

import asyncio
import dis

import anyio

from cfai.worker.web.errors import JsException
from cfai.worker.web.messages import Response

__all__ = ["failure", "is_the_scripts", "python_error", "said"]


def failure(problem: str) -> Response:
    """A response of status 500 that says `problem`."""
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return Response.new(problem, {"status": 500, "headers": headers})


def python_error(trace: str) -> str:
    """`trace` as wrangler dev shows it."""
    return f"PythonError: {trace}"


def said(error: Exception) -> str:
    """An error of the runtime's own, which has no traceback to show."""
    text = str(error) if isinstance(error, JsException) else f"{type(error).__name__}: {error}"
    return "\n".join([text, *getattr(error, "__notes__", ()), ""])


def is_the_scripts(error: BaseException) -> bool:
    """Whether the script raised `error`, as opposed to this request being cancelled from outside."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return _has_a_raise(error)
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() == 0
    return not isinstance(error, anyio.get_cancelled_exc_class())


_RAISE = dis.opmap["RAISE_VARARGS"]
# Its handler of SIGINT, which raises by a statement.
_RUNNER = asyncio.Runner.__module__


def _has_a_raise(error: BaseException) -> bool:
    """Whether a `raise` is where `error` began. A signal, and the end of a coroutine, come between instructions."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__") == _RUNNER:
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE
