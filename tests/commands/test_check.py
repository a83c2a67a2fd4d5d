"""`check` reads a URL, a file or stdin, as Prometheus reads a target, and says what is wrong by its exit code."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import BearerToken, RedMetrics, serve_metrics
from red_middleware.__main__ import main
from red_middleware.commands import check
from red_middleware.exposition import Request, answer

from ..counts import fresh_metrics
from ..drive import count
from ..e2e import ROOT
from . import run

CERTIFICATE = ROOT / "tests" / "e2e" / "certificate.pem"


def well() -> RedMetrics:
    """Return metrics with nothing wrong."""
    found = fresh_metrics(slo_availability=0.99, multiprocess_dir=None)
    count(found, "/items")
    return found


@pytest.fixture
def metrics() -> RedMetrics:
    return well()


def exposition(metrics: RedMetrics) -> str:
    return answer(metrics, Request()).body.decode()


class Silent(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """Serve an application, and yield its address."""
    with make_server("127.0.0.1", 0, app, handler_class=Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


def test_a_file_and_stdin_are_read(metrics: RedMetrics, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and a line that says how large it is."""
    file = tmp_path / "metrics"
    file.write_text(exposition(metrics))
    assert main(["check", str(file)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1:] == ["Nothing is wrong."]
    assert "of at most 24,880, 1 worker" in shown.out.splitlines()[0]
    assert shown.err == ""
    assert run("check", "-", stdin=file.read_text()).out == shown.out


def test_what_is_wrong_is_a_line_each(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit code 1. Flags say what is expected beside it; the environment alone expects nothing."""
    bad = fresh_metrics()
    count(bad, None, 404)
    (tmp_path / "metrics").write_text(exposition(bad))
    assert main(["check", str(tmp_path / "metrics")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12] for line in lines[1:]] == ["- There is n", "- All reques"]
    assert main(["check", str(tmp_path / "metrics"), "--saturation", "--buckets", "0.9,10"]) == 1
    assert "- Missing: http_oldest_request_seconds" in capsys.readouterr().out.splitlines()[-1]


def test_an_app_says_what_is_expected(metrics: RedMetrics, tmp_path: Path) -> None:
    """Also where it cannot be read: that is exit code 2 here, as 1 means that something is wrong."""
    (tmp_path / "metrics").write_text(exposition(metrics))
    (tmp_path / "shop.py").write_text("from red_middleware import RedMetrics\nmetrics = RedMetrics(namespace='shop')\n")
    ran = run("check", "metrics", "--app", "shop:metrics", cwd=tmp_path)
    assert (ran.code, "- Missing: shop_http_requests_total" in ran.out) == (1, True), ran
    ran = run("check", "metrics", "--app", "nowhere:metrics", cwd=tmp_path)
    assert (ran.code, "nowhere:metrics: the module nowhere is in neither" in ran.err) == (2, True), ran


def test_an_endpoint_is_read_by_its_token_and_its_certificate(
    metrics: RedMetrics, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the token it is said how to give it. No proxy of the environment is asked, as Prometheus asks none."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    (tmp_path / "token").write_text("secret\n")
    token = BearerToken("secret")
    with serve_metrics(0, metrics=metrics, authorize=token, certfile=CERTIFICATE) as server:
        url = f"https://localhost:{server.port}/metrics"
        trusting = ["--ca-file", str(CERTIFICATE)]
        assert main(["check", url, *trusting, "--token-file", str(tmp_path / "token")]) == 0
        assert main(["check", url, *trusting]) == 2
        assert "answers 401 Unauthorized; --token-file gives the token" in capsys.readouterr().err
        assert main(["check", url]) == 2
        assert "certificate verify failed" in capsys.readouterr().err
    with serve_metrics(0, metrics=well()) as server:  # others: these tell how long the machine took for a scrape
        assert main(["check", f"http://localhost:{server.port}/"]) == 0


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        ("404 Not Found", [], "answers 404 Not Found; is this the path of the endpoint?"),
        ("503 Service Unavailable", [], "answers 503 Service Unavailable"),
        ("302 Found", [("Location", "/elsewhere")], "answers 302 Found, redirected to /elsewhere"),
    ],
)
def test_an_answer_that_is_none_is_said(
    status: str, headers: list[tuple[str, str]], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No redirect is followed: it might take the token elsewhere."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert environ["PATH_INFO"] == "/metrics"
        start_response(status, headers)
        return []

    with served(app) as url:
        assert main(["check", url]) == 2
    assert capsys.readouterr().err == f"red-middleware check: {url}: {says}\n"


def test_what_is_too_large_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An endless answer, and a file. The limit is lowered here: the test is not to move 64 MiB."""
    monkeypatch.setattr(check, "MAX_BYTES", 100_000)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while True:
            yield b"# nothing\n" * 1000

    with served(app) as url:
        assert main(["check", url]) == 2
    (tmp_path / "large").write_text("#" * 100_001)
    assert main(["check", str(tmp_path / "large")]) == 2
    assert [line.partition(": ")[2][-29:] for line in capsys.readouterr().err.splitlines()] == [
        f"{each}: more than 100,000 bytes"[-29:] for each in (url, tmp_path / "large")
    ]


def test_an_answer_that_never_ends_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    """It trickles, so that no single read waits for long."""
    stop = threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while not stop.wait(0.01):
            yield b"# nothing\n"

    with served(app) as url:
        assert main(["check", url, "--timeout", "1"]) == 2
        stop.set()
    assert capsys.readouterr().err == f"red-middleware check: {url}: no whole answer within 1 s\n"


def test_headers_that_never_end_are_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    """They trickle, too."""
    stop = threading.Event()

    def trickle(server: socket.socket) -> None:
        client, _ = server.accept()
        with client, suppress(ConnectionError):  # who gives up may be gone before this is told to stop
            client.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
            while not stop.wait(0.01):
                client.sendall(b"x")

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=trickle, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert main(["check", url, "--timeout", "1"]) == 2
        stop.set()
        thread.join()
    assert capsys.readouterr().err == f"red-middleware check: {url}: no whole answer within 1 s\n"


def test_a_server_that_says_nothing_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    """It takes the connection, and no more."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert main(["check", url, "--timeout", "1"]) == 2
    assert capsys.readouterr().err == f"red-middleware check: {url}: no whole answer within 1 s\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "nowhere: No such file or directory"),
        (
            "localhost:8000/metrics",
            "localhost:8000/metrics: No such file or directory; if it is an endpoint, write http:// or https:// before",
        ),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1/: Connection refused"),
        ("http://[::1/", "http://[::1/: Invalid IPv6 URL"),
        ("http://127.0.0.1:x/", "http://127.0.0.1:x/: nonnumeric port: 'x'"),
        ("page", "page: not in Prometheus's text format: "),
        ("bytes", "bytes: not in UTF-8"),
    ],
)
def test_a_source_that_cannot_be_read_is_said(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, in a line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page").write_text("<html>a page</html>")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert main(["check", source]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.startswith(f"red-middleware check: {says}")) == ("", True), shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["metrics", "--token-file", "token"], "--token-file goes with a URL only"),
        (["-", "--ca-file", "ca"], "--ca-file goes with a URL only"),
        (["-", "--timeout", "0"], "'0' is not a number of seconds > 0"),
        (["-", "--timeout", "soon"], "'soon' is not a number of seconds > 0"),
        (["-", "--timeout", "1e10"], "'1e10' is not a number of seconds > 0 and up to 86,400"),
        ([], "the following arguments are required: SOURCE"),
    ],
)
def test_a_wrong_argument_is_said(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    assert (ended.value.code, says in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize("flag", ["--token-file", "--ca-file"])
@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file or directory"), (b"", ""), (b"of two words", ""), (b"\xff\xfe", "")]
)
def test_a_file_of_a_secret_that_cannot_be_read_is_named(
    flag: str, content: bytes | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked. What is in the file is not shown."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    assert main(["check", "https://127.0.0.1:1/", flag, str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"red-middleware check: {flag} {file}: {says}")
    assert (len(error.splitlines()), "words" in error, "127.0.0.1" in error) == (1, False, False)


def test_the_endpoint_of_an_app_in_development_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """A new app has one thing to do: to say what it aims at."""
    with serve_metrics(0, metrics=RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)) as server:
        assert main(["check", f"http://localhost:{server.port}/"]) == 1
    assert [line[:2] for line in capsys.readouterr().out.splitlines()[1:]] == ["- "]
