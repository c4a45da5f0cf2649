"""`cfai dev`: a Worker project, run on this machine and reloaded on every save."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfai.cli.endings import ExitCode, fail, need
from cfai.cli.options import (
    AiUrl,
    AllowHosts,
    Answers,
    AsOf,
    BetweenPieces,
    CacheTokens,
    ConfigFile,
    Demo,
    Device,
    DraftTokens,
    Dtype,
    Environment,
    Fake,
    Faults,
    Fidelity,
    FirstPieceAfter,
    KeepAlive,
    Memory,
    Models,
    Offline,
    PersistTo,
    Pin,
    Queue,
    RateLimits,
    Record,
    SettingsFile,
    Slots,
    StrictRetired,
    Tape,
    TapeSpeed,
    Threads,
    TorchCompile,
)
from cfai.packages import COMMAND_LINE

if TYPE_CHECKING:
    from socket import socket

__all__ = ["dev"]

CLOUDFLARE = "https://api.cloudflare.com/client/v4"
DEBUG_PORT = 5678
"""Where editors look for a Python debugger."""

LEVELS = ("debug", "info", "log", "warn", "error", "none")

PORTS = 20
"""How many are tried before giving up."""


def _level(text: str) -> str:
    if text not in LEVELS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(LEVELS)}")
    return text


def dev(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A project folder, a wrangler config, or a single script.")] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; the next free one if it is taken.")] = 8787,
    ip: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    environment: Environment = None,
    config_file: ConfigFile = None,
    variables: Annotated[
        list[str],
        typer.Option("--var", metavar="NAME:VALUE", help="A variable, over those of the files. May be repeated."),
    ] = [],  # noqa: B006  # Typer copies it
    persist_to: PersistTo = None,
    test_scheduled: Annotated[
        bool, typer.Option("--test-scheduled", help="Run the scheduled handler at GET /__scheduled?cron=...")
    ] = False,
    log_level: Annotated[
        str, typer.Option(metavar="|".join(LEVELS), callback=_level, help="What is printed; warn leaves requests out.")
    ] = "log",
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Let a debugger in; needs debugpy in the Worker's interpreter.")
    ] = False,
    inspector_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"The debugger's port, {DEBUG_PORT} by default.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(metavar="PATH", help="The interpreter that runs the script; cfai's own by default.")
    ] = None,
    compatibility_date: Annotated[
        str | None, typer.Option(metavar="DATE", help="Run as of this date instead of the config's.")
    ] = None,
    compatibility_flags: Annotated[
        list[str], typer.Option("--compatibility-flag", "--compatibility-flags", help="Another flag. May be repeated.")
    ] = [],  # noqa: B006  # Typer copies it
    strict_compat: Annotated[
        bool, typer.Option("--strict-compat", help="Refuse what Cloudflare refuses at the compatibility date.")
    ] = False,
    ai_url: AiUrl = None,
    remote: Annotated[
        bool, typer.Option("--remote", "-r", help="Let Cloudflare answer env.AI; your account is billed.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", "-l", help="Run everything here, as cfai does anyway.")] = False,
    allow_host: AllowHosts = [],  # noqa: B006  # Typer copies it
    as_of: AsOf = None,
    fidelity: Fidelity = None,
    models: Models = [],  # noqa: B006  # Typer copies it
    demo: Demo = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    slots: Slots = None,
    queue_limit: Queue = None,
    cache_tokens: CacheTokens = None,
    draft_tokens: DraftTokens = None,
    torch_compile: TorchCompile = None,
    memory: Memory = None,
    keep_alive: KeepAlive = None,
    pin: Pin = [],  # noqa: B006  # Typer copies it
    limits: RateLimits = None,
    strict_retired: StrictRetired = None,
    offline: Offline = None,
    settings_file: SettingsFile = None,
    faults: Faults = None,
    tape: Tape = None,
    record: Record = None,
    tape_speed: TapeSpeed = None,
    fake: Fake = False,
    answers: Answers = None,
    first_piece_after: FirstPieceAfter = None,
    between_pieces: BetweenPieces = None,
) -> None:
    """Run a Python Worker project, with env.AI answered by local models.

    What is not said here is taken from variables, CFAI_DEVICE for --device, and from cfai.toml.

    Keys on a terminal: b opens a browser, c clears the console, x or q ends it.

    Exit codes: 0 told to end, 2 the project or an option cannot be read, 5 no port is free.
    """
    need(COMMAND_LINE)
    import anyio

    from cfai.bindings.faults.asked import faults_are_on
    from cfai.cli.fake import check_answers, check_fake_options
    from cfai.cli.settled import passed_on, settled
    from cfai.cli.tape import asks_tape_alone, check_tape_options
    from cfai.config import ConfigError
    from cfai.dev.console import Console
    from cfai.dev.interpreter import NoInterpreter, check_interpreter
    from cfai.dev.project import Project
    from cfai.dev.supervisor import EngineStopped, Settings, supervise

    if local and remote:
        fail("--local and --remote exclude each other", ExitCode.USAGE)
    check_fake_options(
        fake=fake,
        its_own={
            "--answers": answers,
            "--first-piece-after": first_piece_after,
            "--between-pieces": between_pieces,
        },
        a_models={
            "--ai-url": ai_url,
            "--remote": remote or None,
            "--model": models,
            "--device": device,
            "--dtype": dtype,
            "--threads": threads,
            "--slots": slots,
            "--cache-tokens": cache_tokens,
            "--draft-tokens": draft_tokens or None,
            "--torch-compile": torch_compile or None,
            "--memory": memory,
            "--keep-alive": keep_alive,
            "--pin": pin,
            "--offline": offline or None,
        },
    )
    if answers is not None:
        check_answers(answers)
    check_tape_options(tape, record=record, its_own={"--record": record, "--tape-speed": tape_speed})
    project = Project(
        path,
        config_file,
        environment,
        tuple(variables),
        persist_to,
        compatibility_date,
        tuple(compatibility_flags),
        strict_compat,
    )
    ai_url, account, token = _cloudflare(ai_url) if remote else (ai_url, None, os.environ.get("CFAI_TOKEN"))
    is_inspected = inspect or inspector_port is not None
    try:
        config = project.read()
        if python is not None or is_inspected:
            also = [*(["debugpy"] if is_inspected else []), *(["numpy"] if config.vectorize else [])]
            check_interpreter(python or sys.executable, also=also)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    except NoInterpreter as error:
        fail(str(error), ExitCode.USAGE, hint=error.hint)
    # The engine process reads the same settings again. What is wrong with them is told here, before anything starts.
    beginning = settings_file or Path(os.environ.get("CFAI_SETTINGS") or config.folder)
    settled(context, beginning)
    settings = Settings(
        engine_options=[
            *passed_on(context),
            *(["--fake"] if fake else []),
            *(["--tell-costs"] if LEVELS.index(log_level) <= LEVELS.index("log") else []),
            *_named(
                {
                    "--settings": beginning.absolute(),
                    "--tape": tape and tape.absolute(),
                    "--record": record,
                    "--tape-speed": tape_speed,
                    # What is recorded goes through the engine process, whoever answers.
                    "--ai-url": tape and ai_url,
                    "--ai-account": tape and account,
                    "--answers": answers and answers.absolute(),
                    "--first-piece-after": first_piece_after,
                    "--between-pieces": between_pieces,
                }
            ),
        ],
        ai_url=None if tape else ai_url,
        ai="tape" if asks_tape_alone(tape, record) else "remote" if remote else "fake" if fake else "local",
        worker_options=[
            *([f"--ai-account={account}"] if account and not tape else []),
            *(["--test-scheduled"] if test_scheduled else []),
            *([f"--faults={faults}"] if faults is not None else []),
        ],
        environment={"CFAI_AI_TOKEN": token} if ai_url and token and not tape else {},
        python=python or sys.executable,
        inspect=_listen("127.0.0.1", DEBUG_PORT if inspector_port is None else inspector_port)
        if is_inspected
        else None,
        allow_hosts=[*allow_host, ip],
        console=Console(log_level),
    )
    if faults is not None:
        settings.console.say(f"▲ [WARNING] {faults_are_on(faults)}", level="warn")
    try:
        anyio.run(supervise, project, config, _listen(ip, port), settings)
    except EngineStopped:
        fail("the engine process ended while it started", ExitCode.FAILED)


def _cloudflare(ai_url: str | None) -> tuple[str, str, str]:
    """The address, the account and the token."""
    if ai_url is not None:
        fail("--remote and --ai-url exclude each other", ExitCode.USAGE)
    names = ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN")
    account, token = (os.environ.get(name, "") for name in names)
    if missing := [name for name, value in zip(names, (account, token), strict=True) if not value]:
        fail(
            f"--remote asks Cloudflare, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            ExitCode.USAGE,
            hint="export both; dash.cloudflare.com/profile/api-tokens makes a token (permission Workers AI Read)",
        )
    return os.environ.get("CLOUDFLARE_API_BASE_URL", CLOUDFLARE), account, token


def _listen(host: str, port: int) -> socket:
    """Listen on `port`, or on the next free one."""
    from cfai.serving import PortTaken, listen

    last = min(port + PORTS, 65536) - 1
    for candidate in range(port, last + 1):
        try:
            listener = listen(host, candidate)
        except PortTaken as error:
            if error.errno != errno.EADDRINUSE or port == 0 or candidate == last:
                fail(str(error.strerror), ExitCode.PORT_TAKEN)
            continue
        if candidate not in (0, port):
            typer.echo(f"port {port} is taken, so this is {candidate}")
        return listener
    raise AssertionError("the range is never empty")


def _named(options: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]
