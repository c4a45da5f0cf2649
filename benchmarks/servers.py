"""The servers that are compared, each in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import models
from benchmarks.client import bytes_of

__all__ = ["SERVERS", "Server", "Workload", "serving"]

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300.0
PAGE = 256


@dataclass(frozen=True, slots=True)
class Workload:
    """One measurement: `streams` different prompts of `prompt` tokens at once, `tokens` greedy ones for each."""

    measure: str
    server: str
    model: str
    cache: str
    device: str
    dtype: str
    threads: int
    streams: int
    prompt: int
    tokens: int
    llama_server: str | None = None

    @property
    def folder(self) -> Path:
        return models.checkpoint(self.model, Path(self.cache))

    @property
    def slots(self) -> int:
        return self.streams + 1


@dataclass(frozen=True, slots=True)
class Form:
    """How a server is started and asked. The command listens on 127.0.0.1 and `port`."""

    command: list[str]
    path: str
    options: dict[str, Any]


def _cfai(work: Workload, port: int) -> Form:
    model = f"@cf/bench/{work.model}"
    options = ["--slots", work.slots, "--queue", work.slots, "--threads", work.threads]
    where = ["--port", port, "--device", work.device, "--dtype", work.dtype]
    command = [sys.executable, "-m", "cfai", "serve", "--model", f"{model}={work.folder}", *where, *options]
    return Form([*map(str, command)], f"/client/v4/accounts/local/ai/run/{model}", {"raw": True})


def _transformers(work: Workload, port: int) -> Form:
    dtype = work.dtype if work.dtype != "int8" else "float32" if work.device == "cpu" else "float16"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", work.folder, "--continuous-batching"]
    where = ["--host", "127.0.0.1", "--port", port, "--device", work.device, "--dtype", dtype]
    if work.device == "cpu":  # it would take nearly all memory for its cache
        pages = work.slots * (-(-(work.prompt + work.tokens) // PAGE) + 1)
        where += ["--cb-num-blocks", pages, "--cb-max-batch-tokens", 512]
    return Form([*map(str, [*command, *where])], "/v1/completions", {"model": str(work.folder)})


def _llama_cpp(work: Workload, port: int) -> Form | None:
    binary = work.llama_server or shutil.which("llama-server")
    if binary is None:
        return None
    file = models.gguf(work.model, Path(work.cache), dtype=work.dtype)
    context = work.slots * (work.prompt + work.tokens + 64)
    command = [binary, "-m", file, "-c", context, "-np", work.slots, "-t", work.threads, "-tb", work.threads]
    options = {"cache_prompt": False, "ignore_eos": True, "stream_options": {"include_usage": True}}
    return Form([*map(str, [*command, "--host", "127.0.0.1", "--port", port])], "/v1/completions", options)


SERVERS = {"cfai": _cfai, "transformers": _transformers, "llama.cpp": _llama_cpp}


class Server:
    """A server that answers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, form: Form) -> None:
        self.port = port
        self._process = process
        self._form = form

    def request(self, prompt: str, tokens: int) -> bytes:
        """The bytes of a request for a greedy stream."""
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, **self._form.options}
        return bytes_of(self.port, self._form.path, body)

    def health(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            if response.status != 200:
                raise ConnectionError(f"/health: {response.status}")
            found: dict[str, Any] = json.loads(response.read() or b"{}")
            return found
        finally:
            connection.close()

    def cpu(self) -> float:
        """Seconds of CPU of the whole process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def loop_cpu(self) -> float:
        """Seconds of CPU of the main thread, which is where a Python server has its event loop."""
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.health()
                return
            time.sleep(0.1)
        raise TimeoutError("the server did not answer")


@contextlib.contextmanager
def serving(work: Workload) -> Iterator[Server | None]:
    """The server of `work` until the block ends; None if it is not installed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    form = SERVERS[work.server](work, port)
    if form is None:
        yield None
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(work.threads), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(form.command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        server = Server(process, port, form)
        try:
            server.wait()
            yield server
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-2000:] + "\n")
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
