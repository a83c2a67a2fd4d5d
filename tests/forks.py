"""Forks at the worst moments, each scenario a process of its own: `python -m tests.forks <scenario>`.

Run by `test_fork.py` and without coverage, whose own lock a forked child may find taken for ever.
"""

import faulthandler
import gc
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from red_middleware import RedMetrics
from red_middleware.exposition import Request, answer

from .counts import requests, total
from .drive import begun, declare
from .patience import patient

FORKS = 150
DEADLINE_SECONDS = 60


def serve(metrics: RedMetrics, route: str, status: int = 200) -> None:
    """Count one request."""
    exchange = begun(metrics)
    exchange.respond(status, route)
    exchange.raised(KeyError())
    exchange.finish()


def in_child(work: Callable[[], None]) -> None:
    """Run in a forked child; fail if it fails, or is not done in time."""
    pid = os.fork()
    if pid == 0:
        try:
            faulthandler.enable()
            faulthandler.register(signal.SIGALRM, chain=True)  # if it hangs, say where, and die
            signal.alarm(DEADLINE_SECONDS)
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    killer = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    assert killer is None, f"the child died of {killer} (SIGALRM: it hung), see stderr"
    assert os.WEXITSTATUS(status) == 0, "the child failed, see stderr"


def threads_record() -> None:
    """Forks under 4 recording threads, which also admit new rows, codes and exceptions."""
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
        text = answer(metrics, Request()).body.decode()
        assert 'http_requests_total{method="GET",route="/child",status="200"} 1.0\n' in text
        assert "red_instrumentation_errors_total 0.0\n" in text
        assert total(metrics, "http_requests_total") == 1.0
        assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
        assert "orders_total 1.0\n" in text

    declare(metrics, [("/child", ["GET"])])
    fork_under_load(record, child, stop)
    assert total(metrics, "http_requests_total") == sum(served)
    assert not any("/child" in text for text in metrics.snapshot())


def workers_record() -> None:
    """The same among workers: every child joins the group, and what it counted stays when it is gone."""
    with tempfile.TemporaryDirectory() as place:
        metrics = RedMetrics(
            registry=CollectorRegistry(), max_label_sets=400, multiprocess_dir=place, multiprocess_name="forks"
        )
        stop = threading.Event()
        served = [0, 0, 0, 0]

        def record(thread: int) -> None:
            while not stop.is_set():
                serve(metrics, f"/{thread}/{served[thread] % 50}", 200 + served[thread] % 10)
                served[thread] += 1

        def child() -> None:
            serve(metrics, "/child")
            assert metrics.snapshot()["red_workers"] >= 1.0
            assert b'route="/child"' in answer(metrics, Request()).body

        declare(metrics, [("/child", ["GET"])])
        fork_under_load(record, child, stop)
        assert total(metrics, "http_requests_total") == sum(served) + FORKS
        found = metrics.snapshot()
        assert found['http_requests_total{method="GET",route="/child",status="200"}'] == FORKS
        assert found["red_worker_isolated"] == found["red_instrumentation_errors_total"] == 0.0
        (group,) = Path(place).glob("*/*")
        assert sum(name.startswith("w-") for name in os.listdir(group)) == found["red_workers"] == 1.0


def fork_under_load(
    record: Callable[[int], None], child: Callable[[], None], stop: threading.Event, forks: int = FORKS
) -> None:
    """Fork again and again while 4 threads record."""
    threads = [threading.Thread(target=record, args=(thread,)) for thread in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)  # more moments to fork at, and less waiting for the GIL
    for thread in threads:
        thread.start()
    try:
        for _ in range(forks):
            in_child(child)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


def request_in_flight() -> None:
    """Its gauge stays at zero, the parent's goes on."""
    metrics = RedMetrics(registry=CollectorRegistry())
    exchange = begun(metrics)

    def child() -> None:
        assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
        exchange.respond(200, "/a")
        exchange.finish()
        assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0

    in_child(child)
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 1.0
    exchange.respond(200, "/a")
    exchange.finish()
    assert requests(metrics) == {("GET", "/a", "200"): 1}


def locks_of(metrics: RedMetrics) -> list[Any]:
    """Return every lock that these numbers lead to through objects of ours."""
    kinds = (type(threading.Lock()), type(threading.RLock()))
    locks: list[Any] = []
    known: set[int] = set()
    waiting: list[Any] = [metrics]
    while waiting:
        one = waiting.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        if isinstance(one, kinds):
            locks.append(one)
        elif type(one) in (dict, list, tuple) or type(one).__module__.startswith("red_middleware"):
            waiting += gc.get_referents(one)
    return locks


def locks_held() -> None:
    """The worst moment, made certain: another thread is inside every lock."""
    metrics = RedMetrics(registry=CollectorRegistry())
    locks = locks_of(metrics)
    assert len(locks) > 11  # one for each method, and others
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
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
    assert requests(metrics) == {("GET", "/parent", "200"): 1}


SCENARIOS: dict[str, Callable[[], None]] = {
    scenario.__name__: scenario for scenario in (threads_record, workers_record, request_in_flight, locks_held)
}

if __name__ == "__main__":
    with patient():
        SCENARIOS[sys.argv[1]]()
