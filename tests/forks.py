"""Forks at the worst moments, each scenario a process of its own: `python -m tests.forks <scenario>`.

Run by `test_fork.py` and without coverage, whose own lock a forked child may find taken for ever.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from red_middleware import RedMetrics
from red_middleware.exposition import answer

FORKS = 500
DEADLINE_SECONDS = 20


def serve(metrics: RedMetrics, route: str, status: int = 200) -> None:
    """Count one request."""
    exchange = metrics.start("GET", {})
    assert exchange is not None
    exchange.respond(status, route)
    exchange.raised(KeyError())
    exchange.finish()


def in_child(work: Callable[[], None]) -> None:
    """Run in a forked child; fail if it fails, or is not done in time."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(DEADLINE_SECONDS)  # kills the child if it hangs
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert not os.WIFSIGNALED(status), "the child hung"
    assert os.WEXITSTATUS(status) == 0, "the child failed, see stderr"


def threads_record() -> None:
    """500 forks under 4 recording threads, which also admit new rows, codes and exceptions."""
    registry = CollectorRegistry()
    metrics = RedMetrics(registry=registry, max_label_sets=400)
    Counter("orders", "The app's own.", registry=registry).inc()
    stop = threading.Event()
    served = [0, 0, 0, 0]

    def record(thread: int) -> None:
        while not stop.is_set():
            n = served[thread]
            serve(metrics, f"/{thread}/{n % 150}", 200 + n % 20)
            served[thread] = n + 1

    def child() -> None:
        serve(metrics, "/child")
        text = answer(metrics, "GET", "", "", "").body.decode()
        assert 'http_requests_total{method="GET",route="/child",status="200"} 1.0\n' in text
        assert sum(n for text, n in metrics.snapshot().items() if text.startswith("http_requests_total")) == 1.0
        assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
        assert "orders_total 1.0\n" in text

    metrics.declare([("/child", ["GET"])])
    threads = [threading.Thread(target=record, args=(thread,)) for thread in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)  # more moments to fork at, and less waiting for the GIL
    for thread in threads:
        thread.start()
    try:
        for _ in range(FORKS):
            in_child(child)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    found = metrics.snapshot()
    assert sum(n for text, n in found.items() if text.startswith("http_requests_total")) == sum(served)
    assert not any("/child" in text for text in found)


def request_in_flight() -> None:
    """Its gauge stays at zero, the parent's goes on."""
    metrics = RedMetrics(registry=CollectorRegistry())
    exchange = metrics.start("GET", {})
    assert exchange is not None

    def child() -> None:
        assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
        exchange.respond(200, "/a")
        exchange.finish()
        assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0

    in_child(child)
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 1.0
    exchange.respond(200, "/a")
    exchange.finish()
    assert metrics.snapshot()['http_requests_total{method="GET",route="/a",status="200"}'] == 1.0


def locks_held() -> None:
    """The worst moment, made certain: another thread is inside every lock."""
    metrics = RedMetrics(registry=CollectorRegistry())
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with metrics.table.lock, metrics.table.methods["GET"].lock, metrics.table.other.lock:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        entered.wait()
        in_child(lambda: serve(metrics, "/child"))
    finally:
        leave.set()
        thread.join()
    serve(metrics, "/parent")
    assert metrics.snapshot()['http_requests_total{method="GET",route="/parent",status="200"}'] == 1.0


SCENARIOS: dict[str, Callable[[], None]] = {
    scenario.__name__: scenario for scenario in (threads_record, request_in_flight, locks_held)
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
