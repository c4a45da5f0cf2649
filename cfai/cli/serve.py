"""`cfai serve`: Workers AI over HTTP, answered by local models."""

from __future__ import annotations

import os
import ssl
import threading
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Annotated

import typer

from cfai.cli.endings import ExitCode, fail, need
from cfai.cli.options import (
    AllowHosts,
    Answers,
    AsOf,
    BetweenPieces,
    CacheTokens,
    CorsOrigins,
    Demo,
    Device,
    DraftTokens,
    Dtype,
    Fake,
    Faults,
    Fidelity,
    FirstPieceAfter,
    KeepAlive,
    Memory,
    Models,
    Offline,
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
    check_server_url,
    checked,
)

if TYPE_CHECKING:
    from cfai.binding import Binding
    from cfai.cost import Cost
    from cfai.server.app import App

__all__ = ["serve"]

LAST_EVENTS_SECONDS = 1.0
"""How long streams have for their last events when a GPU is lost."""


def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8788,
    socket: Annotated[
        Path | None, typer.Option(help="Speak the binding protocol of env.AI on this Unix socket instead.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="CFAI_TOKEN", help="The bearer token that requests must bring.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A certificate, to speak https; PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The certificate's key.")] = None,
    allow_host: AllowHosts = [],  # noqa: B006  # Typer copies it
    cors_origin: CorsOrigins = [],  # noqa: B006  # Typer copies it
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write what is asked into the log.")] = False,
    keep_streams: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How long a stream that lost its connection can be continued."),
    ] = 60.0,
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
    ai_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            callback=checked(check_server_url),
            help="Let another server answer, which --tape can record; its token in CFAI_AI_TOKEN.",
        ),
    ] = None,
    ai_account: Annotated[
        str | None, typer.Option(metavar="ID", help="The account at --ai-url, if that is Cloudflare.")
    ] = None,
    fake: Fake = False,
    answers: Answers = None,
    first_piece_after: FirstPieceAfter = None,
    between_pieces: BetweenPieces = None,
    tell_costs: Annotated[bool, typer.Option("--tell-costs", hidden=True, help="A line for each answer.")] = False,
    with_parent: Annotated[int | None, typer.Option(hidden=True, help="The parent process, to end with it.")] = None,
) -> None:
    """Serve Workers AI: its REST API, OpenAI's endpoints, env.AI's protocol, and a playground.

    What is not said here is taken from variables, CFAI_DEVICE for --device, and from cfai.toml.

    Exit codes: 0 told to end, 2 bad options, 5 the port is taken, 70 a GPU failed for good.
    """
    import anyio

    from cfai.binding import Warmable
    from cfai.bindings.configured import accounted, configured_binding
    from cfai.bindings.faults.asked import faults_are_on
    from cfai.bindings.finetunes import FinetuneStore
    from cfai.bindings.uploads import limits_on
    from cfai.cli.fake import check_fake_options, fake_binding
    from cfai.cli.logs import show_logs
    from cfai.cli.settled import settled
    from cfai.cli.tape import asks_tape_alone, check_tape_options, served_tape, upstream
    from cfai.packages import MODELS
    from cfai.server.app import binding_app, rest_app
    from cfai.server.costs import note_cost
    from cfai.server.tail import TailSocket
    from cfai.serving import PortTaken, is_loopback, listen, listen_unix
    from cfai.serving import serve as serve_app

    if not is_loopback(host) and not token:
        fail(f"listening on {host} lets other machines in", ExitCode.USAGE, hint="set --token or CFAI_TOKEN")
    if "*" in cors_origin and not token:
        fail("--cors-origin '*' lets every page of the web in", ExitCode.USAGE, hint="set --token or CFAI_TOKEN")
    if (tls_cert is None) != (tls_key is None):
        fail("a certificate and its key belong together", ExitCode.USAGE, hint="--tls-cert FILE --tls-key FILE")
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    if tls:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*tls)
        except (ssl.SSLError, OSError) as error:
            fail(f"{tls_cert} and {tls_key} are no certificate and its key: {error}", ExitCode.USAGE)
    check_fake_options(
        fake=fake,
        its_own={
            "--answers": answers,
            "--first-piece-after": first_piece_after,
            "--between-pieces": between_pieces,
        },
        a_models={
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
    settings = settled(context)
    check_tape_options(tape, record=record, its_own={"--record": record, "--tape-speed": tape_speed})
    if fake and ai_url is not None:
        fail("--fake and --ai-url exclude each other", ExitCode.USAGE)
    runs_models = not fake and ai_url is None and not asks_tape_alone(tape, record)
    if runs_models and not any(model.upstream for model in settings.models.values()):
        need(MODELS, instead="--fake, which makes answers up")
    console = show_logs()

    def note(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    binding: Binding | None = None
    if ai_url is not None:
        binding = upstream(ai_url, ai_account)
    elif fake:
        binding = fake_binding(
            answers,
            first_piece_after=first_piece_after,
            between_pieces=between_pieces,
            settings=settings,
            on_notice=note,
        )
    elif runs_models:
        binding = configured_binding(settings, is_limited=False, on_notice=note, on_lost=_leave)

    played = None
    if tape is not None:
        played = served_tape(tape, binding, record=record, speed=tape_speed, settings=settings, on_notice=note)
    answering = played or binding
    warming: object = binding
    assert answering is not None, "there is a tape where no models run"

    def tell_cost(model: str, cost: Cost) -> None:
        note(f"⎔ {model}: {cost}; {account.shown()}")

    is_real = binding is not None and not fake
    answering = accounted(answering, settings, is_kept=is_real, on_answer=tell_cost if tell_costs else note_cost)
    account = answering.account

    try:
        listener = listen_unix(socket) if socket else listen(host, port)
    except PortTaken as error:
        fail(str(error.strerror), ExitCode.PORT_TAKEN, hint="another --port, or 0 for a free one")
    if fake and with_parent is None:  # which says it otherwise
        console.print(
            "[bold yellow]--fake: no model runs, answers are scripted or made up[/bold yellow]", soft_wrap=True
        )

    async def main(app: App) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                if isinstance(warming, Warmable):
                    tasks.start_soon(warming.warm_up)
                await serve_app(
                    app,
                    listener=listener,
                    end_streams=app.aclose,
                    with_parent=with_parent,
                    tls=tls,
                    websockets=TailSocket,
                )
                tasks.cancel_scope.cancel()
        finally:
            if played is not None:
                played.close_tape()

    if faults is not None:
        console.print("[bold red]warning:[/bold red]", end=" ")
        console.print(faults_are_on(faults), markup=False, highlight=False, soft_wrap=True)
    if socket:
        private = binding_app(
            answering, log_prompts=log_prompts, faults=faults, catalog=settings.catalog, as_of=settings.as_of
        )
        anyio.run(main, private)
        return
    app = rest_app(
        answering,
        token=token,
        hosts=[*allow_host, gethostname()],
        any_address=not is_loopback(host),
        cors_origins=cors_origin,
        log_prompts=log_prompts,
        keep_streams=keep_streams,
        faults=faults,
        catalog=settings.catalog,
        finetunes=FinetuneStore(limits=limits_on(settings.as_of)),
        as_of=settings.as_of,
    )
    shown = f"[{host}]" if ":" in host else host
    address = f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}"
    console.print(f"cfai listens on [bold]{address}[/bold]", highlight=False)
    console.print(f"  REST    {address}/client/v4/accounts/local/ai/run/MODEL", highlight=False, soft_wrap=True)
    console.print(f"  OpenAI  {address}/v1", highlight=False)
    console.print(f"  try it  {address}/", highlight=False)
    console.print(f"  health  {address}/health", highlight=False)
    if settings.source is not None:
        console.print(f"settings of {settings.source}", highlight=False, soft_wrap=True, markup=False)
    anyio.run(main, app)


def _leave(problem: str) -> None:
    """A GPU that has failed answers nothing more in this process; a supervisor starts another one."""
    # Time for the streams' last events. A process whose GPU is lost may hang when it ends in order.
    threading.Timer(LAST_EVENTS_SECONDS, os._exit, (ExitCode.DEVICE_LOST,)).start()
