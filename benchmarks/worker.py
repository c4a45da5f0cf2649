"""`cfai dev`: its start, its reloads, requests per second and memory. See README.md.

python benchmarks/worker.py --runs 5
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

HELLO = "from workers import Response\n\ndef on_fetch(request, env):\n    return Response({text!r})\n"
RELOADS = 20
SECONDS = 4.0
CONNECTIONS = (1, 16, 64)
REQUESTS = 50_000
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Dev:
    """`cfai dev` of one script, without a model."""

    def __init__(self, folder: Path, *, ai: bool) -> None:
        self.script = folder / "entry.py"
        self.script.write_text(HELLO.format(text="first"))
        config = {"main": "entry.py", "compatibility_date": "2025-01-01", "compatibility_flags": ["python_workers"]}
        (folder / "wrangler.json").write_text(json.dumps({**config, **({"ai": {"binding": "AI"}} if ai else {})}))
        command = [sys.executable, "-m", "cfai", "dev", str(folder), "--port", "0"]
        self.started_at = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self._lines = iter(self.process.stdout.readline, "")
        self.port = int(self._line("Ready on").rpartition(":")[2])

    def _line(self, text: str) -> str:
        return next(line for line in self._lines if text in line)

    def drain(self) -> None:
        """Read on, so that the process does not wait for a reader."""
        assert self.process.stdout is not None
        with Path(os.devnull).open("w") as nowhere:
            self._drain = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=nowhere)

    def answer(self) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()

    def memory(self) -> dict[str, float]:
        """MB of each process: the one that answers, the one in reserve, the supervisor. Shared pages count for each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"cfai.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        pids = dict(zip(("worker", "reserve"), workers, strict=False)) | {"supervisor": str(self.process.pid)}
        return {name: _megabytes(pid) for name, pid in pids.items()}

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        for _ in self._lines:
            pass
        self.process.wait(30)


def _megabytes(pid: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextlib.contextmanager
def dev(*, ai: bool = False) -> Iterator[Dev]:
    with tempfile.TemporaryDirectory() as folder:
        running = Dev(Path(folder), ai=ai)
        try:
            yield running
        finally:
            running.end()


def start(*, ai: bool) -> float:
    """Seconds from the command to the first answer."""
    with dev(ai=ai) as running:
        assert running.answer() == "first"
        return time.perf_counter() - running.started_at


def reloads(count: int, *, ai: bool) -> tuple[list[float], dict[str, float]]:
    """Seconds from each save to the first answer of what was saved, and the memory of the processes."""
    took: list[float] = []
    with dev(ai=ai) as running:
        running.answer()
        for number in range(count):
            time.sleep(1.5)  # as somebody who types
            saved_at = time.perf_counter()
            running.script.write_text(HELLO.format(text=f"save {number}"))
            while running.answer() != f"save {number}":
                time.sleep(0.002)
            took.append(time.perf_counter() - saved_at)
        time.sleep(2)
        memory = running.memory()
    return took, memory


class _Connection(asyncio.Protocol):
    """Asks again as soon as an answer is complete. All answers are of one length."""

    def __init__(self, done: asyncio.Event, until: float, most: int) -> None:
        self._done = done
        self._until = until
        self._most = most
        self._received = b""
        self._length = 0
        self.times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._length:
            head, end, _ = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200"), head
            found = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._length = len(head) + 4 + int(found.partition(b":")[2])
        if len(self._received) < self._length:
            return
        self._received = b""
        now = time.perf_counter()
        self.times.append(now - self._asked_at)
        if now > self._until or len(self.times) >= self._most:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._done.set()


async def _load(port: int, connections: int, seconds: float, most: int) -> None:
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    ends = [asyncio.Event() for _ in range(connections)]
    asked = [
        (await loop.create_connection(lambda end=end: _Connection(end, begun + seconds, most), "127.0.0.1", port))[1]
        for end in ends
    ]
    for end in ends:
        await end.wait()
    took = time.perf_counter() - begun
    times = sorted(one for connection in asked for one in connection.times)
    sys.stdout.write(json.dumps([len(times) / took, statistics.median(times), times[int(len(times) * 0.99)]]))


def load(port: int, connections: int, seconds: float = 3600, most: int = 1 << 30) -> tuple[float, float, float]:
    """Requests per second, and the median and 99th percentile of an answer's seconds, from a process of its own."""
    command = [sys.executable, __file__, "--load", str(port), str(connections), str(seconds), str(most)]
    rate, median, slow = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return rate, median, slow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="starts; one does not count")
    parser.add_argument("--reloads", type=int, default=RELOADS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load for each number of connections")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="over which memory is watched")
    parser.add_argument("--ai", action="store_true", help="with an AI binding: an engine starts beside it")
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        port, connections, seconds, most = given.load
        asyncio.run(_load(int(port), int(connections), float(seconds), int(most)))
        return
    versions = [f"{name} {version(name)}" for name in ("uvicorn", "h11", "anyio", "watchfiles")]
    print(f"Python {platform.python_version()}, {', '.join(versions)}, {os.cpu_count()} cores")
    start(ai=given.ai)
    starts = [start(ai=given.ai) for _ in range(given.runs)]
    print(f"start to first answer: {statistics.median(starts):.2f} s (slowest {max(starts):.2f})")
    took, memory = reloads(given.reloads, ai=given.ai)
    print(f"save to first answer: {1000 * statistics.median(took):.0f} ms (slowest {1000 * max(took):.0f})")
    print("memory, MB: " + ", ".join(f"{name} {size:.0f}" for name, size in memory.items()))
    with dev(ai=given.ai) as running:
        running.drain()
        for connections in CONNECTIONS:
            rate, median, slow = load(running.port, connections, given.seconds)
            print(f"{connections} connections: {rate:.0f} requests/s, {1000 * median:.1f} ms, p99 {1000 * slow:.1f} ms")
    with dev(ai=given.ai) as running:
        running.drain()
        sizes = []
        for _ in range(5):
            load(running.port, 16, most=given.requests // 5 // 16)
            sizes.append(running.memory()["worker"])
        steps = ", ".join(f"{size:.1f}" for size in sizes)
        print(f"memory of the worker after each fifth of {given.requests} requests, MB: {steps}")


if __name__ == "__main__":
    main()
