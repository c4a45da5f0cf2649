"""An edit storm: somebody's formatter saves the script again and again while answers stream.

`CFAI_EDIT_STORM=full` makes it 100 saves in 30 seconds beside 8 streams, instead of 20 in 6 beside 4.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx2

from cfai.cli.figures import Figures, parse
from tests.cli.dev import address_of, children_of, configure, dev, engine_of, wait_for

MODEL = "@cfai/demo/tiny-chat"
SAVES, SECONDS, STREAMS = (100, 30.0, 8) if os.environ.get("CFAI_EDIT_STORM") == "full" else (20, 6.0, 4)
SCRIPT = (
    "from workers import Response\n\nasync def on_fetch(request, env):\n"
    "    if '/which' in request.url:\n        return Response('{number}')\n"
    "    inputs = {{'prompt': 'tell me a story', 'max_tokens': 30, 'stream': True}}\n"
    f"    stream = await env.AI.run({MODEL!r}, inputs)\n"
    "    return Response(stream, headers={{'content-type': 'text/event-stream'}})\n"
)
DONE = b"data: [DONE]\n\n"


class Reader(threading.Thread):
    """Reads one stream after the other, as a page with an EventSource and a user does."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._is_over = threading.Event()
        self.whole = 0
        self.ended_early = 0
        self.refused = 0
        self.odd: list[object] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                with httpx2.stream("GET", self._address, timeout=60) as response:
                    body = b"".join(response.iter_raw())
            except httpx2.HTTPError as error:
                self.odd.append(error)
                continue
            if response.status_code == 503 and response.headers["retry-after"]:
                self.refused += 1  # before it began
            elif response.status_code != 200 or not body.endswith(DONE):
                self.odd.append((response.status_code, body[-200:]))
            elif b'"errors"' in body:
                self.ended_early += 1
            else:
                self.whole += 1

    def stop(self) -> None:
        self._is_over.set()


def figures_of(temporary: Path) -> Figures:
    transport = httpx2.HTTPTransport(uds=str(next(temporary.glob("cfai-*/ai.sock"))))
    with httpx2.Client(transport=transport, base_url="http://engine") as client:
        return parse(client.get("/metrics", timeout=30).text)


def test_an_edit_storm_beside_live_streams(project: Path, temporary: Path) -> None:
    script = project / "entry.py"
    script.write_text(SCRIPT.format(number="before"))
    configure(project)
    with dev(project, temporary) as process:
        address = address_of(process)
        assert httpx2.get(address, timeout=60).content.endswith(DONE)  # the model is loaded
        engine, loaded = engine_of(process), figures_of(temporary).models[MODEL].values["load_seconds"]

        readers = [Reader(address) for _ in range(STREAMS)]
        for reader in readers:
            reader.start()
        for number in range(SAVES):
            script.write_text(SCRIPT.format(number=number))
            time.sleep(SECONDS / SAVES)
        wait_for(lambda: httpx2.get(f"{address}/which", timeout=60).text == str(SAVES - 1))
        wait_for(lambda: all(reader.whole + reader.ended_early for reader in readers))
        for reader in readers:
            reader.stop()
        for reader in readers:
            reader.join(60)
        sys.stdout.write(
            f"{SAVES} saves in {SECONDS} s beside {STREAMS} readers, whose answers were "
            f"{sum(reader.whole for reader in readers)} whole, {sum(reader.ended_early for reader in readers)} ended "
            f"with an error event, {sum(reader.refused for reader in readers)} refused before they began\n"
        )

        assert [odd for reader in readers for odd in reader.odd] == []
        # The one that answers, and the one in reserve.
        wait_for(lambda: len(children_of(process)) == 3)
        assert engine_of(process) == engine
        wait_for(lambda: figures_of(temporary).models[MODEL].values["requests_running"] == 0)
        after = figures_of(temporary).models[MODEL].values
        assert (after["requests_waiting"], after["load_seconds"]) == (0, loaded)
        assert process.end(signal.SIGINT) == 0
        assert "Traceback" not in process.rest
