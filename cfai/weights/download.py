"""One file of the hub to its place: from where it broke off, and only if its checksum is right.

What has come is kept in a partial file beside the place where it will be, and is the start of the next attempt, in this
process or in another one after it. A file is moved to its place whole, so that nobody reads half of one.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from cfai.errors import EngineFailure, WeightsMissing
from cfai.weights.digest import CHUNK, Hash
from cfai.weights.hub import ATTEMPTS, Broken, Hub, Stopped
from cfai.weights.layout import header_length, parse_header
from cfai.weights.listing import HubFile, Listing
from cfai.weights.watcher import Watcher

__all__ = ["download"]


def download(
    hub: Hub, listing: Listing, file: HubFile, *, to: Path, partial: Path, watcher: Watcher, stop: threading.Event
) -> None:
    """Fetch `file` to the path `to`, unless it is there.

    partial  where its bytes are collected; on the same file system, and nobody else writes it

    Raises `WeightsMissing` for a safetensors file whose header does not fit its length, `Stopped` soon after `stop` is
    set, and `HubUnreachable` when several attempts in a row bring nothing, or two the wrong bytes.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if to.is_file() and to.stat().st_size == file.size and file.digest.matches(to):
        watcher.moved(file.name, file.size, file.size)
        watcher.done(file.name)
        return
    for is_last in (False, True):
        if _collect(hub, listing, file, partial, watcher, stop) == file.digest.value:
            partial.replace(to)
            watcher.done(file.name)
            return
        # A partial file of another day may be damaged; the second time all bytes are new.
        partial.unlink()
        watcher.moved(file.name, -file.size, file.size)
        if not is_last:
            watcher.says(f"{file.name} came with wrong bytes and is fetched again")
    raise hub.unreachable(file.name, Broken(f"twice it came with other bytes than its checksum {file.digest} is for"))


def _collect(hub: Hub, listing: Listing, file: HubFile, partial: Path, watcher: Watcher, stop: threading.Event) -> str:
    """Write what is missing into `partial`; the checksum of all its bytes."""
    with partial.open("a+b", buffering=0) as out:
        hashed, have = _read_again(file, out.fileno(), watcher)
        attempt, is_sound = 0, not file.name.endswith(".safetensors")
        while have < file.size:
            before = have
            try:
                with hub.read(listing, file, have) as (begins, chunks):
                    if begins != have:  # a hub, or a proxy on the way, that knows no ranges
                        watcher.moved(file.name, -have, file.size)
                        out.truncate(0)
                        hashed, have = file.digest.begin(file.size), 0
                    if begins not in (0, before):
                        raise Broken(f"asked for bytes from {before} on, those from {begins} on came")
                    for chunk in chunks:
                        if stop.is_set():
                            raise Stopped
                        if have + len(chunk) > file.size:
                            raise Broken(f"more than the {file.size} bytes came that it has")
                        out.write(chunk)
                        hashed.update(chunk)
                        have += len(chunk)
                        watcher.moved(file.name, len(chunk), file.size)
                        is_sound = is_sound or _begins_well(partial, have, listing, file)
                if have < file.size:
                    raise Broken(f"the connection ended at byte {have} of {file.size}")
                break
            except Broken as problem:
                if stop.is_set():
                    raise Stopped from problem
                attempt = 0 if have > before else attempt + 1
                if attempt == ATTEMPTS:
                    raise hub.unreachable(file.name, problem) from problem
                hub.wait(attempt, problem)
        os.fsync(out.fileno())
    return hashed.hexdigest()


def _begins_well(partial: Path, have: int, listing: Listing, file: HubFile) -> bool:
    """Whether the header of a safetensors file is there; it is refused before the rest comes if it does not fit."""
    if have < 8:
        return False
    try:
        with partial.open("rb") as stream:
            length = header_length(stream.read(8), file.size, file.name)
            if have < 8 + length:
                return False
            parse_header(stream.read(length), file.size, file.name)
    except EngineFailure as error:
        raise WeightsMissing(f"{listing.repo} is damaged at {listing.commit}: {error.description}") from error
    return True


def _read_again(file: HubFile, descriptor: int, watcher: Watcher) -> tuple[Hash, int]:
    """The hash of what an earlier attempt has left, and how much that is."""
    size = os.fstat(descriptor).st_size
    if size > file.size:
        os.ftruncate(descriptor, 0)
        size = 0
    hashed = file.digest.begin(file.size)
    with open(descriptor, "rb", closefd=False) as stream:
        stream.seek(0)
        while chunk := stream.read(CHUNK):
            hashed.update(chunk)
            watcher.moved(file.name, len(chunk), file.size)
    return hashed, size
