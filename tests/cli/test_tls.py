"""`cfai serve` over https."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from cfai.cli import app
from tests.processes import Process

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    made = (str(folder / "cert.pem"), str(folder / "key.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cfai"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", made[0], "-keyout", made[1]]
    subprocess.run(command, check=True, capture_output=True)
    return made


def test_a_certificate_makes_it_https(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    with Process("serve", "--demo", "--port", "0", "--tls-cert", cert, "--tls-key", key) as process:
        address = process.read_until("listens on").split()[-1]
        assert address.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=cert)
        assert httpx2.get(f"{address}/health", verify=trusted, timeout=60).json()["status"] == "ok"


def test_what_is_no_certificate_is_refused(certificate: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_text("nothing")
    for arguments, told in (
        (["--tls-cert", certificate[0]], "belong together"),
        (["--tls-cert", certificate[0], "--tls-key", str(tmp_path / "other.pem")], "no certificate and its key"),
    ):
        result = CliRunner().invoke(app, ["serve", *arguments])
        assert result.exit_code == 2
        assert told in result.stderr
