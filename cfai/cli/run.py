"""`cfai run`: one prompt, answered on the terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfai import sse
from cfai.cli.endings import ExitCode, fail, fail_with
from cfai.cli.options import (
    AsOf,
    Demo,
    Device,
    Dtype,
    KeepAlive,
    Memory,
    Models,
    Offline,
    Pin,
    RateLimits,
    SettingsFile,
    StrictRetired,
    Threads,
)
from cfai.errors import AiError, WeightsMissing

if TYPE_CHECKING:
    from cfai.config.settings import Settings

__all__ = ["run"]


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model id, such as @cf/meta/llama-2-7b-chat-int8.")],
    prompt: Annotated[str, typer.Argument(help="The prompt; - reads it from standard input.")],
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Print the answer as it is made.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the raw events, or the result as JSON.")] = False,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Make this many tokens at most.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 always takes the likeliest token; 0.6 by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Make the same answer again.")] = None,
    as_of: AsOf = None,
    models: Models = [],  # noqa: B006  # Typer copies it
    demo: Demo = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    memory: Memory = None,
    keep_alive: KeepAlive = None,
    pin: Pin = [],  # noqa: B006  # Typer copies it
    limits: RateLimits = None,
    strict_retired: StrictRetired = None,
    offline: Offline = None,
    settings_file: SettingsFile = None,
) -> None:
    """Run a model with one prompt and print its answer as it is made.

    What is not said here is taken from variables, CFAI_DEVICE for --device, and from cfai.toml.

    Exit codes: 0 answered, 1 the model failed, 2 bad input, 3 no such model or no weights, 4 busy, 130 Ctrl-C.
    """
    import anyio

    from cfai.ai import Ai
    from cfai.bindings.configured import accounted, configured_binding
    from cfai.cli.loading import loading_bar
    from cfai.cli.settled import settled

    settings = settled(context)
    text = _read_stdin() if prompt == "-" else prompt
    inputs: dict[str, Any] = {"stream": stream}
    if system is None:
        inputs["prompt"] = text
    else:
        inputs["messages"] = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    inputs |= {name: value for name, value in given.items() if value is not None}

    async def main() -> None:
        with loading_bar() as bar:
            binding = configured_binding(settings, is_limited=False, on_progress=bar.progress, on_notice=bar.say)
            binding = accounted(binding, settings, is_kept=True)
            async with Ai(binding) as ai:
                result = await ai.run(model, inputs)
                with bar.answering():
                    await (_print_stream(result, json) if stream else _print_result(result, json))

    try:
        try:
            anyio.run(main)
        except WeightsMissing as error:
            _offer_to_fetch(model, error, settings)
            anyio.run(main)
    except AiError as error:
        fail_with(error)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read the answer has seen enough. The interpreter's own last flush must not complain about that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.FAILED) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"the answer cannot be written: {error.strerror}", ExitCode.FAILED)


def _offer_to_fetch(model: str, error: WeightsMissing, settings: Settings) -> None:
    """Return when the user wants the weights and has them; else the command ends with the error."""
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not is_terminal or settings.offline or f"`cfai pull {model}`" not in error.hint:
        fail_with(error)
    from cfai.cli.pull import fetch

    sys.stderr.write(f"{error.description}\n")
    try:
        is_wanted = typer.confirm(f"fetch them now, as `cfai pull {model}` does?", err=True)
    except typer.Abort:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if not is_wanted:
        fail_with(error)
    fetch(model, settings, to=sys.stderr)


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        fail(f"standard input is not UTF-8 at byte {error.start}", ExitCode.USAGE)


async def _print_stream(stream: Any, json: bool) -> None:
    decoder = sse.Decoder()
    ended_at_line_start = True
    async with stream:
        try:
            async for event in stream:
                if json:
                    _write(event.decode())
                    continue
                for data in decoder.feed(event):
                    piece = (sse.loads(data) or {}).get("response", "")
                    _write(piece)
                    ended_at_line_start = piece.endswith("\n") if piece else ended_at_line_start
        finally:
            if not json and not ended_at_line_start:
                _write("\n")


async def _print_result(result: Any, json: bool) -> None:
    _write((sse.dumps(result) if json else result["response"]) + "\n")


def _steers_terminal(char: str) -> bool:
    is_control = unicodedata.category(char) == "Cc" and char not in "\n\t"
    return is_control or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def _write(text: str) -> None:
    if sys.stdout.isatty():
        # Whatever a model says, it must not steer the terminal or turn text around.
        text = "".join("\ufffd" if _steers_terminal(char) else char for char in text)
    sys.stdout.write(text)
    sys.stdout.flush()
