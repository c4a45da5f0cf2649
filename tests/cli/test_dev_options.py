"""The options of `cfai dev`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from cfai import FakeBinding
from cfai.server.app import rest_app
from tests.cli.dev import address_of, children_of, configure, dev, is_alive, save, wait_for
from tests.processes import Process
from tests.serving import serving

VARIABLES = (
    "from workers import Response\n\ndef on_fetch(request, env):\n"
    "    return Response(f'{env.GREETING} {env.MORE} {env.SECRET}')\n"
)
WHICH_PYTHON = (
    "import sys\nfrom workers import Response\n\ndef on_fetch(request, env):\n    return Response(sys.executable)\n"
)
ASKING = (
    "from workers import Response\n\nasync def on_fetch(request, env):\n"
    "    answer = await env.AI.run('@cf/meta/llama-2-7b-chat-int8', {'prompt': 'New'})\n"
    "    return Response(answer.response)\n"
)


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    without = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDFLARE_")}
    return subprocess.run(
        [sys.executable, "-m", "cfai", "dev", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**without, "COLUMNS": "200", **environment},
    )


def test_an_environment_variables_and_a_folder_for_data(project: Path, temporary: Path, tmp_path: Path) -> None:
    (project / "entry.py").write_text(VARIABLES)
    configure(project, vars={"GREETING": "top"}, env={"staging": {"vars": {"GREETING": "hey", "MORE": "file"}}})
    (project / ".dev.vars.staging").write_text("SECRET=s3cret\n")
    options = ("--env", "staging", "--var", "MORE:a:b", "--persist-to", str(tmp_path / "data"), "--local")
    with dev(project, temporary, *options) as process:
        assert "(hidden)" in process.read_until("env.SECRET")
        address = address_of(process)
        assert httpx2.get(address, timeout=60).text == "hey a:b s3cret"
        # Each environment has a file of its own, and a save of it counts.
        save(project / ".dev.vars.staging", "SECRET=other\n")
        wait_for(lambda: httpx2.get(address, timeout=60).text == "hey a:b other")


def test_requests_are_left_out_of_a_quiet_log(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text("raise RuntimeError('loud')\n")
    process = dev(project, temporary, "--log-level", "error")
    with process:
        process.read_until("RuntimeError: loud")
        address = process.read_until("The Worker did not start").partition("; ")[2].split()[0]
        assert httpx2.get(address, timeout=60).status_code == 500
        assert process.end(signal.SIGINT) == 0
        assert "⎔" not in process.rest
        assert "GET /" not in process.rest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--var", "NAME"], "--var 'NAME' is not of the form NAME:VALUE"),
        (["--log-level", "loud"], "'loud' is none of debug, info, log, warn, error, none"),
        (["--compatibility-date", "soon"], "--compatibility-date soon: a date is YEAR-MONTH-DAY, such as 2026-06-01"),
        (["--remote"], "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN are not set"),
        (["--remote", "--local"], "--local and --remote exclude each other"),
        (["--remote", "--ai-url", "http://localhost:8788"], "--remote and --ai-url exclude each other"),
        (["--ai-url", "notaurl"], "'notaurl' is no URL of a server, such as http://127.0.0.1:8788"),
        (["--persist-to", __file__], f"'{__file__}' is a file, and a folder is expected"),
        (["--python", "/no/python"], "/no/python is no Python interpreter: No such file or directory"),
    ],
)
def test_options_that_cannot_be(project: Path, options: list[str], said: str) -> None:
    ran = run(str(project), *options)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_flag_that_is_a_slip_is_told(project: Path, temporary: Path) -> None:
    options = ("--compatibility-flag", "python_worker", "--compatibility-flag", "nodejs_compat")
    with dev(project, temporary, *options) as process:
        said = process.lines_until("Ready on")
    assert '[WARNING] unknown compatibility flag "python_worker", did you mean "python_workers"?' in said
    assert "nodejs_compat" not in said


def test_another_interpreter(project: Path, temporary: Path, tmp_path: Path) -> None:
    (project / "entry.py").write_text(WHICH_PYTHON)
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(other)], check=True)
    python = other / "bin" / "python"
    lacking = run(str(project), "--python", str(python), PYTHONPATH="")
    assert lacking.returncode == 2
    assert f"{python} lacks ada_url, anyio, greenlet, httpx2, uvicorn and websockets" in lacking.stderr
    assert f"{python} -m pip install ada-url anyio greenlet httpx2 uvicorn websockets" in lacking.stderr

    # What cfai is among is out of its reach; cfai itself is not.
    packages = next((other / "lib").glob("python*")) / "site-packages"
    installed = Path(httpx2.__file__).parents[1]
    needed = (
        "_cffi_backend ada_url anyio cffi click greenlet h11 httpcore2 httpx2 idna sniffio typing uvicorn websockets"
    )
    for name in needed.split():
        for found in installed.glob(f"{name}*"):
            (packages / found.name).symlink_to(found)
    with dev(project, temporary, "--python", str(python)) as process:
        assert httpx2.get(address_of(process), timeout=60).text == str(python)


async def test_a_server_that_runs_already_answers(project: Path, temporary: Path) -> None:
    (project / "entry.py").write_text(ASKING)
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": ["New", " York"]})
    async with serving(rest_app(fake, token="open sesame")) as url:
        process = Process(
            *("dev", str(project), "--port", "0", "--ai-url", url),
            environment={"TMPDIR": str(temporary), "CFAI_TOKEN": "open sesame"},
        )
        with process:
            async with httpx2.AsyncClient() as client:
                assert (await client.get(address_of(process), timeout=60)).text == "New York"
        # Cloudflare's API is asked in the same way, for an account.
        process = Process(
            *("dev", str(project), "--port", "0", "--remote"),
            environment={
                "TMPDIR": str(temporary),
                "CLOUDFLARE_API_BASE_URL": f"{url}/client/v4",
                "CLOUDFLARE_ACCOUNT_ID": "0123",
                "CLOUDFLARE_API_TOKEN": "open sesame",
            },
        )
        with process:
            assert process.read_until("env.AI").split() == ["env.AI", "AI", "remote"]
            async with httpx2.AsyncClient() as client:
                assert (await client.get(address_of(process), timeout=60)).text == "New York"
            assert all(b"cfai.worker" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of(process))


def test_a_debugger_comes_back_after_a_reload(project: Path, temporary: Path) -> None:
    pytest.importorskip("debugpy")
    import json
    import socket

    def greets(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as debugger:
            asked = {"seq": 1, "type": "request", "command": "initialize", "arguments": {"adapterID": "test"}}
            body = json.dumps(asked).encode()
            debugger.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            received = b""
            while b'"command": "initialize"' not in received and b'"command":"initialize"' not in received:
                chunk = debugger.recv(65536)
                if not chunk:
                    return False
                received += chunk
        return True

    with dev(project, temporary, "--inspect", "--inspector-port", "0") as process:
        port = int(process.read_until("Debugger listening on 127.0.0.1:").rpartition(":")[2])
        lines = process.lines_until("Ready on")
        assert "frozen" not in lines
        address = lines.split()[-1]
        children = children_of(process)
        assert greets(port)
        save(project / "entry.py", (project / "entry.py").read_text().replace("hello", "bye"))
        wait_for(lambda: httpx2.get(address, timeout=60).text == "bye")
        assert greets(port)
        children += children_of(process)
        # The next one is told in reserve what the script has imported, of which debugpy is none.
        save(project / "entry.py", (project / "entry.py").read_text().replace("bye", "again"))
        wait_for(lambda: httpx2.get(address, timeout=60).text == "again")
        assert greets(port)
        assert process.end(signal.SIGINT) == 0
        assert "frozen" not in process.rest
        assert not any(map(is_alive, children))
