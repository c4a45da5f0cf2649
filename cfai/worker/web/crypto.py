"""`crypto`: random values here, keys and what is done with them in `subtle`."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from functools import cached_property
from typing import Any

from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.promises import Promise
from cfai.worker.web.proxies import JsProxy
from cfai.worker.web.streams.identity import bytes_of
from cfai.worker.web.streams.writable import WritableStream
from cfai.worker.web.subtle import Subtle, hash_of
from cfai.worker.web.typed_arrays import TypedArray

__all__ = ["crypto"]

# https://www.w3.org/TR/WebCryptoAPI/#Crypto-method-getRandomValues
MOST_RANDOM = 65536


class DigestStream(WritableStream):
    """A digest of what is written: `crypto.DigestStream.new("SHA-256")`, then `await stream.digest`."""

    def __init__(self, algorithm: Any) -> None:
        self._hash = hashlib.new(hash_of(algorithm))
        self.digest = Promise.pending().mark_handled()
        self.bytesWritten = 0
        super().__init__({"write": self._add, "close": self._finish, "abort": self.digest.fail})

    def _add(self, chunk: Any, controller: Any) -> None:
        data = bytes_of(chunk)
        self.bytesWritten += len(data)
        self._hash.update(data)

    def _finish(self) -> None:
        self.digest.settle(_buffer(self._hash.digest()))


class _Crypto(JsProxy):
    """`crypto`."""

    DigestStream = DigestStream

    @cached_property
    def subtle(self) -> Subtle:
        return Subtle()

    def randomUUID(self) -> str:  # noqa: N802  # JavaScript's spelling
        return str(uuid.uuid4())

    def getRandomValues(self, array: Any) -> Any:  # noqa: N802
        """Fill `array` with random bytes."""
        if isinstance(array, TypedArray):
            if array.format in "efd":
                problem = "ArrayBufferView argument to getRandomValues() must be an integer-typed view."
                raise dom_exception("TypeMismatchError", problem)
            self._require_few(array.byteLength)
            array.assign(secrets.token_bytes(array.byteLength))
            return array
        self._require_few(len(array))
        if isinstance(array, bytearray | memoryview | list):
            array[:] = secrets.token_bytes(len(array))
            return array
        return Uint8Array(secrets.token_bytes(len(array)))

    def _require_few(self, count: int) -> None:
        if count > MOST_RANDOM:
            problem = f"getRandomValues() only accepts buffers of size <= 64K but provided {count} bytes."
            raise dom_exception("QuotaExceededError", problem)


def _buffer(data: bytes) -> ArrayBuffer:
    return Uint8Array(data).buffer


crypto = _Crypto()
