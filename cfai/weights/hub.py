"""The hub, or a mirror of it: what a repository holds, and the bytes of a file from any place on."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from cfai.errors import WeightsMissing
from cfai.weights.digest import Digest
from cfai.weights.listing import HubFile, Listing

__all__ = ["Broken", "Hub", "HubUnreachable", "Stopped"]

HUB = "https://huggingface.co"
NO_HUB = "is HF_ENDPOINT a hub?"
ATTEMPTS = 6
"""How often in a row a request is made that brings nothing."""

LONGEST_WAIT = 60.0
READ_SECONDS = 30.0
"""How long a connection may bring nothing."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PASSING = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")


class HubUnreachable(WeightsMissing):
    """The hub did not answer, or not as it should; later it may."""


class Broken(Exception):
    """A request that may go well when it is made again, after `wait` seconds if the hub said so."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


class Stopped(Exception):
    """Somebody has had enough."""


class Hub:
    """One hub, with the user's token, proxies and address (`HF_TOKEN`, `HTTPS_PROXY`, `HF_ENDPOINT`).

    ```python
    Hub().look("NousResearch/Llama-2-7b-chat-hf").commit  # '351844e75ed0bcbbe3f10671b3c808d2b83894ee'
    ```

    sleep  waits between attempts
    """

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self._sleep = sleep

    @property
    def has_token(self) -> bool:
        from huggingface_hub import get_token

        return get_token() is not None

    def look(self, repo: str, revision: str | None = None) -> Listing:
        """The files of `repo` at a revision, which is the main branch if none is named.

        Raises `WeightsMissing` if there is no such repository, or none for this user, and `HubUnreachable`.
        """
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, library_name="cfai")
        asked = revision or "main"

        def ask() -> Any:
            with self._problems(repo, asked):
                return api.model_info(repo, revision=asked, files_metadata=True, timeout=READ_SECONDS)

        info = self.patiently(ask, f"the listing of {repo}")
        commit = str(info.sha or "")
        if not _COMMIT.fullmatch(commit):
            raise HubUnreachable(f"{self.endpoint} names no commit for {repo}", hint=NO_HUB)
        return Listing(repo, asked, commit, [_file(sibling) for sibling in info.siblings or ()])

    @contextlib.contextmanager
    def read(self, listing: Listing, file: HubFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Where the bytes of `file` begin that now come, and they: at `start`, or at 0 if the hub begins anew.

        Raises `Broken` for what another attempt may mend, here and while it is read.
        """
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # no list

        url = hf_hub_url(listing.repo, file.name, revision=listing.commit, endpoint=self.endpoint)
        # Without `identity` a hub may compress, and a place in the file would mean nothing.
        headers = {**build_hf_headers(library_name="cfai"), "accept-encoding": "identity"}
        if start:
            headers["range"] = f"bytes={start}-"
        with (
            self._problems(listing.repo, listing.revision, file.name),
            # The client sends no token to another host, where a redirect may lead.
            get_session().stream("GET", url, headers=headers, timeout=READ_SECONDS, follow_redirects=True) as response,
        ):
            if response.status_code == 416:
                raise Broken("the hub has no such range")
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            begins = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
            yield (int(begins[1]) if response.status_code == 206 and begins else 0), response.iter_raw()

    def patiently(self, ask: Callable[[], T], what: str) -> T:
        """What `ask` gives, which is called again while it raises `Broken`."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except Broken as problem:
                if attempt == ATTEMPTS:
                    raise self.unreachable(what, problem) from problem
                self.wait(attempt, problem)
        raise AssertionError("unreachable")

    def wait(self, attempt: int, problem: Broken) -> None:
        """Let some time pass: as long as the hub said, or longer from attempt to attempt."""
        seconds = min(2.0 ** (attempt - 2), LONGEST_WAIT) * random.uniform(0.5, 1) if attempt else 0.0
        self._sleep(seconds if problem.wait is None else min(problem.wait, LONGEST_WAIT))

    def unreachable(self, what: str, problem: Exception) -> HubUnreachable:
        return HubUnreachable(
            f"{what} cannot be fetched from {self.endpoint}: {problem}",
            hint="the same command goes on where this one ended; HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror",
        )

    @contextlib.contextmanager
    def _problems(self, repo: str, revision: str, file: str | None = None) -> Iterator[None]:
        from huggingface_hub import errors

        network = _http_library()
        try:
            yield
        except errors.GatedRepoError as error:
            raise self._gated(repo) from error
        except errors.RevisionNotFoundError as error:
            raise WeightsMissing(
                f"{repo} has no revision {revision!r}", hint=f"see {self.endpoint}/{repo}/tree/main"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise WeightsMissing(
                f"{self.endpoint} has no repository {repo}, or none that you may see",
                hint="check the name; for a private one log in with `hf auth login`, or set HF_TOKEN",
            ) from error
        except errors.EntryNotFoundError as error:
            raise WeightsMissing(f"{repo} has no {file} at {revision}") from error
        except errors.HFValidationError as error:
            raise WeightsMissing(f"{repo!r} is no name of a repository, such as org/name") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status in _PASSING:
                raise Broken(f"HTTP status {status}", _retry_after(error.response.headers)) from error
            host, said = error.response.url.host, error.server_message or _first_line(error)
            if status in (401, 403):
                raise WeightsMissing(
                    f"{host} answers {status} for {file or 'the listing'} of {repo}: {said}",
                    hint="a fine-grained token needs the right to read gated repositories; a proxy, or a mirror, may "
                    "refuse too (HTTPS_PROXY, HF_ENDPOINT)",
                ) from error
            raise HubUnreachable(f"{host} answers {status} for {repo}: {said}") from error
        except network.ProxyError as error:
            raise HubUnreachable(
                f"the proxy does not let {repo} be fetched: {error}",
                hint="look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            ) from error
        except network.TransportError as error:
            raise Broken(str(error) or type(error).__name__) from error

    def _gated(self, repo: str) -> WeightsMissing:
        if self.has_token:
            what = f"{repo} is gated, and the account of your token has no access to it"
            steps = f"ask for it at {self.endpoint}/{repo} (some owners let you wait), and run the same command again"
        else:
            what = f"{repo} is gated: its owner wants terms to be accepted first"
            steps = (
                f"1. accept them at {self.endpoint}/{repo}, 2. `hf auth login`, or HF_TOKEN with a token of "
                f"{self.endpoint}/settings/tokens, 3. run the same command again"
            )
        return WeightsMissing(what, hint=steps)


def _file(sibling: Any) -> HubFile:
    is_large = sibling.lfs is not None
    digest = Digest("sha256", str(sibling.lfs.sha256)) if is_large else Digest("git", str(sibling.blob_id))
    if not re.fullmatch(r"[0-9a-f]{40,64}", digest.value):  # it becomes the name of a file
        raise HubUnreachable(f"the listing has {digest} as the checksum of {sibling.rfilename}", hint=NO_HUB)
    return HubFile(str(sibling.rfilename), int((sibling.lfs.size if is_large else sibling.size) or 0), digest)


def _http_library() -> Any:
    """What huggingface_hub asks with, which names the errors: httpx before its version 2, then httpx2."""
    from huggingface_hub import get_session

    return importlib.import_module(type(get_session()).__module__.partition(".")[0])


def _retry_after(headers: Any) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d+)?", text) else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
