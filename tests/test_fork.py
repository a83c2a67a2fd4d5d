"""A fork at any moment: the child never hangs, begins at zero, and leaves its parent's numbers alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics

from .forks import SCENARIOS, serve

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.prefork] * (name == "workers_record")) for name in SCENARIOS]
)
def test_a_forked_child_records_and_scrapes(scenario: str) -> None:
    """While 4 threads record (500 forks), with a request in flight, with every lock held by another thread."""
    command = [sys.executable, "-m", "tests.forks", scenario]
    done = subprocess.run(command, cwd=ROOT, timeout=DEADLINE_SECONDS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_restarted_table_begins_at_zero_with_locks_of_its_own() -> None:
    """What happens in the child, seen from close by: the index stays, numbers and gauges do not."""
    metrics = RedMetrics(registry=CollectorRegistry())
    serve(metrics, "/a")
    running = metrics.start("GET", {})
    assert running is not None
    table = metrics.table
    before = (table.lock, table.other.lock)
    table.restart()
    assert not any(table.cells)
    assert [row.route for row in table.rows] == ["/a"]
    assert table.lock is not before[0]
    assert table.other.lock is not before[1]
    failing = metrics.start("GET", {})
    assert failing is not None
    table.restart()
    for exchange, status in ((running, 200), (failing, 500)):
        exchange.respond(status, "/a")
        exchange.finish()
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
    assert metrics.snapshot()['http_requests_total{method="GET",route="/a",status="200"}'] == 1.0
    assert metrics.snapshot()['http_errors_total{method="GET",route="/a"}'] == 1.0
