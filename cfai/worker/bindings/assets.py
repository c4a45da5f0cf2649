"""Static assets: files of one folder, served before the script or by it through `env.ASSETS`.

What is answered by which rule, with which headers, follows Cloudflare's router and asset workers
(`packages/workers-shared` of workers-sdk). Unlike `wrangler dev` it answers ranges.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cfai.config import AssetsConfig
from cfai.worker.bindings.asset_files import File, Folder, read
from cfai.worker.bindings.asset_headers import HeaderRules, parse_headers
from cfai.worker.bindings.asset_paths import Moved, canonical, decoded, resolve
from cfai.worker.bindings.asset_redirects import RedirectRules, parse_redirects
from cfai.worker.bindings.fetcher import Fetcher
from cfai.worker.compat import current
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.urls import URL

__all__ = ["Assets"]

_SMALL = 256 << 10
"""A file of up to so many bytes is read at once, a larger one while it is sent."""

_REVALIDATE = "public, max-age=0, must-revalidate"


@dataclass(frozen=True, slots=True)
class _Served:
    file: File
    status: int
    content: bytes | None
    """What is in it, for a small one."""


@dataclass(frozen=True, slots=True)
class _NotAllowed:
    """There is a file, and the method is not one for files."""


class Assets(Fetcher):
    """The files under `config.directory`.

    ```python
    assets = Assets(AssetsConfig(Path("public")))
    await assets.answer(request, has_script=True)  # a response, or None: ask the script
    ```

    warn  takes a line for each rule of `_headers` and `_redirects` that is left out
    """

    def __init__(self, config: AssetsConfig, warn: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(self._fetch)
        self._config = config
        self._folder = Folder(config.directory)
        headers, wrong_headers = parse_headers(self._folder.header_rules)
        redirects, wrong_redirects = parse_redirects(self._folder.redirect_rules, config.html_handling)
        self._headers = HeaderRules(headers)
        self._redirects = RedirectRules(redirects)
        for name, problems in (("_headers", wrong_headers), ("_redirects", wrong_redirects)):
            for problem in problems:
                warn(f"▲ [WARNING] {Path(config.directory, name)}:{problem}")
        patterns = () if isinstance(config.run_worker_first, bool) else config.run_worker_first
        self._to_assets = [_glob(one[1:]) for one in patterns if one.startswith("!")]
        self._to_script = [_glob(one) for one in patterns if not one.startswith("!")]

    async def answer(self, request: Request, *, has_script: bool) -> Response | None:
        """The answer to a request from outside; None where the script is to be asked."""
        path = URL.new(request.url).pathname
        if not has_script or any(one.fullmatch(path) for one in self._to_assets):
            return await self._fetch(request)
        if self._config.run_worker_first is True or any(one.fullmatch(path) for one in self._to_script):
            return None
        # The page for what is not there must not hide the script, unless a browser goes to another page.
        navigates = request.headers.find("sec-fetch-mode") == "navigate"
        if self._to_script or (navigates and current().compat.navigation_prefers_assets):
            return await self._response(request, self._config.not_found_handling)
        return await self._response(request, "none")

    async def _fetch(self, request: Request) -> Response:
        found = await self._response(request, self._config.not_found_handling)
        return found or self._with_rules(Response.new(None, {"status": 404}), URL.new(request.url))

    async def _response(self, request: Request, not_found_handling: str) -> Response | None:
        """The response for a file, a redirect or a refusal; None if the path leads to nothing."""
        url = URL.new(request.url)
        path = url.pathname
        rule = self._redirects.matching(url.hostname, path)
        if rule is not None and rule.status != 200:
            return self._with_rules(_redirect(_location(rule.to, url), rule.status), url)
        if rule is not None:
            path, not_found_handling = URL.new(rule.to, request.url).pathname, self._config.not_found_handling
        # On a thread, as each question about a file is one to the disk.
        found = await asyncio.to_thread(self._look_up, path, request.method, not_found_handling)
        if found is None and rule is None:
            return None
        if isinstance(found, _Served):
            response, body = _of_file(found, request)
        elif isinstance(found, Moved):
            response, body = _redirect(f"{found.path}{url.search}", 307), None
        else:
            response, body = Response.new(None, {"status": 404 if found is None else 405}), None
        response = self._with_rules(response, url)
        if body is not None:
            response.headers.set("content-length", str(body))
        return response

    def _look_up(self, path: str, method: str, not_found_handling: str) -> _Served | Moved | _NotAllowed | None:
        name = decoded(path)
        found = resolve(name, self._config.html_handling, not_found_handling, self._folder.has)
        if found is None:
            return None
        if method not in ("GET", "HEAD"):
            return _NotAllowed()
        if isinstance(found, Moved):
            return Moved(canonical(found.path))
        if canonical(name) != path:
            return Moved(canonical(name))
        try:
            file = self._folder.file(found.file)
            return _Served(file, found.status, file.path.read_bytes() if file.size <= _SMALL else None)
        except OSError:  # it was deleted a moment ago, or must not be read
            return None

    def _with_rules(self, response: Response, url: URL) -> Response:
        changed: set[str] = set()
        for rule in self._headers.matching(url.hostname, url.pathname):
            for name in rule.unsets:
                response.headers.delete(name)
            for name, value in rule.sets.items():
                if name in changed:
                    response.headers.append(name, value)
                else:
                    response.headers.set(name, value)
                    changed.add(name)
        return response


def _of_file(found: _Served, request: Request) -> tuple[Response, int | None]:
    """The response, and how long its body is where there may be one."""
    file, tag = found.file, f'"{found.file.tag}"'
    asked = request.headers.find("range")
    headers = {"etag": tag, "cf-cache-status": "HIT"}
    if file.content_type is not None:
        headers["content-type"] = file.content_type
    if asked is None and not request.headers.has("authorization"):
        headers["cache-control"] = _REVALIDATE
    if request.headers.find("if-none-match") in (tag, f"W/{tag}"):
        return Response.new(None, {"status": 304, "headers": headers}), None
    status, start, end = found.status, 0, file.size
    if asked is not None and status == 200 and request.headers.find("if-range") in (None, tag):
        wanted = _range(asked, file.size)
        if wanted == (0, 0):
            headers["content-range"] = f"bytes */{file.size}"
            return Response.new(None, {"status": 416, "headers": headers}), None
        if wanted is not None:
            status, (start, end) = 206, wanted
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.size}"
    init = {"status": status, "headers": headers}
    if request.method == "HEAD":
        return Response.new(None, init), end - start
    if found.content is not None:
        return Response.new(found.content[start:end], init), end - start
    return Response.new(ReadableStream.of(read(file, start, end)), init), end - start


def _range(text: str, size: int) -> tuple[int, int] | None:
    """From where to where one range goes, (0, 0) if that is beyond the file; None for what is not one range."""
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", text, re.ASCII)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        last = min(int(found[2]), size)
        return (size - last, size) if last else (0, 0)
    start, end = int(found[1]), int(found[2] or size - 1) + 1
    if found[2] and end <= start:
        return None
    return (start, min(end, size)) if start < size else (0, 0)


def _redirect(location: str, status: int) -> Response:
    return Response.new(None, {"status": status, "headers": {"location": location}})


def _location(to: str, url: URL) -> str:
    """Where a rule leads: a path on the same host, with the query of the request where it has none of its own."""
    target = URL.new(to, url.href)
    rest = f"{target.pathname}{target.search or url.search}{target.hash}"
    return rest if target.origin == url.origin else f"{target.origin}{rest}"


def _glob(rule: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, rule.split("*"))), re.DOTALL)
