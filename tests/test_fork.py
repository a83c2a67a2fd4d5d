"""A fork at any moment: the child never hangs, begins at zero, and leaves its parent's numbers alone."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from .counts import counted, fresh_metrics, requests
from .drive import begun, count, restart
from .forks import SCENARIOS, locks_of

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.once] * (name == "workers_record")) for name in SCENARIOS]
)
def test_a_forked_child_records_and_scrapes(scenario: str) -> None:
    """While 4 threads record, with a request in flight, with every lock held by another thread."""
    command = [sys.executable, "-m", "tests.forks", scenario]
    done = subprocess.run(command, cwd=ROOT, timeout=DEADLINE_SECONDS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numbers_that_begin_anew_are_zero_with_locks_of_their_own() -> None:
    """What happens in the child, seen from close by: the rows stay, numbers and gauges do not."""
    metrics = fresh_metrics()
    count(metrics, "/a")
    running = begun(metrics)
    held = locks_of(metrics)
    restart(metrics)
    assert counted(metrics) == {}
    kinds = (type(threading.Lock()),)  # the one that may be entered twice is replaced elsewhere
    assert not [lock for lock in locks_of(metrics) if isinstance(lock, kinds) and lock in held]
    failing = begun(metrics)
    restart(metrics)
    for exchange, status in ((running, 200), (failing, 500)):
        exchange.respond(status, "/a")
        exchange.finish()
    assert requests(metrics) == {("GET", "/a", "200"): 1, ("GET", "/a", "500"): 1}
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
    assert metrics.snapshot()['http_errors_total{method="GET",route="/a"}'] == 1.0
