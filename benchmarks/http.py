"""`cfai serve` beside `transformers serve --continuous-batching` and llama.cpp's server. See README.md.

python benchmarks/http.py --model 125m --streams 1 4 16 64 --runs 3
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # else this file hides the library's http

from benchmarks import machine, models
from benchmarks.answers import Answer, figures
from benchmarks.client import StreamClient, loop_delay
from benchmarks.servers import SERVERS, Server, Workload, serving
from benchmarks.turns import Figures, median, ratio, save, table, take_turns

LONG_ANSWER = 2000
STEPS = 500
SAMPLE_SECONDS = 0.02
CANCELS = 20


class LoopTrace:
    """The CPU time of a server's event loop over the time of a measurement, sampled."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._times: list[float] = []
        self._seconds: list[float] = []

    async def __aenter__(self) -> LoopTrace:
        self._watch = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()

    async def _sample(self) -> None:
        while True:
            self._times.append(time.perf_counter())
            self._seconds.append(self._server.loop_cpu())
            await asyncio.sleep(SAMPLE_SECONDS)

    def between(self, start: float, end: float) -> float:
        """Seconds of CPU between two moments of `time.perf_counter`."""
        return self._until(end) - self._until(start)

    def _until(self, moment: float) -> float:
        after = min(max(bisect.bisect(self._times, moment), 1), len(self._times) - 1)
        (t0, t1), (c0, c1) = self._times[after - 1 : after + 1], self._seconds[after - 1 : after + 1]
        return c0 + (c1 - c0) * (moment - t0) / (t1 - t0)


async def _answers(server: Server, prompts: list[str], tokens: int) -> list[Answer]:
    """The answers to `prompts`, asked for at once; their times are those of `time.perf_counter`."""
    clients = [await StreamClient.open(server.port, server.request(prompt, tokens)) for prompt in prompts]
    return [await client.answer() for client in clients]


def _since(begun: float, answers: list[Answer]) -> list[Answer]:
    return [Answer([at - begun for at in answer.times], answer.tokens) for answer in answers]


async def streams(server: Server, work: Workload) -> Figures:
    """Time to first token, pace and CPU with `work.streams` readers."""
    await _answers(server, models.prompt_texts(work.folder, work.streams, work.prompt, seed=1), 8)
    await asyncio.sleep(machine.idle_seconds(work.device))
    prompts = models.prompt_texts(work.folder, work.streams, work.prompt, seed=2)
    late: list[float] = []
    watch = asyncio.create_task(loop_delay(late))
    begun, cpu = time.perf_counter(), server.cpu()
    async with LoopTrace(server) as trace:
        answers = await _answers(server, prompts, work.tokens)
        await asyncio.sleep(2 * SAMPLE_SECONDS)
    cpu = server.cpu() - cpu
    watch.cancel()
    found = figures(_since(begun, answers))
    # While all of them stream: taking requests in costs as well, but not per token.
    first, last = max(answer.times[0] for answer in answers), min(answer.times[-1] for answer in answers)
    tokens = sum(answer.made_between(first, last) for answer in answers)
    # llama.cpp's main thread is the one that computes.
    has_loop = work.server != "llama.cpp" and last > first
    return {
        **found,
        "cpu ms": 1000 * cpu / found["tokens"],
        "loop us": 1e6 * trace.between(first, last) / tokens if has_loop else None,
        "client late p99 ms": 1000 * statistics.quantiles(late, n=100)[98],
    }


async def flat(server: Server, work: Workload) -> Figures:
    """One answer of 2,000 tokens: the event loop's CPU per piece early and late, and the time per piece."""
    await _answers(server, models.prompt_texts(work.folder, 1, 8, seed=1), 8)
    async with LoopTrace(server) as trace:
        answer = (await _answers(server, models.prompt_texts(work.folder, 1, 8, seed=2), LONG_ANSWER))[0]
        await asyncio.sleep(2 * SAMPLE_SECONDS)
    pieces = len(answer.times)

    def loop_us(start: int, end: int) -> float:
        return 1e6 * trace.between(answer.times[start], answer.times[end]) / (end - start)

    early, late = loop_us(10, pieces // 5), loop_us(pieces - pieces // 5, pieces - 1)
    return {
        "early loop us": early,
        "late loop us": late,
        "late/early loop": late / early,
        "late/early time": figures([answer])["late/early"],
    }


async def stalled(server: Server, work: Workload) -> Figures:
    """The pace of four readers beside a fifth stream that nobody reads, over that beside one that is read."""
    *texts, other = models.prompt_texts(work.folder, 5, 64, seed=2)

    async def pace(*, reads: bool) -> float:
        fifth = await StreamClient.open(server.port, server.request(other, LONG_ANSWER), reads=reads)
        begun = time.perf_counter()
        answers = _since(begun, await _answers(server, texts, 300))
        fifth.close()
        await asyncio.sleep(0)  # the socket is closed in the loop's next turn
        _wait_until_idle(server)
        return float(figures(answers)["tokens/s"])

    await pace(reads=True)
    pairs = [(await pace(reads=True), await pace(reads=False)) for _ in range(3)]
    return {
        "beside a reader, tokens/s": statistics.median(reading for reading, _ in pairs),
        "beside a non-reader, tokens/s": statistics.median(silent for _, silent in pairs),
        "non-reader/reader": statistics.median(silent / reading for reading, silent in pairs),
    }


def _wait_until_idle(server: Server) -> None:
    while (now := server.health())["running"] or now["waiting"]:
        pass


async def cancel(server: Server, work: Workload) -> Figures:
    """From the client's close to the slot being free, as /health tells: while decoding, and in a long prefill."""
    await _answers(server, models.prompt_texts(work.folder, 1, 64, seed=1), 8)
    text = models.prompt_texts(work.folder, 1, 64, seed=2)[0]
    answer = (await _answers(server, [text], 64))[0]
    long_texts = models.prompt_texts(work.folder, CANCELS + 1, work.prompt, seed=3)
    begun = time.perf_counter()
    prefill = (await _answers(server, long_texts[-1:], 1))[0].times[0] - begun
    decoding = [_freed_after(server, server.request(text, LONG_ANSWER), events=3) for _ in range(CANCELS)]
    prefilling = [_freed_after(server, server.request(text, 1), wait=prefill / 3) for text in long_texts[:-1]]
    return {
        "step ms": 1000 * statistics.median(answer.gaps),
        "decode, freed after ms": 1000 * statistics.median(decoding),
        "decode, worst ms": 1000 * max(decoding),
        "prefill ms": 1000 * prefill,
        "prefill, freed after ms": 1000 * statistics.median(prefilling),
        "prefill, worst ms": 1000 * max(prefilling),
    }


def _freed_after(server: Server, request: bytes, *, events: int = 0, wait: float = 0.0) -> float:
    """Seconds from closing the connection, after so many events or seconds, until nothing runs."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.sendall(request)
        data = b""
        while data.count(b"data: ") < events:
            data += connection.recv(65536)
        time.sleep(wait)
    begun = time.perf_counter()
    _wait_until_idle(server)
    return time.perf_counter() - begun


def text_cost(work: Workload) -> Figures:
    """CPU of the engine's side of streaming, without a model: tokens to pieces, and one crossing per step."""
    from cfai.engine import PieceStreamer
    from cfai.engine.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(work.folder)
    answers = models.prompt_ids(work.streams, STEPS, seed=2)
    seconds = [0.0]

    def make(loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
        pieces: list[str] = []
        streamers = [PieceStreamer(tokenizer, pieces.append) for _ in answers]
        begun = time.thread_time()
        for step in zip(*answers, strict=True):
            for streamer, token in zip(streamers, step, strict=True):
                streamer.put(token)
            loop.call_soon_threadsafe(pieces.clear)
        seconds[0] = time.thread_time() - begun
        loop.call_soon_threadsafe(done)

    async def main() -> None:
        done = asyncio.Event()
        threading.Thread(target=make, args=(asyncio.get_running_loop(), done.set)).start()
        await done.wait()

    asyncio.run(main())
    return {"text us": 1e6 * seconds[0] / (work.streams * STEPS)}


MEASURES: dict[str, Callable[[Server, Workload], Any]] = {
    "streams": streams,
    "flat": flat,
    "stalled": stalled,
    "cancel": cancel,
}


def measure(work: Workload) -> Figures:
    if work.measure == "text":
        return text_cost(work)
    with serving(work) as server:
        if server is None:
            return {"skipped": "llama-server is not installed; --llama-server says where it is"}
        found: Figures = asyncio.run(MEASURES[work.measure](server, work))
        return found


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Workload(**json.loads(sys.argv[2])))))
        return
    given = _arguments()
    models.checkpoint(given.model, given.cache)
    threads = given.threads or machine.cores()
    work = Workload(
        measure="streams",
        server="cfai",
        model=given.model,
        cache=str(given.cache),
        device=given.device,
        dtype=given.dtype,
        threads=threads,
        streams=1,
        prompt=given.prompt,
        tokens=given.tokens,
        llama_server=given.llama_server,
    )
    about = machine.description()
    print(" ".join(["benchmarks/http.py", *sys.argv[1:]]), about)
    record: Figures = {"script": "http", "machine": about, "options": {**vars(given), "cache": None, "json": None}}
    if "streams" in given.measures:
        record["rows"], record["cases"] = [], []
        for count in given.streams:
            print(f"{count} streams ", end="", file=sys.stderr, flush=True)
            works = {name: replace(work, server=name, streams=count) for name in given.servers}
            works["text"] = replace(work, measure="text", streams=count)
            runs = take_turns(__file__, {name: asdict(each) for name, each in works.items()}, given.runs)
            record["cases"].append({"streams": count, "runs": runs})
            record["rows"] += _rows(count, given.servers, runs)
            save(given.json, record)
        print(table(record["rows"]))
    if own := [name for name in ("flat", "stalled", "cancel") if name in given.measures]:
        record["own"] = {}
        for name in own:
            print(f"{name} ", end="", file=sys.stderr, flush=True)
            record["own"] |= take_turns(__file__, {name: asdict(_own(work, name))}, given.runs)
            save(given.json, record)
        print(table([row for name, runs in record["own"].items() for row in _own_rows(name, runs)]))


def _own(work: Workload, name: str) -> Workload:
    """What is asked of cfai alone, with the room that it needs."""
    return replace(work, measure=name, streams={"stalled": 5}.get(name, 1), prompt=2048, tokens=LONG_ANSWER)


def _rows(count: int, servers: list[str], runs: dict[str, list[Figures]]) -> list[Figures]:
    rows = []
    for name in servers:
        shown = ("tokens/s", "first ms", "gap ms", "gap p99 ms", "cpu ms", "loop us", "client late p99 ms")
        row: Figures = {"streams": count, "server": name, **{key: median(runs[name], key) for key in shown}}
        row["text us"] = median(runs["text"], "text us") if name == "cfai" else None
        row["cfai/it"] = ratio(runs["cfai"], runs[name], "tokens/s") if "cfai" in runs else None
        rows.append(row)
    return rows


def _own_rows(name: str, runs: list[Figures]) -> list[Figures]:
    shown = [figure for figure in runs[0] if figure != "skipped"]
    return [{"measure": name, "figure": figure, "median": median(runs, figure)} for figure in shown]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="`cfai serve` beside other servers, over HTTP.")
    parser.add_argument("--model", choices=models.SHAPES, default="125m")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=models.GGUF_KINDS)
    parser.add_argument("--threads", type=int, help="CPU threads of every model; one for a small one, else a core each")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--llama-server", help="llama.cpp's server, if it is not on the PATH")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=models.CACHE, help="where the models are made")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
