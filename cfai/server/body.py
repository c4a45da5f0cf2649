"""A request body as JSON, whatever a client sends."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import anyio
from anyio import to_thread
from starlette.types import Receive

from cfai.errors import BadInput, IncompleteRequest, RequestAborted, RequestTimeout, RequestTooLarge

__all__ = ["MAX_BODY", "MAX_DEPTH", "parse_json", "read_body", "read_json"]

MAX_BODY = 10 * 1024 * 1024
"""Bytes; a longer body is refused with 413 and not kept."""

MAX_DEPTH = 64
"""How deeply objects and arrays may be nested."""

PATIENCE_SECONDS = 60.0
"""How long a client may take for the next part of a body."""

LONG_BODY = 256 * 1024
"""From this many bytes on, JSON is read outside the event loop."""


async def read_json(receive: Receive) -> Any:
    """The JSON value of the whole body; raises what `read_body` and `parse_json` raise."""
    body = await read_body(receive)
    return parse_json(body) if len(body) < LONG_BODY else await to_thread.run_sync(parse_json, body)


async def read_body(receive: Receive, *, patience: float = PATIENCE_SECONDS) -> bytes:
    """The whole body.

    Raises `RequestTooLarge`, `RequestAborted` if the client leaves while it sends, or `RequestTimeout` if nothing comes
    for `patience` seconds.
    """
    body = bytearray()
    while True:
        with anyio.move_on_after(patience) as waiting:
            message = await receive()
        if waiting.cancelled_caught:
            raise RequestTimeout()
        if message["type"] == "http.disconnect":
            raise RequestAborted()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise RequestTooLarge(f"a body may have {MAX_BODY} bytes, 10 MiB")
        if not message.get("more_body"):
            return bytes(body)


def parse_json(body: bytes) -> Any:
    """The JSON value in `body`, read as UTF-8 whatever the content type says: the documented curl lines send none.

    Raises `IncompleteRequest` (3003) for an empty or broken body, `BadInput` (5006) for one that no model input is.
    """
    if not body.strip():
        raise IncompleteRequest("body", hint='send a JSON object such as {"prompt": "hello"}')
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise IncompleteRequest(f"body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise IncompleteRequest(f"body is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadInput(f"the body is nested more than {MAX_DEPTH} deep") from None
    except ValueError:
        # json reads integers of more than 4300 digits with int(), which refuses them.
        raise BadInput("the body has a number with too many digits") from None
    _check_depth(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not a JSON number", "", 0)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return
    raise BadInput(f"the body is nested more than {MAX_DEPTH} deep")
