"""A port of its own for the metrics: clean to open and to close, and no client keeps the others waiting."""

import errno
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from red_middleware import BearerToken, RedMetrics, serve_metrics, serving
from red_middleware.serving import CONNECTIONS, MetricsServer

from .e2e.servers import DEADLINE_SECONDS, poll
from .e2e.test_access import CERTIFICATE


@pytest.fixture
def metrics() -> RedMetrics:
    return RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)


@pytest.fixture
def server(metrics: RedMetrics) -> Iterator[MetricsServer]:
    with serve_metrics(0, metrics=metrics) as server:
        yield server


def read(port: int, path: str = "/metrics", address: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=10) as response:
        found: bytes = response.read()
    return found.decode()


def test_every_path_is_answered_until_it_is_closed(server: MetricsServer) -> None:
    """Then nobody listens any more; closing it again does nothing."""
    for path in ("/metrics", "/metrics/", "/", "//metrics?name[]=red_series"):
        assert "red_series" in read(server.port, path)
    server.close()
    with pytest.raises(urllib.error.URLError):
        read(server.port)


def test_by_default_this_machine_alone_can_read(server: MetricsServer) -> None:
    """Whoever wants more says so."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    assert server._server.socket.getsockname()[0] == "127.0.0.1"


def test_it_listens_at_ipv6(metrics: RedMetrics) -> None:
    """By its address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serve_metrics(0, "::1", metrics=metrics) as server:
        assert "red_series" in read(server.port, address="[::1]")


def test_a_busy_port_is_named(server: MetricsServer, metrics: RedMetrics) -> None:
    """With the address, and why."""
    with pytest.raises(OSError, match=rf"serve_metrics\(port={server.port}, addr='127.0.0.1'\): .*in use") as raised:
        serve_metrics(server.port, metrics=metrics)
    assert raised.value.errno == errno.EADDRINUSE


def test_clients_that_do_nothing_are_few_and_keep_nobody_waiting_for_ever(server: MetricsServer) -> None:
    """Those beyond the bound are cut off, and each that leaves makes room."""
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CONNECTIONS)]

    def is_full() -> bool:
        try:
            read(server.port)
        except OSError:
            return True
        return False

    poll("all places are taken", is_full)
    for each in idle:
        each.close()
    poll("there is room again", lambda: not is_full())


def test_a_client_that_never_ends_its_request_is_cut_off(metrics: RedMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy it keeps its connection."""
    monkeypatch.setattr(serving, "SECONDS", 0.05)
    with (
        serve_metrics(0, metrics=metrics) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert slow.recv(1) == b""


def test_a_thread_that_cannot_start_takes_no_place_for_ever(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is cut off, and the next one is served as soon as there are threads again."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    start = threading.Thread.start
    for kind in (threading.Thread, threading.Timer):  # the one that answers, and the one that watches the clock
        with monkeypatch.context() as full:
            full.setattr(kind, "start", fail, raising=False)
            for _ in range(CONNECTIONS + 1):
                with socket.create_connection(("127.0.0.1", server.port), 10) as refused:
                    assert refused.recv(1) == b""
    assert threading.Thread.start is start
    assert "red_series" in read(server.port)


def test_it_tells_nothing_of_what_serves(server: MetricsServer) -> None:
    """Neither in an answer nor where a request is none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as response:
        assert response.headers.get_all("Server") == ["red_middleware"]
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"<script> nonsense\r\n\r\n")
        with connection.makefile("rb") as answer:
            found = answer.read()
    assert b"400" in found
    assert b"script" not in found.partition(b"\r\n\r\n")[2]
    assert b"Python" not in found


def test_a_client_that_does_not_take_its_answer_makes_no_noise(
    metrics: RedMetrics, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is cut off, and the log of the app stays clean."""
    has_asked, accept = threading.Event(), serving._Server.get_request

    def accept_who_has_asked(server: serving._Server) -> Any:
        assert has_asked.wait(DEADLINE_SECONDS)  # else a slow client would be cut off before its answer begins
        return accept(server)

    monkeypatch.setattr(serving._Server, "get_request", accept_who_has_asked)
    monkeypatch.setattr(serving._Handler, "timeout", 0.05)
    Gauge("big", "x" * 30_000_000, registry=metrics.registry)
    with (
        serve_metrics(0, metrics=metrics) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as deaf,
    ):
        deaf.sendall(b"GET / HTTP/1.1\r\n\r\n")
        has_asked.set()
        poll("its answer begins", lambda: deaf.recv(1, socket.MSG_PEEK))
        poll("it is cut off", lambda: server._server.free._value == CONNECTIONS)
    assert capfd.readouterr().err == ""


def test_with_a_certificate_it_speaks_tls_only(metrics: RedMetrics) -> None:
    """A client that speaks plain HTTP, or that never begins, harms nobody."""
    with serve_metrics(0, metrics=metrics, certfile=CERTIFICATE) as server:
        idle = socket.create_connection(("127.0.0.1", server.port))
        with pytest.raises(OSError):  # noqa: PT011  # a reset, or the end of the connection
            read(server.port)
        trusted = ssl.create_default_context(cafile=str(CERTIFICATE))
        with urllib.request.urlopen(f"https://localhost:{server.port}/", context=trusted, timeout=10) as response:
            assert b"red_series" in response.read()
        idle.close()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"port": "9090"}, TypeError, "port='9090'"),
        ({"port": 65536}, ValueError, "must be 0 to 65535"),
        ({"port": 0, "addr": None}, TypeError, "addr=None"),
        ({"port": 0, "keyfile": "key.pem"}, ValueError, "needs certfile="),
        ({"port": 0, "certfile": "/nowhere.pem"}, FileNotFoundError, "certfile='/nowhere.pem'"),
        ({"port": 0, "addr": "no.such.host.invalid"}, OSError, "addr='no.such.host.invalid'"),
        ({"port": 0, "authorize": "secret"}, TypeError, "BearerToken"),
    ],
)
def test_a_mistake_is_an_error_at_once(
    options: dict[str, Any], error: type[Exception], says: str, metrics: RedMetrics
) -> None:
    """It names what is wrong."""
    with pytest.raises(error, match=says):
        serve_metrics(**options, metrics=metrics)


PROGRAM = """
import os, sys, urllib.request
from red_middleware import serve_metrics
server = serve_metrics(0)
if os.fork() == 0:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10)
    finally:
        server.close()
        os._exit(7 if server._server.socket.fileno() == -1 else 1)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
"""


def test_it_keeps_no_process_alive_and_a_child_does_not_serve() -> None:
    """The program ends by itself, with the server open. Python 3.12 and newer warn of a fork beside threads."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_secret_is_asked_for(metrics: RedMetrics) -> None:
    """As at the endpoint of an app."""
    with (
        serve_metrics(0, metrics=metrics, authorize=BearerToken("secret")) as server,
        pytest.raises(urllib.error.HTTPError, match="401") as refused,
    ):
        read(server.port)
    refused.value.close()
    assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="metrics"'
