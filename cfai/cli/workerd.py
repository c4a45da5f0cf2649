"""`cfai workerd`: a JavaScript Worker in workerd itself, without wrangler, its `env.AI` answered by cfai."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import check_server_url

__all__ = ["WorkerdConfig", "workerd"]

MODULE = "cfai-internal:ai"
MADE_BY = "# Made by `cfai workerd`, which writes it anew each time."
COMPATIBILITY_DATE = "2026-01-01"
"""Where no wrangler config has one; a workerd refuses dates that come after its own."""


def workerd(
    script: Annotated[Path, typer.Argument(help="The Worker: an ES module in JavaScript or TypeScript.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the Worker.")] = 8787,
    ai_url: Annotated[str, typer.Option(help="Where `cfai serve` is.")] = "http://127.0.0.1:8788",
    token: Annotated[str | None, typer.Option(envvar="CFAI_TOKEN", help="Its token, if it has one.")] = None,
    binding: Annotated[
        str | None, typer.Option(help="The name of the AI binding; that of the wrangler config, or AI.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The file to write; workerd.capnp beside the script.")] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Run workerd, if it is installed.")] = True,
) -> None:
    """Write a config for workerd and run it.

    Name, variables and compatibility date come from a wrangler config beside the script, if there is one. A script that
    imports packages is bundled with esbuild. workerd and esbuild are looked for in node_modules and on the PATH.

    Exit codes: 1 the script cannot be bundled, 2 something is not as it should be, 5 the port is taken; else workerd's.
    """
    if not script.is_file():
        fail(f"there is no file {script}", ExitCode.USAGE)
    script = script.absolute()
    file = (config or script.parent / "workerd.capnp").absolute()
    if file.exists() and not file.read_text("utf-8", "replace").startswith(MADE_BY):
        fail(f"{file} is not one that cfai made", ExitCode.USAGE, hint="another name with --config")
    try:
        check_server_url(ai_url)
    except ValueError as error:
        fail(str(error), ExitCode.USAGE)
    program = _tool("workerd", script.parent) if run else None
    if program is not None:
        _check_port(port)

    project = _wrangler_config(script)
    ai = project.get("ai")
    made = WorkerdConfig(
        module=_bundled(script, file.parent),
        port=port,
        ai_url=ai_url,
        token=token,
        binding=binding or (ai.get("binding") if isinstance(ai, Mapping) else None) or "AI",
        compatibility_date=str(project.get("compatibility_date") or COMPATIBILITY_DATE),
        compatibility_flags=tuple(map(str, project.get("compatibility_flags") or ())),
        variables=project.get("vars") or {},
    )
    file.touch(mode=0o600)  # a token may stand in it
    file.write_text(made.to_text(folder=file.parent), "utf-8")
    _serve(file, program, port, ai_url, run=run)


@dataclass(frozen=True, slots=True)
class WorkerdConfig:
    """What a config for workerd says: one Worker, a socket for it, and where its AI binding leads."""

    module: Path
    port: int
    ai_url: str
    token: str | None = None
    binding: str = "AI"
    compatibility_date: str = COMPATIBILITY_DATE
    compatibility_flags: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self, *, folder: Path) -> str:
        """The config in Cap'n Proto's words, for a file in `folder`."""
        ai_module = (resources.files("cfai") / "javascript" / "ai.mjs").read_text("utf-8")
        module = Path(os.path.relpath(self.module, folder))
        bindings = [self._ai(), *(_variable(name, value) for name, value in self.variables.items())]
        listed = ",\n    ".join(bindings)
        flags = ", ".join(map(_quoted, self.compatibility_flags))
        return f"""{MADE_BY}

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "worker", worker = .worker), (name = "cfai", external = .cfai)],
  sockets = [(name = "http", address = "127.0.0.1:{self.port}", http = (), service = "worker")],
  extensions = [(modules = [(name = {_quoted(MODULE)}, internal = true, esModule = .aiModule)])],
);

const worker :Workerd.Worker = (
  modules = [(name = {_quoted(module.name)}, esModule = embed {_quoted(module.as_posix())})],
  compatibilityDate = {_quoted(self.compatibility_date)},
  compatibilityFlags = [{flags}],
  bindings = [
    {listed},
  ],
);

const cfai :Workerd.ExternalServer = ({self._server()});

const aiModule :Text = {_quoted(ai_module)};
"""

    def _ai(self) -> str:
        inner = f'(name = "fetcher", service = "cfai"), (name = "url", text = {_quoted(self.ai_url)})'
        return (
            f"(name = {_quoted(self.binding)}, wrapped = (moduleName = {_quoted(MODULE)}, innerBindings = [{inner}]))"
        )

    def _server(self) -> str:
        url = urlsplit(self.ai_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        header = f'(name = "Authorization", value = {_quoted(f"Bearer {self.token}")})' if self.token else ""
        http = f"(injectRequestHeaders = [{header}])" if header else "()"
        if url.scheme == "https":
            http = f"(options = {http}, tlsOptions = (trustBrowserCas = true))"
        return f'address = "{host}:{port}", {url.scheme} = {http}'


def _variable(name: str, value: Any) -> str:
    if isinstance(value, str):
        return f"(name = {_quoted(name)}, text = {_quoted(value)})"
    return f"(name = {_quoted(name)}, json = {_quoted(json.dumps(value, default=str))})"


def _quoted(text: str) -> str:
    """A text as Cap'n Proto writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _wrangler_config(script: Path) -> dict[str, Any]:
    from cfai.config import CONFIG_NAMES, ConfigError, read_document

    for folder in (script.parent, script.parent.parent):
        for name in CONFIG_NAMES:
            if (folder / name).is_file():
                try:
                    return read_document(folder / name)
                except ConfigError as error:
                    fail(str(error), ExitCode.USAGE)
    return {}


_IMPORT = re.compile(
    r"""^\s*(?:import|export)\s+[\w$\s{},*]*?\bfrom\s*['"](?P<from>[^'"\n]+)['"]"""
    r"""|^\s*import\s*['"](?P<bare>[^'"\n]+)['"]|\bimport\(\s*['"](?P<late>[^'"\n]+)['"]""",
    re.MULTILINE,
)


def _bundled(script: Path, folder: Path) -> Path:
    """The script as one module: itself, or a bundle if it imports what workerd does not have."""
    names = [str(found[found.lastgroup or 0]) for found in _IMPORT.finditer(script.read_text("utf-8"))]
    needs = [name for name in names if not name.startswith(("cloudflare:", "node:"))]
    if not needs and script.suffix in (".js", ".mjs"):
        return script
    esbuild = _tool("esbuild", script.parent)
    if esbuild is None:
        what = f"imports {needs[0]}" if needs else "is not JavaScript"
        fail(f"{script.name} {what}, so it must be bundled", ExitCode.FAILED, hint="npm install --save-dev esbuild")
    bundle = folder / f"{script.stem}.workerd.js"
    options = ["--bundle", "--format=esm", "--target=esnext", "--main-fields=module,main"]
    options += ["--conditions=workerd,worker,browser", "--external:cloudflare:*", "--external:node:*"]
    done = subprocess.run(
        [esbuild, str(script), *options, "--log-level=warning", f"--outfile={bundle}"], cwd=script.parent, check=False
    )
    if done.returncode:
        fail(f"esbuild could not bundle {script.name}", ExitCode.FAILED)
    return bundle


def _tool(name: str, folder: Path) -> str | None:
    """A program of the project's node_modules, or of the PATH."""
    for place in (folder, *folder.parents):
        if (found := place / "node_modules" / ".bin" / name).exists():
            return str(found)
    return shutil.which(name)


def _check_port(port: int) -> None:
    from cfai.serving import PortTaken, listen

    try:
        listen("127.0.0.1", port).close()
    except PortTaken as error:
        fail(str(error.strerror), ExitCode.PORT_TAKEN, hint="another --port")


def _is_answered(url: str) -> bool:
    """Whether anything listens there; only a request would tell what."""
    address = urlsplit(url)
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=2).close()
    except OSError:
        return False
    return True


def _serve(file: Path, program: str | None, port: int, ai_url: str, *, run: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{file}[/bold] is written: env.AI asks {ai_url}")
    if program is None:
        console.print(f"  npx workerd serve {file}", style="cyan", markup=False)
        if run:
            console.print("workerd is not installed here; `npm install workerd` puts it into node_modules.")
        return
    if not _is_answered(ai_url):
        console.print(f"[bold yellow]nothing answers at {ai_url}[/bold yellow]: start `cfai serve` there for env.AI")
    console.print(f"  the Worker listens on [bold]http://127.0.0.1:{port}[/bold]")
    console.file.flush()
    os.execv(program, [program, "serve", "--watch", str(file)])  # Ctrl-C is workerd's from here on
