"""The examples run as they stand: the shops through both protocols, their prometheus.yml, and the demo as a command."""

import asyncio
import codecs
import fcntl
import logging
import math
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar
from wsgiref.validate import validator
from xml.etree import ElementTree

import pytest
from prometheus_client.parser import text_string_to_metric_families

from examples.demo.numbers import Scrape, quantile, red_between

from .e2e.servers import get

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, "-m", "examples.demo"]
TOX_DEMO = [
    sys.executable, "-m", "tox", "run", "-e", "demo",
    # What tox would install is here already.
    "-x", "testenv:demo.dependency_groups=", "-x", f"testenv:demo.commands={sys.executable} -m examples.demo",
    "-x", "testenv:demo.allowlist_externals=*", "-x", "testenv:demo.pass_env=RED_DEMO_MARK",
]  # fmt: skip
DEADLINE_SECONDS = 180.0
"""Of the two shops with their eight workers on a busy machine."""

HOME, CURSOR_UP, LEAVE_SCREEN = "\x1b[H", "\x1b[1A", "\x1b[?1049l"
"""What a program sends to a terminal that draws its table."""

Found = TypeVar("Found")
Request = tuple[str, str, object]

TEAPOT = {"item_id": 1, "card": "4242"}
REFUSED = {"item_id": 1, "card": "0000"}
REQUESTS: list[Request] = [
    ("GET", "/hello", None),
    ("GET", "/hello", None),
    ("HEAD", "/hello", None),
    ("GET", "/items/1", None),
    ("GET", "/items/4", None),
    ("GET", "/report", None),
    ("POST", "/checkout", TEAPOT),
    ("POST", "/checkout", TEAPOT),
    ("POST", "/checkout", REFUSED),
    ("POST", "/checkout", {"item_id": 4, "card": "4242"}),
    ("POST", "/checkout", []),
    ("GET", "/checkout", None),
    ("GET", "/nowhere", None),
    ("GET", "/healthz", None),
]
STATUSES = [200, 200, 200, 200, 404, 200, 200, 200, 500, 400, 400, 405, 404, 200]


class Told(NamedTuple):
    """What a driven shop answered: statuses, the streamed body, its receipts, and /metrics at the end."""

    statuses: list[int]
    stream: str
    receipts: list[str]
    metrics: str


class Receipts(logging.Handler):
    """Keeps what the background task of a shop logs."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        logging.getLogger("shop").addHandler(self)
        logging.getLogger("shop").setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def drive_flask_shop() -> Told:
    from werkzeug.test import Client

    from examples.flask_app.app import app

    receipts = Receipts()
    client = Client(validator(app))
    # Buffered is closed, which the validator wants to see.
    statuses = [client.open(path, method=how, json=json, buffered=True).status_code for how, path, json in REQUESTS]
    stream = client.get("/export.csv", buffered=True).text
    Client(app).open("/hello", method="PURGE", buffered=True)  # of which the validator would warn
    return Told(statuses, stream, receipts.messages, client.get("/metrics", buffered=True).text)


def drive_starlette_shop() -> Told:
    import httpx

    from examples.starlette_app.app import app

    async def drive() -> Told:
        receipts = Receipts()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            statuses = [(await client.request(method, path, json=json)).status_code for method, path, json in REQUESTS]
            stream = (await client.get("/feed")).text
            await client.request("PURGE", "/hello")
            return Told(statuses, stream, receipts.messages, (await client.get("/metrics")).text)

    return asyncio.run(drive())


def alone(drive: Callable[[], Told]) -> Told:
    """Drive a shop in a process of its own: it registers on the registry that a process has once, as a user's does."""
    pool = ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=warnings.simplefilter, initargs=("error",)
    )
    with pool:
        return pool.submit(drive).result(DEADLINE_SECONDS)


class Example(NamedTuple):
    """What differs between the shops."""

    drive: Callable[[], Told]
    folder: Path
    item_route: str
    stream_route: str


EXAMPLES = [
    pytest.param(
        Example(drive_flask_shop, ROOT / "examples/flask_app", "/items/<int:item_id>", "/export.csv"), id="flask"
    ),
    pytest.param(
        Example(drive_starlette_shop, ROOT / "examples/starlette_app", "/items/{item_id:int}", "/feed"), id="starlette"
    ),
]


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's values by the values of its labels, in order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_shop_counts_each_request_under_its_route(example: Example) -> None:
    """Rate, Errors and Duration are exact per route; health checks are not counted; the business metric is beside."""
    told = alone(example.drive)

    assert told.statuses == STATUSES
    assert samples(told.metrics, "http_requests_total") == {
        ("GET", "/hello", "200"): 2,
        ("HEAD", "/hello", "200"): 1,
        ("GET", example.item_route, "200"): 1,
        ("GET", example.item_route, "404"): 1,
        ("GET", "/report", "200"): 1,
        ("POST", "/checkout", "200"): 2,
        ("POST", "/checkout", "500"): 1,
        ("POST", "/checkout", "400"): 2,
        ("GET", example.stream_route, "200"): 1,
        ("GET", "_unmatched", "405"): 1,
        ("GET", "_unmatched", "404"): 1,
        ("_OTHER", "_unmatched", "405"): 1,
    }
    errors = {key: value for key, value in samples(told.metrics, "http_errors_total").items() if value}
    assert errors == {("POST", "/checkout"): 1}
    assert samples(told.metrics, "http_exceptions_total") == {("PaymentProviderDownError", "/checkout"): 1}
    counts = samples(told.metrics, "http_request_duration_seconds_count")
    assert counts["POST", "/checkout"] == 5
    assert sum(counts.values()) == len(REQUESTS) - 1 + 2  # without the health check, with stream and PURGE
    assert samples(told.metrics, "shop_orders_total") == {("teapot",): 2}


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_shop_streams_and_works_in_the_background(example: Example) -> None:
    """The stream arrives whole, and each paid order has its receipt."""
    told = alone(example.drive)

    assert len(told.stream.splitlines()) >= 30
    assert told.receipts == ["receipt sent: teapot"] * 2


def test_the_objective_of_the_starlette_shop_is_a_bucket() -> None:
    """`slo_seconds` makes an exact boundary at the objective."""
    told = alone(drive_starlette_shop)

    assert ("0.3", "GET", "/hello") in samples(told.metrics, "http_request_duration_seconds_bucket")


@pytest.mark.parametrize("example", EXAMPLES)
def test_prometheus_takes_the_configuration(example: Example) -> None:
    """Prometheus's own check finds no fault, and the target is where the module says that the shop is to be served."""
    configuration = example.folder / "prometheus.yml"
    (port,) = re.findall(r'targets: \["localhost:(\d+)"\]', configuration.read_text())
    assert f"127.0.0.1:{port}/metrics" in (example.folder / "app.py").read_text()
    promtool = shutil.which("promtool")
    if promtool is None:
        reason = "promtool is missing: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    checked = subprocess.run([promtool, "check", "config", str(configuration)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_quantiles_are_those_of_histogram_quantile() -> None:
    """Linear within a bucket, from zero in the first, the highest finite bound beyond it, NaN of nothing."""
    cumulative = [(0.1, 10), (0.2, 30), (0.4, 40), (math.inf, 40)]

    assert quantile(0.5, cumulative) == pytest.approx(0.15)
    assert quantile(0.125, cumulative) == pytest.approx(0.05)
    assert quantile(0.75, cumulative) == pytest.approx(0.2)
    assert quantile(1.0, cumulative) == pytest.approx(0.4)
    assert quantile(0.99, [(0.1, 1), (math.inf, 2)]) == 0.1
    assert math.isnan(quantile(0.5, [(0.1, 0), (math.inf, 0)]))


def test_red_is_that_of_the_time_between_two_scrapes() -> None:
    """Only what was added in between counts, but for the total; a route without requests has no share and quantiles."""

    def scrape(seconds: float, hello: int, broken: int) -> Scrape:
        lines = ["# TYPE http_request_duration_seconds histogram"]
        for route, count in (("/hello", hello), ("/broken", broken)):
            labels = f'method="GET",route="{route}"'
            lines += [f'http_request_duration_seconds_bucket{{{labels},le="{le}"}} {count}' for le in ("0.1", "+Inf")]
            lines += [f'http_requests_total{{{labels},status="200"}} {count}']
            lines += [f"http_errors_total{{{labels}}} {count if route == '/broken' else 0}"]
        return Scrape("\n".join(lines) + "\n", seconds)

    broken, hello = red_between(scrape(100.0, 5, 2), scrape(102.0, 5, 6), [0.5])

    assert (broken.route, broken.method, broken.total, broken.per_second, broken.error_share) == (
        "/broken", "GET", 6, 2.0, 1.0,
    )  # fmt: skip
    assert broken.quantiles == pytest.approx((0.05,))
    assert (hello.route, hello.total, hello.per_second) == ("/hello", 5, 0.0)
    assert math.isnan(hello.error_share)
    assert math.isnan(hello.quantiles[0])


ROUTES = ("/hello", "/items/<int:item_id>", "/items/{item_id:int}", "/checkout", "/report", "/export.csv", "/feed")
"""Every route that the demo visits and that is counted."""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found through /proc")
class TestDemo:
    """The demo as a person runs it: real servers, in processes of their own."""

    @pytest.fixture
    def mark(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """Mark the environment of a demo, and so of all its descendants; end what it leaves."""
        mark = f"RED_DEMO_MARK={uuid.uuid4()}"
        monkeypatch.setenv(*mark.split("="))
        yield mark
        end(mark)

    def test_it_ends_by_itself_with_the_table(self, mark: str) -> None:
        """`--seconds` ends it with exit code 0, without a terminal too; the table has every route, nothing runs on."""
        ended = subprocess.run(
            [*DEMO, "--seconds", "4"], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS
        )

        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "p95 ms" in ended.stdout
        assert [route for route in (*ROUTES, "_unmatched") if route not in ended.stdout] == []
        assert "/healthz" not in ended.stdout
        assert len(re.findall(r"http://127\.0\.0\.1:\d+/metrics$", ended.stdout, re.MULTILINE)) == 2
        assert all_end(mark)

    def test_an_interrupt_ends_it_cleanly(self, mark: str, tmp_path: Path) -> None:
        """SIGINT while customers are served: the table, exit code 0, no traceback, no child left."""
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            demo = subprocess.Popen(DEMO, cwd=ROOT, stdout=out, stderr=err)
        opened = awaited(lambda: re.findall(r"http://\S+:\d+", (tmp_path / "out").read_text()))
        awaited(lambda: all("http_requests_total{" in body(f"{url}/metrics") for url in opened))
        awaited(lambda: len(running(mark)) >= 11)  # the demo, and two servers with four workers each
        demo.send_signal(signal.SIGINT)

        assert demo.wait(DEADLINE_SECONDS) == 0
        assert "p95 ms" in (tmp_path / "out").read_text()
        assert "Traceback" not in (tmp_path / "err").read_text()
        assert all_end(mark)

    def test_any_worker_answers_for_all(self, mark: str, tmp_path: Path) -> None:
        """Scrapes that meet different workers see totals that never fall, the shop's own among them.

        Nothing but our middleware shares that one. At the end no shared file is left.
        """
        (tmp_path / "shared").mkdir()
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            demo = subprocess.Popen(
                DEMO, cwd=ROOT, stdout=out, stderr=err, env=os.environ | {"TMPDIR": str(tmp_path / "shared")}
            )
        opened = awaited(lambda: re.findall(r"http://\S+:\d+", (tmp_path / "out").read_text()))

        def totals_of(url: str) -> Counter[str]:
            return Scrape(awaited(lambda: body(f"{url}/metrics")), 0.0).totals

        def is_busy(url: str) -> bool:
            totals = totals_of(url)
            return totals["red_workers"] >= 2 and totals["shop_orders_total"] > 0

        awaited(lambda: all(map(is_busy, opened)))
        for url in opened:
            totals = [totals_of(url) for _ in range(20)]
            for name in ("http_requests_total", "http_request_duration_seconds_count", "shop_orders_total"):
                counts = [each[name] for each in totals]
                assert counts == sorted(counts)
                assert counts[0] > 0
        demo.send_signal(signal.SIGINT)

        assert demo.wait(DEADLINE_SECONDS) == 0
        assert "Traceback" not in (tmp_path / "err").read_text()
        assert all_end(mark)
        assert list((tmp_path / "shared").iterdir()) == []

    @pytest.mark.parametrize("command", [DEMO, TOX_DEMO], ids=["python", "tox"])
    def test_ctrl_c_in_a_terminal_ends_the_live_table(self, mark: str, tmp_path: Path, command: list[str]) -> None:
        """The README's command ends by one Ctrl-C with the table of the whole run, exit code 0, and no complaint."""
        with Terminal([*command, *(["--workdir", str(tmp_path)] if command is TOX_DEMO else [])]) as terminal:
            awaited(lambda: terminal.shown.count("Ctrl-C ends it") >= 2)
            terminal.press(b"\x03")

            assert terminal.wait() == 0, terminal.shown
        last = terminal.shown.rpartition(LEAVE_SCREEN)[2]
        assert "RED of the whole run" in last
        assert "Both shops are closed." in last
        for complaint in ("Traceback", "KeyboardInterrupt", "interrupt", "Error", "failed"):
            assert complaint not in last
        assert all_end(mark)

    def test_a_terminal_that_is_resized_is_drawn_from_its_first_line(self, mark: str) -> None:
        """At once, within its new size: what a terminal wraps or cuts while it is resized stays nowhere."""
        with Terminal(DEMO, columns=100, lines=40) as terminal:
            awaited(lambda: terminal.shown.count(HOME) >= 2)
            terminal.resize(columns=70, lines=20)
            drawn = terminal.shown.count(HOME)
            awaited(lambda: terminal.shown.count(HOME) >= drawn + 3)
            frame = terminal.shown.split(HOME)[-2].splitlines()
            terminal.press(b"\x03")

            assert terminal.wait() == 0, terminal.shown
        assert len(frame) == 20
        assert {len(re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line)) for line in frame} == {70}
        assert CURSOR_UP not in terminal.shown
        assert all_end(mark)

    def test_the_picture_shows_the_table(self, mark: str, tmp_path: Path) -> None:
        """`--svg` writes it, in the form of the one that the README shows."""
        ended = subprocess.run(
            [*DEMO, "--once", "--seconds", "1", "--svg", str(tmp_path / "demo.svg")],
            cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
        )  # fmt: skip

        assert ended.returncode == 0, ended.stderr
        for picture in (tmp_path / "demo.svg", ROOT / "docs/demo.svg"):
            texts = [text.replace("\xa0", " ") for text in ElementTree.parse(picture).getroot().itertext()]
            assert "tox run -e demo" in texts
            assert [text for text in texts if text.startswith("RED of the whole run")]
        assert all_end(mark)

    def test_a_server_that_dies_is_reported(self, mark: str, tmp_path: Path) -> None:
        """Its name, exit code, command and last words are shown; exit code 1, and the other one is stopped too."""
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            demo = subprocess.Popen(DEMO, cwd=ROOT, stdout=out, stderr=err)
        server = awaited(lambda: [pid for pid in running(mark) if "uvicorn" in command(pid)])[0]
        os.kill(server, signal.SIGKILL)

        assert demo.wait(DEADLINE_SECONDS) == 1
        assert "Starlette: the server ended with exit code -9" in (tmp_path / "err").read_text()
        assert "Traceback (most recent call last):\n  File" not in (tmp_path / "err").read_text()
        assert all_end(mark)

    def test_a_port_that_is_taken_is_reported(self, mark: str) -> None:
        """Before anything is opened, by the name of the shop that wanted it."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = subprocess.run(
                [*DEMO, "--starlette-port", str(port)],
                cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
            )  # fmt: skip

        assert ended.returncode == 1
        assert f"Starlette: cannot listen on port {port}" in ended.stderr
        assert all_end(mark)

    def test_missing_packages_are_named(self) -> None:
        """The message is the command that installs them."""
        hide = "import sys, runpy; sys.modules.update(httpx=None, rich=None); "
        hide += "runpy.run_module('examples.demo', run_name='__main__')"
        ended = subprocess.run(
            [sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS
        )

        assert ended.returncode == 1
        assert ended.stderr == "The demo needs more packages: python -m pip install httpx rich\n"

    @pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan", "soon"])
    def test_seconds_that_are_none_are_refused(self, seconds: str) -> None:
        """The command line says which option, and why."""
        ended = subprocess.run(
            [*DEMO, f"--seconds={seconds}"], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS
        )

        assert ended.returncode == 2
        assert f"argument --seconds: '{seconds}' is not a number of seconds > 0" in ended.stderr


class Terminal:
    """A terminal that runs a command, and all that it was sent.

    Args:
        command: What runs in it, as the session's leader in its foreground.
        columns: Its width in characters.
        lines: Its height.
    """

    def __init__(self, command: list[str], columns: int = 100, lines: int = 40) -> None:
        self.shown = ""
        self.end, inside = os.openpty()
        self.resize(columns, lines)
        own = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TOX", "COV"))
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", own, *command],
            cwd=ROOT, stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
            env=environment | {"TERM": "xterm"},
        )  # fmt: skip
        os.close(inside)
        self.reader = threading.Thread(target=self._read)

    def __enter__(self) -> "Terminal":
        self.reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        os.close(self.end)

    def _read(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")().decode
        try:
            while some := os.read(self.end, 65536):
                self.shown += decode(some)
        except OSError:  # nobody has the other end any more
            pass

    def press(self, keys: bytes) -> None:
        os.write(self.end, keys)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait(self) -> int:
        """Return the exit code of the command, after all that it sent."""
        code = self.process.wait(DEADLINE_SECONDS)
        self.reader.join(DEADLINE_SECONDS)
        return code


def awaited(look: Callable[[], Found]) -> Found:
    """Look until there is something, and return it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "nothing within the deadline"
        time.sleep(0.05)
    return found


def running(mark: str) -> list[int]:
    """Return the processes with a mark in their environment, but for this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone
            continue
        if mark.encode() in environment and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def all_end(mark: str) -> bool:
    """Wait until no process with a mark is left: one that was killed takes a moment to go."""
    return awaited(lambda: not running(mark))


def end(mark: str) -> None:
    """End the processes with a mark."""
    for pid in running(mark):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def body(url: str) -> str:
    try:
        return get(url, timeout=5).decode()
    except OSError:  # not open yet
        return ""
