"""A file of an adapter on its way into a folder, and what Cloudflare would say of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cfai.adapters import CONFIG_FILE, FILES, WEIGHTS_FILE, AdapterConfig, AdapterProblem, place_of, read_header
from cfai.errors import BadInput, EngineFailure, IncompleteRequest, RequestTooLarge
from cfai.wording import shortened

__all__ = ["FinetuneLimits", "Upload", "limits_on", "unwritable", "write_whole"]

MODEL_TYPES = ("mistral", "gemma", "llama")


@dataclass(frozen=True, slots=True)
class FinetuneLimits:
    """What an adapter may be, and how many there may be.

    rank   the largest one
    bytes  its weights have fewer
    most   adapters of an account
    """

    rank: int
    bytes: int
    most: int


_ERAS: tuple[tuple[date, FinetuneLimits], ...] = (
    # https://developers.cloudflare.com/workers-ai/features/fine-tunes/loras/ when the feature came, when more models
    # took adapters (https://developers.cloudflare.com/changelog/post/2025-04-11-new-models-faster-inference/), and
    # now.
    (date(2024, 4, 2), FinetuneLimits(rank=8, bytes=100_000_000, most=30)),
    (date(2025, 4, 11), FinetuneLimits(rank=32, bytes=300_000_000, most=30)),
    (date(2026, 9, 1), FinetuneLimits(rank=32, bytes=300_000_000, most=100)),
)


def limits_on(as_of: date | None = None) -> FinetuneLimits:
    """The limits on the day `as_of`, or today's.

    ```python
    limits_on(date(2024, 6, 1)).rank  # 8
    ```
    """
    held = [limits for start, limits in _ERAS if as_of is None or start <= as_of]
    return (held or [_ERAS[0][1]])[-1]


class Upload:
    """A file on its way into a finetune's folder, under a name of its own until it is whole and looked at."""

    def __init__(self, folder: Path, limits: FinetuneLimits, on_done: Callable[[], None]) -> None:
        self._folder = folder
        self._on_done = on_done
        self._limits = limits
        self._part = folder / f".part-{secrets.token_hex(8)}"
        self._bytes = 0
        try:
            self._file = self._part.open("xb")
        except OSError as error:
            raise unwritable(error) from error

    def write(self, data: bytes) -> None:
        """Append. Raises `RequestTooLarge` once there is more than an adapter may have."""
        self._bytes += len(data)
        if self._bytes >= self._limits.bytes:
            raise RequestTooLarge(f"an adapter must have less than {self._limits.bytes // 1_000_000} MB")
        try:
            self._file.write(data)
        except OSError as error:
            raise unwritable(error) from error

    def finish(self, file_name: str) -> None:
        """Let it be the finetune's file of this name. Raises `BadInput` for what no adapter has."""
        if file_name not in FILES:
            raise BadInput(f"file_name must be {' or '.join(FILES)}, it is {shortened(repr(file_name), 60)}")
        if not self._bytes:
            raise IncompleteRequest("file", hint=f"send the bytes of {file_name}")
        target = self._folder / file_name
        if target.exists():
            hint = "files cannot be replaced; remove the finetune, or create another one"
            raise BadInput(f"{file_name} was uploaded before", hint=hint)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._check(file_name)
            self._part.replace(target)
            self._on_done()
        except OSError as error:
            raise unwritable(error) from error

    def close(self) -> None:
        """Forget what was not finished."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _check(self, file_name: str) -> None:
        try:
            if file_name == WEIGHTS_FILE:
                if not (tensors := read_header(self._part)):
                    raise AdapterProblem(f"{WEIGHTS_FILE} has no weights")
                for name in tensors:
                    place_of(name)
                return
            config = AdapterConfig.parse(self._part.read_bytes())
        except AdapterProblem as problem:
            raise BadInput(str(problem).replace(self._part.name, file_name)) from problem
        if config.largest_rank > self._limits.rank:
            raise BadInput(f"{CONFIG_FILE}: the rank r is {config.largest_rank}, {self._limits.rank} is the largest")
        if config.model_type not in MODEL_TYPES:
            given = "missing" if config.model_type is None else repr(shortened(config.model_type, 60))
            raise BadInput(
                f"{CONFIG_FILE}: model_type must be one of {', '.join(MODEL_TYPES)}, it is {given}",
                hint='PEFT does not write it: add a line such as "model_type": "mistral"',
            )


def write_whole(file: Path, data: bytes) -> None:
    """The whole file or none of it."""
    part = file.with_name(f".part-{secrets.token_hex(8)}")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def unwritable(error: OSError) -> EngineFailure:
    return EngineFailure(f"the finetune cannot be kept: {error.strerror or error}", hint=f"look at {error.filename}")
