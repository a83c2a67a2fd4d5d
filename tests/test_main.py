"""`python -m red_middleware serve`: a process that tells of a named group, and is none of it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from coverage import Coverage

from .e2e.servers import DEADLINE_SECONDS, get
from .ports import free_port

WORKER = """
import sys
from red_middleware import RedWSGIMiddleware

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"well"]

wrapped = RedWSGIMiddleware(app, metrics_path=None)
for _ in range(3):
    b"".join(wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None))
print("served", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    names = {"RED_MULTIPROCESS_DIR": str(tmp_path), "RED_MULTIPROCESS_NAME": "shop"}
    return {**os.environ, **names, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture
def port() -> int:
    return free_port()


def command(*arguments: object) -> list[str]:
    """Return the command line. It is measured where the tests are."""
    measured = ["-m", "coverage", "run", "--parallel-mode"] if Coverage.current() else []
    return [sys.executable, *measured, "-m", "red_middleware", "serve", *map(str, arguments)]


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process of the group, which has served: of two that join at once, one may wait in vain for the other."""
    command, pipe = [sys.executable, "-c", WORKER], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "served\n"
        yield process


def shown(port: int) -> dict[str, float]:
    text = get(f"http://127.0.0.1:{port}/").decode()
    return {name: float(value) for name, value in re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE)}


def test_it_tells_of_the_group_and_is_none_of_it(environment: dict[str, str], port: int) -> None:
    """Before its processes have served anything, while they live, and when one has ended; SIGTERM ends it cleanly."""
    arguments = command("--name", "shop", "--port", port)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"Serving the metrics of shop on 127.0.0.1, port {port}\n"
        assert shown(port)["red_worker_isolated"] == 1.0
        with worker(environment) as one, worker(environment) as other:
            requests = 'http_requests_total{method="GET",route="_unmatched",status="200"}'
            found = shown(port)
            assert (found[requests], found["red_workers"], found["red_worker_isolated"]) == (6.0, 2.0, 0.0)
            one.kill()
            one.wait()
            found = shown(port)
            assert (found[requests], found["red_workers"]) == (6.0, 1.0)
            assert found["red_instrumentation_errors_total"] == 0.0
            other.kill()
        server.terminate()
        assert server.wait(DEADLINE_SECONDS) == 0


def test_an_interrupt_ends_it(environment: dict[str, str], port: int, tmp_path: Path) -> None:
    """With exit code 0. Whoever has no token reads nothing."""
    (tmp_path / "token").write_text("secret")
    arguments = ("--name", "shop", "--port", port, "--token-file", tmp_path / "token")
    with subprocess.Popen(command(*arguments), env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline().startswith("Serving")
        with pytest.raises(OSError, match="401"):
            shown(port)
        server.send_signal(signal.SIGINT)
        assert server.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--certfile", "/nowhere.pem"], 1, "certfile='/nowhere.pem'"),
        (["--token-file", "/nowhere"], 1, "BearerToken(file='/nowhere'): cannot be read"),
        (["--port", "many"], 2, "invalid int value: 'many'"),
        (["--port", "70000"], 1, "must be 0 to 65535"),
        (
            ["--port", "{busy}"],
            1,
            "red-middleware serve: serve_metrics(port={busy}, addr='127.0.0.1'): Address already in use",
        ),
    ],
)
def test_a_mistake_is_said_and_ends_it(more: list[str], code: int, says: str, environment: dict[str, str]) -> None:
    """With exit code 1, or 2 for what is no argument."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        given, says = [text.replace("{busy}", port) for text in more], says.replace("{busy}", port)
        arguments = command("--name", "shop", "--port", 0, *given)
        ran = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, says in ran.stderr) == (code, True), ran.stderr
    assert "Traceback" not in ran.stderr
