"""What running servers say of their models: `/metrics`, fetched and read."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cost import shown_neurons, shown_wait

__all__ = ["Buckets", "Figures", "ModelFigures", "NoFigures", "Server", "Socket", "Token", "Url", "parse", "servers"]

DEFAULT_URL = "http://127.0.0.1:8788"
"""Where `cfai serve` listens."""

DEV_SOCKETS = "cfai-*/ai.sock"
"""Where, in the folder for temporary files, `cfai dev` has its engine."""

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0

Url = Annotated[
    str | None, typer.Option(help=f"The server; by default {DEFAULT_URL} and whatever `cfai dev` runs for you.")
]
Socket = Annotated[Path | None, typer.Option(help="A server on this Unix socket instead.")]
Token = Annotated[str | None, typer.Option(envvar="CFAI_TOKEN", help="The bearer token, if the server has one.")]


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: how many values each bucket holds, by its upper bound, the smallest first."""

    counts: Mapping[float, float] = field(default_factory=dict)

    def since(self, before: Buckets | None) -> Buckets:
        """What came after `before`; all of it if the counting began anew."""
        old = before.counts if before else {}
        new = {bound: count - old.get(bound, 0) for bound, count in self.counts.items()}
        return self if min(new.values(), default=0) < 0 else Buckets(new)

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of the values are, as if they were spread evenly within a bucket.

        None if there are no values; the last finite bound for what lies above it.
        """
        wanted = share * sum(self.counts.values())
        below, lower = 0.0, 0.0
        for bound, count in self.counts.items():
            if count and below + count >= wanted:
                return lower if math.isinf(bound) else lower + (bound - lower) * (wanted - below) / count
            below, lower = below + count, bound
        return None


@dataclass(slots=True)
class ModelFigures:
    """One model; a figure that the server does not give is missing."""

    info: dict[str, str] = field(default_factory=dict)
    """`device`, `dtype`, `precision` (a note on it), `batching` and `state`."""
    values: dict[str, float] = field(default_factory=dict)
    """By name, without `cfai_` and `_total`: `requests_running`, `output_tokens`."""
    outcomes: dict[str, float] = field(default_factory=dict)
    """Requests so far, by outcome."""
    times: dict[str, Buckets] = field(default_factory=dict)
    """By the histogram's name."""

    def since(self, name: str, before: ModelFigures | None) -> float:
        """How much a counter has grown; its value if the counting began anew."""
        new = self.values.get(name, 0.0)
        old = before.values.get(name, 0.0) if before else 0.0
        return new - old if new >= old else new


@dataclass(frozen=True, slots=True)
class Figures:
    """A server at one moment."""

    version: str
    started: float | None
    """When its process started, as `time.time()`."""
    models: Mapping[str, ModelFigures]
    neurons: str | None = None
    """The day's free neurons, in words."""
    at: float = field(default_factory=time.monotonic)


class NoFigures(Exception):
    """A server does not say anything, and why."""

    def __init__(self, message: str, code: ExitCode, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def end(self) -> NoReturn:
        """End the command with it."""
        fail(str(self), self.code, hint=self.hint)


def parse(text: str) -> Figures:
    """Read the exposition format. Raises a ValueError if it is none, or none of cfai's."""
    from prometheus_client.parser import text_string_to_metric_families

    version, started, allowance = "", None, dict[str, float]()
    models: dict[str, ModelFigures] = {}
    cumulative: dict[tuple[str, str], dict[float, float]] = {}
    for sample in itertools.chain.from_iterable(family.samples for family in text_string_to_metric_families(text)):
        name, labels = sample.name, {label: _printable(value) for label, value in sample.labels.items()}
        if name == "cfai_info":
            version = labels.get("version", "")
        elif name == "process_start_time_seconds":
            started = sample.value
        elif name in _ALLOWANCE:
            allowance[name] = sample.value
        elif "model" in labels and "gen_ai_token_type" not in labels and name != "cfai_neurons_total":
            model_name = labels.pop("model")
            model = models.setdefault(model_name, ModelFigures())
            if "le" in labels:
                series = cumulative.setdefault((model_name, name.removesuffix("_bucket")), {})
                series[float(labels["le"])] = sample.value
            elif name == "cfai_model_state":
                model.info["state"] = labels["state"]
            elif "outcome" in labels:
                model.outcomes[labels["outcome"]] = sample.value
            elif name == "cfai_model_info":
                model.info |= labels
            elif name.startswith("cfai_"):
                model.values[name.removeprefix("cfai_").removesuffix("_total")] = sample.value
    if not version:
        raise ValueError("these are no metrics of cfai")
    for (name, histogram), series in cumulative.items():
        models[name].times[histogram] = Buckets(_apart(series))
    return Figures(version, started, models, _allowance(allowance))


_ALLOWANCE = ("cfai_neurons_today", "cfai_free_neurons", "cfai_neurons_reset_seconds")


def _allowance(found: Mapping[str, float]) -> str | None:
    if any(name not in found for name in _ALLOWANCE):
        return None
    today, free, seconds = (found[name] for name in _ALLOWANCE)
    share = f" ({today / free:.0%})" if free else ""
    return f"neurons today: {shown_neurons(today)} of {free:,.0f} free{share}, anew in {shown_wait(seconds)}"


def _apart(cumulative: Mapping[float, float]) -> dict[float, float]:
    """Each bucket's own count."""
    counts = [0.0, *cumulative.values()]
    return {bound: count - below for bound, (below, count) in zip(cumulative, itertools.pairwise(counts), strict=True)}


def _printable(text: str) -> str:
    """What a server says must not steer the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


class Server:
    """A server that may be asked for its figures again and again.

    url     where it is, such as `http://127.0.0.1:8788`
    socket  its Unix socket instead
    token   the bearer token, if it wants one
    """

    def __init__(self, url: str = DEFAULT_URL, *, socket: Path | None = None, token: str | None = None) -> None:
        import httpx2

        self.name = str(socket) if socket else url.rstrip("/").removesuffix("/client/v4")
        self._http = httpx2.Client(
            # A transport of its own: no proxy stands between this machine and itself.
            transport=httpx2.HTTPTransport(uds=str(socket) if socket else None),
            headers={b"authorization": f"Bearer {token}".encode()} if token else None,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )
        self._socket = socket
        self._url = ("http://cfai" if socket else self.name) + "/metrics"

    def figures(self) -> Figures:
        """What it says now. Raises `NoFigures`."""
        import httpx2

        try:
            self._try_socket()
            response = self._http.get(self._url)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise NoFigures(f"{self.name} is no address: {error}", ExitCode.USAGE, hint=DEFAULT_URL) from error
        except (OSError, httpx2.TransportError) as error:
            raise NoFigures(
                f"no server answers at {self.name}: {error}",
                ExitCode.UNAVAILABLE,
                hint="`cfai serve` starts one; --url names another",
            ) from error
        if response.status_code == 401:
            raise NoFigures(f"{self.name} asks for its token", ExitCode.USAGE, hint="set --token or CFAI_TOKEN")
        try:
            response.raise_for_status()
            return parse(response.text)
        except (httpx2.HTTPStatusError, ValueError) as error:
            said = f"it answers {response.status_code}" if not response.is_success else "what it says is something else"
            raise NoFigures(f"{self.name} gives no metrics of cfai: {said}", ExitCode.FAILED) from error

    def _try_socket(self) -> None:
        # httpx2 does not close a Unix socket that it cannot connect.
        if self._socket is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(self._socket))

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def servers(url: str | None, socket: Path | None, token: str | None) -> Iterator[list[Server]]:
    """The server that was asked for; if none was, `cfai serve` and the engines of `cfai dev` that answer.

    Those that have a model loaded come first. Raises `NoFigures` if none answers.
    """
    with contextlib.ExitStack() as stack:

        def opened(server: Server) -> Server:
            stack.callback(server.close)
            return server

        if url or socket:
            yield [opened(Server(url or DEFAULT_URL, socket=socket, token=token))]
            return
        busy: list[Server] = []
        idle: list[Server] = []
        problems: list[NoFigures] = []
        for server in (Server(token=token), *(Server(socket=path) for path in _dev_sockets())):
            try:
                (busy if opened(server).figures().models else idle).append(server)
            except NoFigures as problem:
                problems.append(problem)
        if not busy and not idle:
            raise next((problem for problem in problems if problem.code != ExitCode.UNAVAILABLE), problems[0])
        yield busy + idle


def _dev_sockets() -> list[Path]:
    return sorted(path for path in Path(tempfile.gettempdir()).glob(DEV_SOCKETS) if _is_own(path))


def _is_own(path: Path) -> bool:
    """Anybody may put a socket into the folder for temporary files."""
    try:
        return path.lstat().st_uid == path.parent.lstat().st_uid == os.getuid()
    except OSError:  # it is gone already
        return False
