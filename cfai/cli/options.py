"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cfai.addresses import check_upstream_url
from cfai.catalog import parse_as_of
from cfai.devices import check_device, check_dtype
from cfai.quantities import parse_duration, parse_size
from cfai.tasks.shapes import parse_fidelity
from cfai.weights import Source, parse_source

__all__ = [
    "AiUrl",
    "AllowHosts",
    "Answers",
    "AsOf",
    "BetweenPieces",
    "CacheTokens",
    "ConfigFile",
    "CorsOrigins",
    "Demo",
    "Device",
    "DraftTokens",
    "Dtype",
    "Environment",
    "Fake",
    "Faults",
    "Fidelity",
    "FirstPieceAfter",
    "Json",
    "KeepAlive",
    "Memory",
    "Models",
    "Offline",
    "PersistTo",
    "Pin",
    "Queue",
    "RateLimits",
    "Record",
    "SettingsFile",
    "Slots",
    "StrictRetired",
    "Tape",
    "TapeSpeed",
    "Threads",
    "TorchCompile",
    "check_server_url",
    "checked",
    "parse_models",
    "parse_upstreams",
]


def _check_record(text: str) -> None:
    from cfai.bindings.tape.modes import parse_record_mode

    parse_record_mode(text)


def checked(check: Callable[[str], object]) -> Callable[[str | None], str | None]:
    """The callback of an option whose value `check` refuses with a ValueError."""

    def callback(text: str | None) -> str | None:
        if text is not None:
            try:
                check(text)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
        return text

    return callback


def _origins(texts: list[str] | None) -> list[str]:
    for text in texts or ():
        parts = urlsplit(text)
        if text != "*" and (not parts.scheme or not parts.netloc or parts.path not in ("", "/") or parts.query):
            raise typer.BadParameter(f"{text!r} is no origin, such as http://localhost:3000, nor *")
    return texts or []


def _check_faults(text: str) -> None:
    from cfai.bindings.faults import parse_faults

    parse_faults(text)


def _folder(path: Path | None) -> Path | None:
    """A folder, or one that can be made."""
    if path is not None:
        there = next((one for one in (path, *path.absolute().parents) if one.exists()), None)
        if there is not None and not there.is_dir():
            raise typer.BadParameter(f"{str(there)!r} is a file, and a folder is expected")
    return path


def check_server_url(text: str) -> None:
    """A ValueError says what is wrong with the address of a server.

    ```python
    check_server_url("http://127.0.0.1:8788")
    ```
    """
    try:
        parts = urlsplit(text)
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        is_server = False
    if not is_server:
        raise ValueError(f"{text!r} is no URL of a server, such as http://127.0.0.1:8788")


def _models(texts: list[str] | None) -> list[str]:
    for text in texts or ():
        try:
            if (url := _url_in(text)) is not None:
                check_upstream_url(url)
            else:
                parse_source(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return texts or []


Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="ID=FOLDER",
        callback=_models,
        help="What answers for a model: a folder, a hub repository, or the URL of a server. May be repeated.",
    ),
]
AllowHosts = Annotated[
    list[str], typer.Option("--allow-host", help="Another name under which the server is reached. May be repeated.")
]
CorsOrigins = Annotated[
    list[str],
    typer.Option(
        "--cors-origin",
        metavar="ORIGIN",
        callback=_origins,
        help="Whose pages may use the server from a browser, such as http://localhost:3000; * is every page, "
        "and needs a token. May be repeated.",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="PATH",
        help="Another cfai.toml than that of this folder or the ones above, or a folder to look from.",
    ),
]
Demo = Annotated[
    bool | None,
    typer.Option(
        "--demo/--no-demo", show_default=False, help="Let the demo model answer for models whose weights are missing."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        callback=checked(parse_size),
        help="What all loaded models may take, such as 8GB; by default what is free less a margin.",
    ),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        callback=checked(parse_duration),
        help="How long a model stays in memory after its last answer, such as 10m; -1 is for ever, 0 not at all.",
    ),
]
Pin = Annotated[
    list[str],
    typer.Option("--pin", metavar="ID", help="A model that stays in memory. May be repeated."),
]
RateLimits = Annotated[
    bool | None,
    typer.Option(
        "--limits/--no-limits",
        show_default=False,
        help="Refuse calls beyond Cloudflare's rate limits and its free daily allowance, as it does.",
    ),
]
StrictRetired = Annotated[
    bool | None,
    typer.Option(
        "--strict-retired/--no-strict-retired",
        show_default=False,
        help="Refuse models that Cloudflare no longer serves, as it does.",
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option("--offline/--no-offline", show_default=False, help="Open no connection to fetch weights."),
]
Slots = Annotated[
    int | None, typer.Option(min=1, help="Answers that a model makes at once; 16 by default, on CUDA 64.")
]
Queue = Annotated[
    int | None,
    typer.Option("--queue", min=0, help="Answers that may wait for a model, 32 by default; more get 429."),
]
CacheTokens = Annotated[
    int | None, typer.Option(min=1, help="Tokens that a model's KV cache holds; by default what memory allows.")
]
DraftTokens = Annotated[
    int | None, typer.Option(min=0, help="Tokens to guess from the text before while few answers are made.")
]
TorchCompile = Annotated[
    bool | None,
    typer.Option(
        "--torch-compile/--no-torch-compile",
        help="Let torch.compile make models faster on a GPU, beside their answers.",
    ),
]
Fake = Annotated[
    bool, typer.Option("--fake", help="Make answers up for every model; no model runs, and torch is not needed.")
]
Answers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", dir_okay=False, exists=True, help="Answers of --fake by model, JSON; read again on change."
    ),
]
FirstPieceAfter = Annotated[
    float | None, typer.Option(metavar="SECONDS", min=0, help="When a stream of --fake begins, 0.02 by default.")
]
BetweenPieces = Annotated[
    float | None, typer.Option(metavar="SECONDS", min=0, help="How far apart its pieces are, 0.005 by default.")
]
AsOf = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        callback=checked(parse_as_of),
        help="The day whose limits and wire form apply, such as 2023-11-14.",
    ),
]
Fidelity = Annotated[
    str | None,
    typer.Option(
        metavar="clean|production",
        callback=checked(parse_fidelity),
        help="production answers with the oddities of Cloudflare's own, to find what a client stumbles over.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        callback=checked(check_device),
        help="cuda, mps or cpu, or several: cuda:0,cuda:1; the best there is by default.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        callback=checked(check_dtype),
        help="float32, bfloat16, float16 or int8; what suits by default.",
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of a model; chosen by its size by default.")]
Faults = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:VALUE,...",
        callback=checked(_check_faults),
        help="What goes wrong on purpose, such as capacity:2,split-bytes, a code, or random:SEED; requests may ask for "
        "others in the header x-cfai-faults, and none leaves it to them.",
    ),
]
Tape = Annotated[
    Path | None,
    typer.Option(
        "--tape", metavar="FILE", dir_okay=False, help="Answer from what was recorded in this file; see --record."
    ),
]
Record = Annotated[
    str | None,
    typer.Option(
        metavar="once|none|all|new",
        callback=checked(_check_record),
        help="What --tape records: all where there is no file yet (once), nothing (none, the default), all anew "
        "(all), or what the file does not have (new).",
    ),
]
TapeSpeed = Annotated[
    float | None,
    typer.Option(
        metavar="FACTOR",
        min=0.001,
        help="How fast --tape is played, 1 in the recorded time; without waiting by default.",
    ),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "--env", "-e", metavar="NAME", help="The environment of the config, env.NAME; CLOUDFLARE_ENV by default."
    ),
]
AiUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        callback=checked(check_server_url),
        help="Let a running `cfai serve` answer env.AI; token in CFAI_TOKEN.",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Another wrangler config than the folder's.")
]
PersistTo = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", callback=_folder, help="Where bindings keep their data; .wrangler/state of the project."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def parse_models(texts: list[str]) -> dict[str, Source]:
    """Those of `--model` that name weights."""
    return dict(parse_source(text) for text in texts if _url_in(text) is None)


def parse_upstreams(texts: list[str]) -> dict[str, str]:
    """The URLs of those that name a server."""
    return {text.partition("=")[0]: url for text in texts if (url := _url_in(text)) is not None}


def _url_in(text: str) -> str | None:
    """The URL of `ID=URL`; None for what names weights."""
    name, _, place = text.partition("=")
    return place if name and place.startswith(("http://", "https://")) else None
