"""A hub on the loopback interface: what huggingface_hub asks of one, with a second host for large files, and faults.

GET  /api/models/ORG/NAME/revision/REV            the listing at a revision, with `?blobs=true` sizes and checksums
GET  /api/models/ORG/NAME/tree/REV                the same as a tree
HEAD and GET /ORG/NAME/resolve/REV/FILE           small files, and a redirect to the other host for large ones
GET  /large/SHA256                                from any byte on
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cfai.serving import listen

__all__ = ["Fault", "Hub", "Repository", "hub"]

CHUNK = 16 * 1024


@dataclass(slots=True)
class Fault:
    """What goes wrong when a file is sent."""

    cut: int | None = None
    """The connection ends after so many bytes."""
    wrong: int | None = None
    """The byte at this place is another one."""
    status: int | None = None
    """A refusal in place of the file."""
    pause: float = 0.0
    """Seconds between two pieces of 16 KiB."""
    holds: Callable[[], bool] = lambda: False
    """While it is so, nothing comes after the first piece."""
    no_ranges: bool = False
    """All bytes are sent, wherever they were to begin."""
    times: float = 1
    """How often it happens."""
    reached: Callable[[], None] = lambda: None
    """Called when it does."""


@dataclass(slots=True)
class Repository:
    """The files of a repository at its newest commit, and earlier ones by theirs."""

    files: Mapping[str, bytes]
    gated: bool = False
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Lies about the length of files."""

    @property
    def commit(self) -> str:
        """The newest one."""
        commit = hashlib.sha1(b"".join(name.encode() + data for name, data in sorted(self.files.items()))).hexdigest()
        self.commits.setdefault(commit, dict(self.files))
        return commit


@dataclass(slots=True)
class Hub:
    """What a hub has and what was asked of it."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    """By file; a listing goes by the name of its repository."""
    members: dict[str, bool] = field(default_factory=dict)
    """Tokens, and whether their accounts may see what is gated."""
    requests: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of each file that went out."""
    leaked: list[str] = field(default_factory=list)
    """Tokens that the host of large files was sent."""
    address: str = ""

    def add(self, name: str, folder: Path, *, gated: bool = False) -> Repository:
        """A repository with the files of a folder."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.repositories[name] = Repository(files, gated=gated)
        return self.repositories[name]

    def clear(self) -> None:
        """Be as new, at the same address."""
        for what in (self.repositories, self.faults, self.members, self.requests, self.sent, self.leaked):
            what.clear()

    @property
    def app(self) -> Starlette:
        name = "{org:str}/{name:str}"
        return Starlette(
            routes=[
                Route(f"/api/models/{name}/revision/{{revision:path}}", self._listing),
                Route(f"/api/models/{name}", self._listing),
                Route(f"/api/models/{name}/tree/{{revision:path}}", self._tree),
                Route(f"/{name}/resolve/{{revision:str}}/{{file:path}}", self._resolve, methods=["GET", "HEAD"]),
                Route("/large/{digest}/{file:path}", self._large),
            ]
        )

    async def _listing(self, request: Request) -> Response:
        repo, repository, commit, problem = self._asked(request)
        if problem is not None or repository is None:
            return problem or _refusal(404, "RepoNotFound")
        if (fault := self._fault(repo)) is not None and fault.status is not None:
            return Response(status_code=fault.status, headers={"retry-after": "0"})
        siblings = []
        for name, data in repository.commits[commit].items():
            size = repository.sizes.get(name, len(data))
            row: dict[str, object] = {"rfilename": name, "size": size, "blobId": _git(data)}
            if _is_large(name):
                row["lfs"] = {"size": size, "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
            siblings.append(row)
        gated = "manual" if repository.gated else False
        return JSONResponse({"id": repo, "sha": commit, "gated": gated, "siblings": siblings})

    async def _tree(self, request: Request) -> Response:
        _, repository, commit, problem = self._asked(request)
        if problem is not None or repository is None:
            return problem or _refusal(404, "RepoNotFound")
        rows = []
        for name, data in repository.commits[commit].items():
            row: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": _git(data)}
            if _is_large(name):
                row["lfs"] = {"size": len(data), "oid": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
            rows.append(row)
        return JSONResponse(rows)

    async def _resolve(self, request: Request) -> Response:
        _, repository, commit, problem = self._asked(request)
        if problem is not None or repository is None:
            return problem or _refusal(404, "RepoNotFound")
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if repository.gated and not self.members.get(token):
            return _refusal(403 if token in self.members else 401, "GatedRepo")
        file = request.path_params["file"]
        data = repository.commits[commit].get(file)
        if data is None:
            return _refusal(404, "EntryNotFound")
        headers = {"x-repo-commit": commit}
        if not _is_large(file):
            return self._send(request, file, data, {**headers, "etag": f'"{_git(data)}"'})
        digest = hashlib.sha256(data).hexdigest()
        headers |= {"x-linked-etag": f'"{digest}"', "x-linked-size": str(len(data))}
        other = self.address.replace("127.0.0.1", "localhost")
        return Response(status_code=302, headers={**headers, "location": f"{other}/large/{digest}/{file}"})

    async def _large(self, request: Request) -> Response:
        if token := request.headers.get("authorization"):
            self.leaked.append(token)
        found = (
            data
            for repository in self.repositories.values()
            for files in repository.commits.values()
            for data in files.values()
            if hashlib.sha256(data).hexdigest() == request.path_params["digest"]
        )
        return self._send(request, request.path_params["file"], next(found), {"etag": '"of-this-host"'})

    def _asked(self, request: Request) -> tuple[str, Repository | None, str, Response | None]:
        repo = f"{request.path_params['org']}/{request.path_params['name']}"
        self.requests.append(f"{request.method} {request.url.path}")
        repository = self.repositories.get(repo)
        if repository is None:
            return repo, None, "", _refusal(401, "RepoNotFound")
        newest, revision = repository.commit, request.path_params.get("revision", "main")
        commit = newest if revision == "main" else revision
        return repo, repository, commit, None if commit in repository.commits else _refusal(404, "RevisionNotFound")

    def _fault(self, name: str) -> Fault | None:
        if not (faults := self.faults[name]):
            return None
        fault = faults[0]
        fault.times -= 1
        if fault.times <= 0:
            faults.pop(0)
        fault.reached()
        return fault

    def _send(self, request: Request, file: str, data: bytes, headers: dict[str, str]) -> Response:
        if request.method == "HEAD":
            return Response(headers={**headers, "content-length": str(len(data))})
        fault = self._fault(file) or Fault()
        if fault.status is not None:
            return Response(status_code=fault.status, headers={"retry-after": "0"})
        if fault.wrong is not None:
            data = data[: fault.wrong] + bytes([data[fault.wrong] ^ 1]) + data[fault.wrong + 1 :]
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        start = int(asked[1]) if asked and not fault.no_ranges else 0
        if start:
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return StreamingResponse(
            self._pieces(file, data[start:], fault),
            status_code=206 if start else 200,
            headers={**headers, "content-length": str(len(data) - start)},
        )

    async def _pieces(self, file: str, data: bytes, fault: Fault) -> AsyncIterator[bytes]:
        end = len(data) if fault.cut is None else fault.cut
        for place in range(0, end, CHUNK):
            piece = data[place : min(place + CHUNK, end)]
            self.sent[file] += len(piece)
            yield piece
            await anyio.sleep(fault.pause)
            while fault.holds():  # noqa: ASYNC110  # the test ends it, from its own thread
                await anyio.sleep(0.005)
        if end < len(data):
            raise ConnectionError("cut on purpose")


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """A hub that listens while the block runs."""
    one = Hub()
    listener = listen("127.0.0.1", 0)
    one.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = _as_proxy(one.app)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=[[listener]], daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.005)
    try:
        yield one
    finally:
        server.should_exit = True
        thread.join()


def _as_proxy(app: ASGIApp) -> ASGIApp:
    """The app also for clients that take it for a proxy and ask for whole addresses, whatever their host."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope:
            scope = {**scope, "path": re.sub(r"^http://[^/]*", "", scope["path"])}
        await app(scope, receive, send)

    return called


def _is_large(file: str) -> bool:
    return file.endswith(".safetensors")


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _refusal(status: int, code: str) -> Response:
    return Response(json.dumps({"error": code}), status_code=status, headers={"x-error-code": code})
