"""Scrapes run one at a time, in a thread of their own, and no collector holds them up for longer than they wait."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from red_middleware import RedASGIMiddleware, RedMetrics
from red_middleware.exposition import Answer, Request, answer, ask, scraping
from red_middleware.exposition.scraping import MAX_SCRAPES, seconds_left

from ..counts import faults, fresh_metrics
from ..drive import ASGIServer, scope
from ..e2e.servers import poll

AT_ONCE = Request(headers={"x-prometheus-scrape-timeout-seconds": "0.5"})
"""What a scraper asks that waits for half a second: collectors have a quarter of one."""

DEADLINE_SECONDS = 60


class Hanging(Collector):
    """A collector that hangs until it is let go."""

    def __init__(self, name: str = "hanging") -> None:
        self.name = name
        self.asked = 0
        self.let_go = threading.Event()
        self.is_asked = threading.Event()

    def describe(self) -> list[Metric]:
        return [GaugeMetricFamily(self.name, "Hangs.")]

    def collect(self) -> Iterator[Metric]:
        self.asked += 1
        self.is_asked.set()
        self.let_go.wait(DEADLINE_SECONDS)
        yield GaugeMetricFamily(self.name, "Hangs.", value=1)


@pytest.fixture
def metrics() -> RedMetrics:
    return fresh_metrics()


@pytest.fixture
def hanging(metrics: RedMetrics) -> Iterator[Hanging]:
    """Return a collector that hangs, between two of the registry that do not."""
    collector = Hanging()
    Gauge("before", "Before.", registry=metrics.registry)
    metrics.registry.register(collector)
    Gauge("after", "After.", registry=metrics.registry)
    yield collector
    collector.let_go.set()


def others(found: Answer) -> list[str]:
    """Return the families that are not ours; ours are there in any case."""
    names = [family.name for family in text_string_to_metric_families(found.body.decode())]
    assert "http_requests" in names
    return [name for name in names if not name.startswith(("http_", "red_", "uptime_"))]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return our messages. Others may log at any time, as asyncio does of a task that is collected late."""
    return [record.getMessage() for record in caplog.records if record.name == "red_middleware"]


def test_a_collector_that_hangs_is_left_out_and_named_until_it_returns(
    metrics: RedMetrics, hanging: Hanging, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before it is shown, and from the next scrape on what stands behind it. Each scrape counts a fault."""
    start = scraping.start

    def start_until_it_hangs(work: Callable[[], None]) -> None:
        start(work)
        assert hanging.is_asked.wait(DEADLINE_SECONDS)  # from then on the time passes, however slow the machine is

    monkeypatch.setattr(scraping, "start", start_until_it_hangs)
    with caplog.at_level(logging.WARNING, "red_middleware"):
        assert others(answer(metrics, AT_ONCE)) == ["before"]
        assert others(answer(metrics, Request())) == ["before", "after"]
        assert others(answer(metrics, Request())) == ["before", "after"]
    assert hanging.asked == 1  # it keeps one thread, and no more
    assert faults(metrics) == 3.0
    assert logged(caplog) == ["instrumentation fault (collector hanging); the response is not touched"]
    hanging.let_go.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == "red_middleware scrape"]:
        thread.join(DEADLINE_SECONDS)
    assert others(answer(metrics, Request())) == ["before", "hanging", "after"]
    assert faults(metrics) == 3.0


def test_several_that_hang_keep_a_thread_each(metrics: RedMetrics) -> None:
    """And the scrape answers all the same, as often as one asks."""
    collectors = [Hanging(f"hanging_{n}") for n in range(3)]
    for collector in collectors:
        metrics.registry.register(collector)
    before = threading.active_count()
    for _ in range(5):
        assert others(answer(metrics, AT_ONCE)) == []
    assert all(collector.is_asked.wait(DEADLINE_SECONDS) for collector in collectors)
    assert [collector.asked for collector in collectors] == [1, 1, 1]
    poll("the queue's own threads end", lambda: threading.active_count() <= before + 3)
    for collector in collectors:
        collector.let_go.set()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 9.5),
        ("1.5", 1.0),
        ("0.8", 0.4),
        ("0.000001", 0.25),
        ("1e9", 119.5),
        ("nan", 9.0),
        ("-1", 9.0),
        ("inf", 9.0),
        ("soon", 9.0),
        (None, 9.0),
    ],
)
def test_a_scraper_says_how_long_it_waits(header: str | None, seconds: float) -> None:
    """It is answered a little earlier. What is no number of seconds is not believed."""
    headers = {} if header is None else {"x-prometheus-scrape-timeout-seconds": header}
    assert seconds_left(headers, 9.0) == seconds


def test_an_option_says_how_long_where_the_scraper_does_not(hanging: Hanging) -> None:
    metrics = fresh_metrics(scrape_timeout_seconds=0.01)
    metrics.registry.register(hanging)
    assert others(answer(metrics, Request())) == []


class Waiting:
    """Who has asked several times, and not waited for the answers."""

    def __init__(self, metrics: RedMetrics, request: Request, times: int = 1) -> None:
        self.times = times
        self.answers: list[Answer] = []
        self.came = threading.Semaphore(0)
        for _ in range(times):
            ask(metrics, request, self._done)

    def _done(self, found: Answer) -> None:
        self.answers.append(found)
        self.came.release()

    def all(self) -> list[Answer]:
        """Wait for the answers."""
        assert all(self.came.acquire(timeout=DEADLINE_SECONDS) for _ in range(self.times))
        return self.answers


def test_who_asks_the_same_meanwhile_shares_the_answer(metrics: RedMetrics, hanging: Hanging) -> None:
    """However many: a busy worker may find at once all that a Prometheus asked and gave up, and then the one who waits.

    A scrape is work, and the endpoint is not to be a way to have it done a hundred times at once.
    """
    waiting = Waiting(metrics, Request(), 10 * MAX_SCRAPES)
    assert hanging.is_asked.wait(DEADLINE_SECONDS)
    assert waiting.answers == []
    hanging.let_go.set()
    assert {found.status for found in waiting.all()} == {200}
    assert len({found.body for found in waiting.answers}) == 1
    assert hanging.asked == 1
    assert metrics.snapshot()["red_scrape_duration_seconds_count"] == 1.0


def test_too_many_different_scrapes_are_sent_away(metrics: RedMetrics, hanging: Hanging) -> None:
    """But for those who ask for what another one waits for."""
    different = [Request(query=f"name[]=before&name[]={number}") for number in range(MAX_SCRAPES + 1)]
    waiting = [Waiting(metrics, request) for request in different[:MAX_SCRAPES]]
    assert hanging.is_asked.wait(DEADLINE_SECONDS)
    (refused,) = Waiting(metrics, different[MAX_SCRAPES]).all()
    assert refused.status == 503
    assert ("Retry-After", "1") in refused.headers
    last = Waiting(metrics, different[MAX_SCRAPES - 1])
    hanging.let_go.set()
    assert {found.status for one in (*waiting, last) for found in one.all()} == {200}
    assert metrics.snapshot()["red_scrape_duration_seconds_count"] == float(MAX_SCRAPES)


def test_who_asks_for_something_else_waits_for_its_turn(metrics: RedMetrics, hanging: Hanging) -> None:
    """One scrape at a time."""
    every = Waiting(metrics, Request())
    assert hanging.is_asked.wait(DEADLINE_SECONDS)
    one = Waiting(metrics, Request(query="name[]=after"))
    hanging.let_go.set()
    (found,) = one.all()
    assert [family.name for family in text_string_to_metric_families(found.body.decode())] == ["after"]
    assert others(every.answers[0]) == ["before", "hanging", "after"]


def test_head_shares_what_get_asks_for(metrics: RedMetrics, hanging: Hanging) -> None:
    """Each has its own form of the one answer."""
    get = Waiting(metrics, Request())
    assert hanging.is_asked.wait(DEADLINE_SECONDS)
    head = Waiting(metrics, Request("HEAD"))
    hanging.let_go.set()
    assert head.all()[0].body == b"" != get.all()[0].body
    assert head.answers[0].headers == get.answers[0].headers
    assert hanging.asked == 1


def test_an_app_that_keeps_the_loops_threads_busy_holds_no_scrape_up(metrics: RedMetrics) -> None:
    """`asyncio.to_thread` has them; the target would be down just under load."""
    app, server, busy = RedASGIMiddleware(unused, metrics=metrics), ASGIServer(), threading.Event()

    async def main() -> None:
        with ThreadPoolExecutor(1) as only:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(only)
            jobs = [loop.run_in_executor(None, busy.wait, DEADLINE_SECONDS) for _ in range(4)]
            await app(scope("/metrics"), server.receive, server.send)
            busy.set()
            assert await asyncio.gather(*jobs) == [True] * 4

    asyncio.run(main())
    assert server.sent[0]["status"] == 200


def test_a_scrape_whose_client_left_harms_nobody(metrics: RedMetrics, hanging: Hanging) -> None:
    """Its task is cancelled, and the loop may have ended when the answer comes."""
    app, server = RedASGIMiddleware(unused, metrics=metrics), ASGIServer()

    async def main(lets_go: bool) -> None:
        task = asyncio.create_task(app(scope("/metrics"), server.receive, server.send))
        while not hanging.is_asked.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if lets_go:
            hanging.let_go.set()
            answer(metrics, Request(query="name[]=after"))
            await asyncio.sleep(0)

    asyncio.run(main(True))
    hanging.is_asked.clear()
    hanging.let_go.clear()
    asyncio.run(main(False))
    hanging.let_go.set()
    assert answer(metrics, Request(query="name[]=after")).status == 200
    assert server.sent == []
    assert faults(metrics) == 0.0


async def unused(*_: object) -> None:
    raise AssertionError("the endpoint answers")


def test_a_scrape_that_cannot_be_made_is_answered_too(metrics: RedMetrics) -> None:
    """With 500, and the log says why: a registry may be of any class, and change as it likes."""
    vars(metrics.registry)["_collector_to_names"] = "spoilt"
    found = answer(metrics, Request())
    assert (found.status, found.body) == (500, b"The scrape failed; the log says why.\n")
    assert faults(metrics) == 1.0


def test_where_no_thread_can_be_made_the_caller_does_the_work(
    metrics: RedMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the interpreter is about to end."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    Gauge("other", "Other.", registry=metrics.registry)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert others(answer(metrics, Request())) == ["other"]


def test_a_collector_that_hangs_keeps_no_process_from_ending_nor_a_child_from_scraping() -> None:
    """The thread is a daemon, and a forked child has threads of its own."""
    program = """
import os, sys
from tests.exposition.test_scraping import AT_ONCE, Hanging, answer, fresh_metrics, others, Request
metrics, hanging = fresh_metrics(), Hanging()
metrics.registry.register(hanging)
assert others(answer(metrics, AT_ONCE)) == []
child = os.fork()
if not child:
    hanging.__init__()  # a thread of the parent may have held its locks
    hanging.let_go.set()
    assert others(answer(metrics, Request())) == ["hanging"]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("well")
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True)
    assert ended.stdout == "well\n"


# Names


class Nameless(Collector):
    """A collector that tells no names before it is asked, and then fails."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        raise LookupError(id(self))


def test_each_collector_that_fails_is_logged_by_its_family(
    metrics: RedMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    """Gauges whose functions fail, say, for they are called in another thread than the loop's."""
    for name in ("tasks", "connections"):
        Gauge(name, "Of the loop.", registry=metrics.registry).set_function(lambda: len(asyncio.all_tasks()))
    for _ in range(2):
        metrics.registry.register(Nameless())
    with caplog.at_level(logging.WARNING, "red_middleware"):
        for _ in range(2):
            assert others(answer(metrics, Request())) == []
    assert logged(caplog) == [
        f"instrumentation fault (collector {name}); the response is not touched"
        for name in ("tasks", "connections", "Nameless", "Nameless 2")
    ]
    assert faults(metrics) == 8.0


# What two collectors show


class Twin(Collector):
    """A collector of a family that another one shows."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("mine", "Mine.", value=2)


def test_a_family_is_shown_once(metrics: RedMetrics) -> None:
    """Prometheus refuses the whole scrape otherwise."""
    Gauge("mine", "Mine.", registry=metrics.registry).set(1)
    metrics.registry.register(Twin())
    found = answer(metrics, Request())
    assert others(found) == ["mine"]
    assert b"\nmine 1.0\n" in found.body
    assert faults(metrics) == 1.0


def test_where_the_user_registered_a_multiprocess_collector_there_is_no_other(
    metrics: RedMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours would read the directory a second time, and fail here."""
    MultiProcessCollector(metrics.registry, str(tmp_path))  # type: ignore[no-untyped-call]  # it has no annotations
    Gauge("mine", "Mine.", registry=metrics.registry)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    assert others(answer(metrics, Request())) == []
    assert faults(metrics) == 0.0


def test_a_multiprocess_collector_of_the_users_own_is_the_only_one() -> None:
    """Whose app was served by several workers before has it in its registry."""
    program = """
import os, tempfile
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
from prometheus_client import CollectorRegistry, Counter, REGISTRY
from prometheus_client.multiprocess import MultiProcessCollector
from red_middleware import RedMetrics
from red_middleware.exposition import Request, answer
registry = CollectorRegistry()
MultiProcessCollector(registry)
Counter("orders", "In this registry.", registry=registry).inc()
Counter("sales", "In the default one.").inc()
for chosen in (registry, REGISTRY):
    text = answer(RedMetrics(registry=chosen), Request()).body.decode()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE") and "http" not in line]
    assert len(types) == len(set(types)), types
    assert {"orders_total", "sales_total"} <= set(types), types
    assert "red_instrumentation_errors_total 0.0" in text
print("well")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("well\n", 0), ended.stderr
