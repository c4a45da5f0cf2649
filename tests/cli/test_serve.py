"""`cfai serve`: its options, and its end while there is work that nobody waits for."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from cfai.cli import app
from tests.processes import Process

MODEL = "@cf/test/endless"
ORIGIN = "https://app.example"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--cors-origin", "*"], "lets every page of the web in"),
        (["--cors-origin", "app.example"], "is no origin"),
        (["--cors-origin", "https://app.example/path"], "is no origin"),
        (["--keep-streams", "-1"], "--keep-streams"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CFAI_TOKEN", raising=False)
    result = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.replace("│", " ").split())


def test_work_that_nobody_waits_for_does_not_keep_the_server(endless_llama: Path) -> None:
    options = ["--model", f"{MODEL}={endless_llama}", "--cors-origin", ORIGIN, "--log-prompts"]
    with Process("serve", "--port", "0", *options) as process:
        address = process.read_until("cfai listens on").split()[-1]
        url = f"{address}/client/v4/accounts/a/ai/run/{MODEL}"
        requests = [{"prompt": f"batch {number}", "max_tokens": 4000} for number in range(50)]
        queued = httpx2.post(
            url, params={"queueRequest": "true"}, json={"requests": requests}, headers={"origin": ORIGIN}, timeout=60
        )
        assert queued.json()["result"]["status"] == "queued"
        assert queued.headers["access-control-allow-origin"] == ORIGIN
        body = {"prompt": "left alone", "max_tokens": 4000, "stream": True}
        with httpx2.stream("POST", url, json=body, headers={"last-event-id": "0"}, timeout=60) as response:
            assert next(response.iter_raw()).startswith(b"id: ")
        assert process.end(signal.SIGTERM) == 0
        assert "left alone" in process.rest
        assert "Traceback" not in process.rest
        assert "never retrieved" not in process.rest
