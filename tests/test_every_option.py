"""Every option at once: what is counted stays what it is without any, the bound holds, and nobody notices."""

import gc
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting.detailed import start_detailed
from red_middleware.exposition import Request, answer
from red_middleware.families import otel
from red_middleware.metrics import recorder_of
from red_middleware.workers import Identity, State

from .counts import counted, faults, fresh_metrics, total
from .drive import declare
from .options import BY_CODE, EVERY, OTEL, plainly, plainly_counted
from .scenarios import SCENARIOS, SEEN_BY_WSGI, Scenario
from .test_cardinality import Hostile, drive_asgi, drive_wsgi, plain_asgi, plain_wsgi
from .test_parity import Protocol, apart_from_the_endpoint, run, through

pytestmark = pytest.mark.once

REQUESTS: Final = 30_000
"""Through each protocol, by each naming."""

OURS = pytest.mark.parametrize("options", [EVERY, BY_CODE], ids=["by class", "by code"])
NAMINGS = pytest.mark.parametrize("options", [EVERY, OTEL], ids=["red", "otel"])


@OURS
@pytest.mark.parametrize(("protocol", "scenario"), through(asgi=SCENARIOS, wsgi=SEEN_BY_WSGI))
def test_a_scenario_counts_the_same(protocol: Protocol, scenario: Scenario, options: Mapping[str, Any]) -> None:
    """The table of scenarios holds, once what the options tell apart is added up; nothing stays in progress."""
    metrics, _ = run(protocol, scenario, **options)
    assert plainly_counted(metrics) == plainly(scenario.expected)
    assert counted(metrics, "http_requests_in_progress", "http_oldest_request_seconds", "red_workers_busy") == {}


@pytest.mark.parametrize(("protocol", "scenario"), through(asgi=SCENARIOS, wsgi=SEEN_BY_WSGI))
def test_a_scenario_counts_the_same_in_opentelemetrys_names(protocol: Protocol, scenario: Scenario) -> None:
    """Its duration, and whether it failed."""
    metrics, _ = run(protocol, scenario, **OTEL)
    plain, _ = run(protocol, scenario)
    for suffix in ("_count", "_sum"):
        ours = sum(counted(metrics, otel.DURATION + suffix).values())
        assert ours == sum(counted(plain, f"http_request_duration_seconds{suffix}").values())
    failed = [n for text, n in counted(metrics, f"{otel.DURATION}_count").items() if "error_type=" in text]
    assert sum(failed) == sum(counted(plain, "http_errors_total").values())
    assert faults(metrics) == faults(plain)
    assert counted(metrics, otel.ACTIVE.name, "red_workers_busy") == {}


@NAMINGS
@pytest.mark.parametrize(
    ("protocol", "scenario"),
    through(asgi=apart_from_the_endpoint(SCENARIOS), wsgi=apart_from_the_endpoint(SEEN_BY_WSGI)),
)
def test_nobody_notices(protocol: Protocol, scenario: Scenario, options: Mapping[str, Any]) -> None:
    """The server sees the same calls, bytes and exceptions, in the same order, as without the middleware."""
    assert run(protocol, scenario, **options)[1] == run(protocol, scenario, wraps=False)[1]


@NAMINGS
@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_hostile_clients_stay_within_the_bound(protocol: str, options: Mapping[str, Any]) -> None:
    """Values, statuses, methods and paths as they like: series, scrape and memory stay as they are, all are counted."""
    metrics = fresh_metrics(max_label_sets=100, **options)
    declare(metrics, [("/hello", ["GET", "POST"]), ("/items/<id>", ["GET"])])
    hostile = Hostile()
    middleware: Any = RedWSGIMiddleware if protocol == "wsgi" else RedASGIMiddleware
    drive: Callable[..., None] = drive_wsgi if protocol == "wsgi" else drive_asgi
    app = middleware(
        plain_wsgi if protocol == "wsgi" else plain_asgi,
        metrics=metrics,
        route_of=lambda source: source.get("PATH_INFO") or source["path"],
    )
    shown, blocks = [], []
    for _ in range(3):
        drive(app, hostile, REQUESTS // 3)
        shown.append((metrics.snapshot()["red_series"], len(answer(metrics, Request()).body)))
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    assert shown[-1][0] <= metrics.bound().series
    assert shown[-1][1] < shown[0][1] * 1.05  # nearly all lines were there, and numbers get longer
    assert blocks[-1] < blocks[0] + REQUESTS // 300
    duration = "http_request_duration_seconds" if options is EVERY else otel.DURATION
    assert total(metrics, f"{duration}_count") == REQUESTS
    assert any('route="/hello"' in text for text in counted(metrics, f"{duration}_count"))
    active = "http_requests_in_progress" if options is EVERY else otel.ACTIVE.name
    assert counted(metrics, active, "red_workers_busy") == {}


def count(metrics: RedMetrics, path: str, status: int, seconds: float, tenant: str, error: bool = False) -> None:
    """Count a request that says who it is for."""
    source = {"path": path, "headers": [(b"x-tenant", tenant.encode()), (b"x-plan", tenant.encode())]}
    exchange = start_detailed(recorder_of(metrics), "GET", source, path)
    assert exchange is not None
    exchange.started -= seconds
    if error:
        exchange.raised(KeyError())
    exchange.respond(status, path, [(b"x-cache", tenant.encode())])
    exchange.begin_body()
    exchange.finish()


def member(base: Path | None, options: Mapping[str, Any]) -> RedMetrics:
    """Return numbers that are shared in a directory."""
    return fresh_metrics(
        multiprocess_dir=None if base is None else str(base),
        multiprocess_name=None if base is None else "all",
        **options,
    )


def whole(metrics: RedMetrics) -> dict[str, float]:
    """Return all that adds up over workers."""
    changing = ("uptime", "red_", "http_oldest", "http_requests_in", "http_server_active", "http_time_to")
    return {text: n for text, n in counted(metrics, "http_", "websocket_").items() if not text.startswith(changing)}


REQUEST = st.tuples(
    st.sampled_from(["/a", "/b", "/c"]),
    st.sampled_from([200, 204, 404, 418, 500, 503, 0, 299]),
    st.sampled_from([0.0, 0.5, 1.5, 20.0]),
    st.sampled_from(["acme", "globex", "x", "y", "z", "w"]),
    st.booleans(),
)


@pytest.mark.parametrize("options", [EVERY, BY_CODE, OTEL], ids=["by class", "by code", "otel"])
@settings(max_examples=15, deadline=None)
@given(requests=st.lists(st.tuples(st.sampled_from("012"), REQUEST), max_size=30))
def test_workers_show_what_one_alone_would(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[str, Any]], options: Mapping[str, Any]
) -> None:
    """Three of them, one of which counted before it joined its group; also once one is dead and folded."""
    base = tmp_path_factory.mktemp("group")
    alone = member(None, options)
    workers = [member(base, options) for _ in "012"]
    for worker in workers:  # several in one process are not told apart otherwise
        recorder_of(worker).membership.identity = Identity("one of all", "of one layout")
    for worker in workers[:2]:
        recorder_of(worker).begin({})
    for who, request in requests:
        count(workers[int(who)], *request)
        count(alone, *request)
    for worker in workers:
        assert recorder_of(worker).read().workers == 3 or worker is not workers[-1]
        assert recorder_of(worker).membership.state is State.JOINED
    expected = whole(alone)
    for worker in workers:
        assert whole(worker) == expected
    first = recorder_of(workers[0]).membership.member
    assert first is not None
    first.abandon()  # as the kernel does for a process that is killed
    for _ in range(2):
        assert whole(workers[1]) == expected


KILLED = """
import sys
from pathlib import Path
from tests.options import EVERY
from tests.test_every_option import count, member
metrics = member(Path(sys.argv[1]), EVERY)
for n in range(100):
    count(metrics, "/a", 200 + n % 3 * 150, 0.5, "acme", n % 5 == 0)
print("counted", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_worker_counted_stays(tmp_path: Path) -> None:
    """Kill -9 after a hundred requests: all numbers of all options are there, and nothing in progress."""
    metrics, alone = member(tmp_path, EVERY), member(None, EVERY)
    count(metrics, "/b", 404, 0.5, "globex")
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "counted\n"
        worker.kill()
        worker.wait()
    count(alone, "/b", 404, 0.5, "globex")
    for n in range(100):
        count(alone, "/a", 200 + n % 3 * 150, 0.5, "acme", n % 5 == 0)
    assert whole(metrics) == whole(alone)
    assert metrics.snapshot()["red_workers"] == 1.0
    assert not any(str(os.getpid()) not in text for text in metrics.snapshot() if "http_oldest" in text)


@NAMINGS
def test_the_text_is_what_prometheus_client_writes(options: Mapping[str, Any]) -> None:
    """Line for line."""
    metrics = fresh_metrics(registry=CollectorRegistry(), **options)
    pick = random.Random(3)
    for n in range(200):
        count(metrics, f"/{n % 7}", pick.choice([200, 204, 404, 503]), pick.random(), pick.choice("abc"), n % 9 == 0)
    times = re.compile(r"^(uptime|red_scrape|http_oldest).*$", re.MULTILINE)
    ours = times.sub("", answer(metrics, Request()).body.decode())
    assert ours == times.sub("", generate_latest(metrics.registry).decode())


@NAMINGS
def test_the_bound_is_that_of_the_formula(options: Mapping[str, Any]) -> None:
    """A table that is full of rows, of which each has counted all that it can, shows no more."""
    metrics = fresh_metrics(max_label_sets=40, **options)
    recorder = recorder_of(metrics)
    for n in range(400):
        for status in range(200, 200 + 20 * 7, 7):
            count(metrics, f"/{n % 30}", status, 0.5, f"t{n % 5}")
    for region in recorder.table.regions.values():
        for row in region.rows:
            for cell in range(row.start, row.start + region.kind.width):
                region.cells[cell] += 1.0
    shown = metrics.snapshot()
    assert len(shown) == shown["red_series"]
    assert len(shown) <= metrics.bound().series
