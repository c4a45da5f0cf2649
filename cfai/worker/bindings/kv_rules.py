"""What KV takes: names, options and sizes, and the errors for what it does not take.

The wording is workerd's (`src/workerd/api/kv.c++`) and, where an error has a number, miniflare's (`workers/kv`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NoReturn

from cfai.worker.web.values import JSON, JsException, JsTypeError, jsnull

MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 25 << 20
MAX_METADATA_BYTES = 1024
MAX_LISTED = 1000
MAX_KEYS_AT_ONCE = 100
MIN_EXPIRATION_SECONDS = 60
MIN_CACHE_SECONDS = 30


def failed(method: str, status: int, problem: str) -> JsException:
    return JsException(f"KV {method} failed: {status} {problem}")


def is_nothing(value: Any) -> bool:
    return value is None or value is jsnull


def too_large(length: int) -> JsException:
    return failed("PUT", 413, f"Value length of {length} exceeds limit of {MAX_VALUE_BYTES}.")


def checked_name(method: str, key: str) -> str:
    if not key:
        raise JsTypeError("Key name cannot be empty.")
    if key in (".", ".."):
        raise JsTypeError(f'"{key}" is not allowed as a key name.')
    check_length(method, key)
    return key


def check_listed_name(key: str) -> None:
    if not key:
        raise failed("GET_BULK", 400, "Key names must not be empty")
    if key in (".", ".."):
        raise failed("GET_BULK", 400, f'Illegal key name "{key}". Please use a different name.')
    check_length("GET_BULK", key)


def check_length(method: str, key: str) -> None:
    if (length := len(key.encode())) > MAX_KEY_BYTES:
        problem = f"UTF-8 encoded length of {length} exceeds key length limit of {MAX_KEY_BYTES}."
        raise failed(method, 414, problem)


def as_integer(value: Any) -> int:
    """`value` as workerd reads an integer of 32 bits."""
    try:
        number = int(float(value)) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):  # null, a text without a number in it, NaN, Infinity
        number = 0
    if not -(2**31) <= number < 2**31:
        raise JsTypeError("Value out of range. Must be between -2147483648 and 2147483647 (inclusive).")
    return number


def check_cache_ttl(method: str, options: Mapping[str, Any]) -> None:
    if "cacheTtl" in options and (seconds := as_integer(options["cacheTtl"])) < MIN_CACHE_SECONDS:
        problem = f"Invalid cache_ttl of {seconds}. Cache TTL must be at least {MIN_CACHE_SECONDS}."
        raise failed(method, 400, problem)


def expiration_of(options: Mapping[str, Any]) -> int | None:
    """When an entry expires, in seconds since 1970."""
    now = int(time.time())
    at = as_integer(options["expiration"]) if "expiration" in options else None
    if "expirationTtl" in options:
        seconds = as_integer(options["expirationTtl"])
        if seconds <= 0:
            _refuse("expiration_ttl", seconds, "Please specify integer greater than 0.")
        if seconds < MIN_EXPIRATION_SECONDS:
            _refuse("expiration_ttl", seconds, f"Expiration TTL must be at least {MIN_EXPIRATION_SECONDS}.")
        return now + seconds
    if at is None:
        return None
    if at <= now:
        wanted = "Please specify integer greater than the current number of seconds since the UNIX epoch."
        _refuse("expiration", at, wanted)
    if at < now + MIN_EXPIRATION_SECONDS:
        wanted = f"Expiration times must be at least {MIN_EXPIRATION_SECONDS} seconds in the future."
        _refuse("expiration", at, wanted)
    return at


def _refuse(name: str, value: int, wanted: str) -> NoReturn:
    raise failed("PUT", 400, f"Invalid {name} of {value}. {wanted}")


def metadata_of(options: Mapping[str, Any]) -> str | None:
    metadata = options.get("metadata")
    if is_nothing(metadata):
        return None
    text = JSON.stringify(metadata)
    assert text is not None  # only None has no JSON
    if (length := len(text.encode())) > MAX_METADATA_BYTES:
        raise failed("PUT", 413, f"Metadata length of {length} exceeds limit of {MAX_METADATA_BYTES}.")
    return text
