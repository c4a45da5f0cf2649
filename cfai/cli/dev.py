"""`cfai dev`: a Worker project, run on this machine and reloaded on every save."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfai.cli.options import AllowHosts, AsOf, Demo, Device, Dtype, ExitCode, Fidelity, Models, Threads, fail

if TYPE_CHECKING:
    from socket import socket

__all__ = ["dev"]


def dev(
    path: Annotated[Path, typer.Argument(help="A project folder, a wrangler config, or a single script.")] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; the next free one if it is taken.")] = 8787,
    ip: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    allow_host: AllowHosts = [],  # noqa: B006  # Typer copies it
    as_of: AsOf = None,
    fidelity: Fidelity = "clean",
    models: Models = [],  # noqa: B006  # Typer copies it
    demo: Demo = False,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
) -> None:
    """Run a Python Worker project, with env.AI answered by local models.

    Exit codes: 0 told to end, 2 the project cannot be read, 5 no port is free.
    """
    import anyio

    from cfai.config import ConfigError, load_config
    from cfai.serving import PortTaken
    from cfai.worker.supervisor import EngineStopped, supervise

    try:
        config = load_config(path)
        listener = _listen(ip, port)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    except PortTaken as error:
        fail(str(error.strerror), ExitCode.PORT_TAKEN)
    engine = _engine_options(
        as_of=as_of, fidelity=fidelity, models=models, demo=demo, device=device, dtype=dtype, threads=threads
    )
    try:
        anyio.run(supervise, path, config, listener, engine, [*allow_host, ip])
    except EngineStopped:
        fail("the engine process ended while it started", ExitCode.FAILED)


def _listen(host: str, port: int) -> socket:
    import errno

    from cfai.serving import PortTaken, listen

    for candidate in range(port, min(port + 20, 65536)):
        try:
            return listen(host, candidate)
        except PortTaken as error:
            if error.errno != errno.EADDRINUSE or port == 0 or candidate in (port + 19, 65535):
                raise
            typer.echo(f"port {candidate} is taken")
    raise AssertionError("the range is never empty")


def _engine_options(
    *,
    as_of: str | None,
    fidelity: str,
    models: Sequence[str],
    demo: bool,
    device: str | None,
    dtype: str | None,
    threads: int | None,
) -> list[str]:
    named = {"--as-of": as_of, "--fidelity": fidelity, "--device": device, "--dtype": dtype, "--threads": threads}
    options = [f"{name}={value}" for name, value in named.items() if value is not None]
    options += [f"--model={model}" for model in models]
    return [*options, "--demo"] if demo else options
