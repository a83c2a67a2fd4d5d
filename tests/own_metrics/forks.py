"""Forks and kills of workers with metrics of an application: `python -m tests.own_metrics.forks <scenario> <base>`.

Run by `test_forks.py` and without coverage, whose own lock a forked child may find taken for ever.
"""

import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary

from red_middleware.metrics import recorder_of
from red_middleware.workers import State

from ..forks import fork_under_load
from ..patience import patient
from ..workers.members import RETIRING
from .workers import Worker

FORKS = 50
CHILDREN = 4
DEADLINE_SECONDS = 60

Pause = Callable[[], None]


class Child:
    """A forked child that stops at times until it is told to go on.

    Args:
        work: What it does; it is given what it stops by.
    """

    def __init__(self, work: Callable[[Pause], object]) -> None:
        heard, say = os.pipe()
        listen, told = os.pipe()
        self.heard, self.told = heard, told
        self.pid = os.fork()
        if self.pid:
            os.close(say)
            os.close(listen)
            return
        os.close(heard)
        os.close(told)

        def pause() -> None:
            os.write(say, b".")
            os.read(listen, 1)

        try:
            signal.alarm(DEADLINE_SECONDS)
            work(pause)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)

    def wait(self) -> None:
        """Wait until it stops."""
        assert os.read(self.heard, 1) == b".", "the child failed, see stderr"

    def go_on(self) -> None:
        """Tell it to go on."""
        os.write(self.told, b".")

    def end(self, expected: int = 0) -> None:
        """Wait for its end."""
        os.close(self.heard)
        os.close(self.told)
        assert os.waitpid(self.pid, 0)[1] == expected


class Metrics:
    """One metric of each kind in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counter = Counter("orders", "The application's.", ["of"], registry=registry)
        self.gauge = Gauge("jobs", "The application's.", registry=registry)
        self.level = Gauge("level", "The application's.", registry=registry)
        self.least = Gauge("least", "The application's.", registry=registry, multiprocess_mode="min")
        self.pool = Gauge("pool", "The application's.", registry=registry, multiprocess_mode="livesum")
        self.histogram = Histogram("size", "The application's.", registry=registry, buckets=(1,))
        self.summary = Summary("wait", "The application's.", registry=registry)
        self.info = Info("build", "The application's.", registry=registry)
        self.enum = Enum("phase", "The application's.", registry=registry, states=["up", "down"])

    def use(self, number: float) -> None:
        """Count in each that adds up."""
        self.counter.labels("a").inc(number)
        self.gauge.inc(number)
        self.histogram.observe(number)
        self.summary.observe(number)


def counted(worker: Worker) -> tuple[float | None, ...]:
    """Return what a worker shows of what adds up."""
    found = worker.samples()
    names = ("orders_total{of=a}", "size_sum", "size_bucket{le=+Inf}", "wait_sum", "wait_count")
    return tuple(found.get(name) for name in names)


def in_memory(registry: CollectorRegistry) -> tuple[float | None, ...]:
    """Return what the application sees of it in its own process."""
    names = ("size_sum", "size_count", "wait_sum", "wait_count", "jobs")
    return (registry.get_sample_value("orders_total", {"of": "a"}), *map(registry.get_sample_value, names))


def is_early(worker: Worker) -> bool:
    """Tell whether a worker has not decided yet."""
    return recorder_of(worker.metrics).membership.state is State.EARLY


def preload(base: Path) -> None:
    """A master counts 5 and forks, and the children join: what they have from it counts once, theirs each time."""
    worker = Worker(base)
    metrics = Metrics(worker.registry)
    metrics.use(5)
    metrics.pool.set(10)
    metrics.least.set(4)
    metrics.level.set(3)

    def serve(n: int) -> Callable[[Pause], object]:
        def work(pause: Pause) -> None:
            assert is_early(worker)
            metrics.use(n)  # before it joins
            worker.enter()
            metrics.use(10 * n)
            pause()
            sums = 5.0 + 11 * sum(range(1, CHILDREN + 1))
            assert counted(worker) == (sums, sums, 1.0 + 2 * CHILDREN, sums, 1.0 + 2 * CHILDREN), counted(worker)
            found = worker.samples()
            assert (found["jobs"], found["level"], found["least"], found["pool"]) == (sums, 3.0, 4.0, 10.0), found
            own = 5.0 + 11 * n
            assert in_memory(worker.registry) == (own, own, 3.0, own, 3.0, own), in_memory(worker.registry)
            pause()
            metrics.pool.set(n)  # nothing of the master's stays
            metrics.least.set(4 + n)
            metrics.level.set(n)
            pause()
            found = worker.samples()
            assert (found["pool"], found["least"]) == (float(sum(range(1, CHILDREN + 1))), 5.0), found
            assert found["level"] in range(1, CHILDREN + 1)
            pause()

        return work

    children = [Child(serve(n)) for n in range(1, CHILDREN + 1)]
    for _ in range(4):
        for child in children:
            child.wait()
        for child in children:
            child.go_on()
    for child in children:
        child.end()
    assert is_early(worker)

    def look(pause: Pause) -> None:
        metrics.use(1)
        worker.enter()
        assert counted(worker)[0] == 6.0 + 11 * sum(range(1, CHILDREN + 1)), counted(worker)

    Child(look).end()


def child_joins(base: Path) -> None:
    """A child of a worker joins the same group: what it has from its parent is counted there already."""
    worker = Worker(base)
    metrics = Metrics(worker.registry)
    metrics.use(2)
    worker.enter()
    metrics.use(3)
    metrics.level.set(8)
    metrics.least.set(6)
    metrics.pool.set(7)

    def join(pause: Pause) -> None:
        assert in_memory(worker.registry) == (5.0, 5.0, 2.0, 5.0, 2.0, 5.0), in_memory(worker.registry)
        metrics.use(10)
        worker.enter()
        metrics.use(20)
        assert in_memory(worker.registry) == (35.0, 35.0, 4.0, 35.0, 4.0, 35.0), in_memory(worker.registry)
        found = worker.samples()
        assert counted(worker) == (35.0, 35.0, 4.0, 35.0, 4.0), counted(worker)
        assert (found["jobs"], found["level"], found["least"], found["pool"]) == (35.0, 8.0, 6.0, 7.0), found
        pause()
        if hasattr(metrics.counter, "reset"):
            metrics.counter.labels("a").reset()
        pause()
        metrics.level.set(1)
        Child(grandchild).end()
        pause()

    def grandchild(pause: Pause) -> None:
        metrics.level.set(2)
        metrics.histogram.observe(0)
        worker.enter()
        assert counted(worker)[2] == 6.0
        assert worker.shown("level") == 2.0

    child = Child(join)
    child.wait()
    metrics.use(100)
    assert counted(worker) == (135.0, 135.0, 5.0, 135.0, 5.0), counted(worker)
    child.go_on()
    child.wait()
    left = 105.0 if hasattr(metrics.counter, "reset") else 135.0
    assert counted(worker) == (left, 135.0, 5.0, 135.0, 5.0), counted(worker)
    child.go_on()
    child.wait()
    assert counted(worker) == (left, 135.0, 6.0, 135.0, 5.0), counted(worker)
    child.go_on()
    child.end()
    assert counted(worker) == (left, 135.0, 6.0, 135.0, 5.0), counted(worker)
    assert worker.shown("jobs") == 105.0  # what is in progress in the living
    assert worker.faults() == 0.0


def child_resets(base: Path) -> None:
    """What a child sets before it joins is all that it says: nothing is taken from what its parent says."""
    worker = Worker(base).enter()
    metrics = Metrics(worker.registry)
    metrics.use(5)
    metrics.pool.set(7)

    def work(pause: Pause) -> None:
        metrics.pool.set(1)
        metrics.gauge.set(2)
        if hasattr(metrics.counter, "reset"):
            metrics.counter.labels("a").reset()
        worker.enter()
        pause()

    child = Child(work)
    child.wait()
    found = worker.samples()
    assert (found["orders_total{of=a}"], found["pool"], found["jobs"]) == (5.0, 8.0, 7.0), found
    child.go_on()
    child.end()


def child_stays_away(base: Path) -> None:
    """A child of a worker that joins nothing writes nothing into its parent's cells, whatever it does."""
    worker = Worker(base).enter()
    metrics = Metrics(worker.registry)
    computed = Gauge("computed", "The application's.", registry=worker.registry)
    computed.set(4)
    computed.set_function(lambda: 1.0)
    metrics.use(5)
    metrics.info.info({"version": "1"})
    region = recorder_of(worker.metrics).table.regions
    before = [list(region[kind].cells[: 4 * region[kind].used]) for kind in ("own_sum", "own_state")]

    def work(pause: Pause) -> None:
        metrics.use(100)
        metrics.level.set(9)
        metrics.enum.state("down")
        metrics.info.info({"version": "2"})
        computed.set(5)
        Counter("late", "The application's.", registry=worker.registry).inc()
        metrics.counter.remove("a")
        metrics.counter.labels("a").inc(7)
        worker.registry.unregister(metrics.histogram)
        pause()

    child = Child(work)
    child.wait()
    assert [list(region[kind].cells[: 4 * region[kind].used]) for kind in ("own_sum", "own_state")] == before
    assert counted(worker)[0] == 5.0
    child.go_on()
    child.end()
    assert counted(worker) == (5.0, 5.0, 1.0, 5.0, 1.0)


def under_load(base: Path) -> None:
    """Forks under 4 threads that count and make children; each child counts, joins, and counts again."""
    worker = Worker(base, max_label_sets=100).enter()
    metrics = Metrics(worker.registry)
    stop = threading.Event()
    served = [0] * 4

    def record(thread: int) -> None:
        while not stop.is_set():
            metrics.use(1)
            metrics.counter.labels(f"{thread} {served[thread] % 50}").inc()
            served[thread] += 1

    def child() -> None:
        metrics.use(1)
        metrics.counter.labels("child").inc()
        worker.enter()
        metrics.use(1)
        assert worker.samples()["orders_total{of=child}"] >= 1.0

    fork_under_load(record, child, stop, FORKS)
    all_of_them = float(sum(served) + 2 * FORKS)
    assert counted(worker) == (all_of_them,) * 5, (counted(worker), all_of_them)
    found = worker.samples()
    assert found["orders_total{of=child}"] == FORKS
    assert sum(n for name, n in found.items() if name.startswith("orders_total{of=0 ")) == served[0]
    assert found["jobs"] == sum(served)
    assert worker.faults() == 0.0


def killed_while_it_counts(base: Path) -> None:
    """A worker is killed in the middle of counting: no count that it has told of is lost, and no total ever falls."""
    worker = Worker(base).enter()
    Counter("orders", "The application's.", registry=worker.registry).inc(0)
    heard, said = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(DEADLINE_SECONDS)
        other = Worker(base)
        counter = Counter("orders", "The application's.", registry=other.registry)
        other.enter()
        while True:
            counter.inc(0.1)
            os.write(said, b".")
    os.close(said)
    seen = [worker.shown("orders_total") or 0.0]
    for _ in range(20):
        os.read(heard, 50)
        seen.append(worker.shown("orders_total") or 0.0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seen += [worker.shown("orders_total") or 0.0 for _ in range(3)]
    assert seen == sorted(seen)
    assert seen[-1] > 0.0
    assert seen[-1] == seen[-2] == seen[-3]
    another = Worker(base).enter()
    Counter("orders", "The application's.", registry=another.registry)
    assert another.shown("orders_total") == seen[-1]


def killed_while_it_folds(base: Path) -> None:
    """A worker is killed at any step of folding the dead: what all counted stays exact, and counts once."""
    numbers = [0.1, 1e15, 0.2, 1e-9]
    for step, kill in RETIRING.items():
        place = base / step.replace(" ", "-")
        place.mkdir()

        def work(pause: Pause, place: Path = place, kill: Callable[[], None] = kill) -> None:
            workers = [Worker(place) for _ in numbers]
            for worker, number in zip(workers, numbers, strict=True):
                worker.enter()
                Metrics(worker.registry).use(number)
            for worker in workers[1:]:
                worker.die()
            kill()
            workers[0].samples()

        Child(work).end(expected=signal.SIGKILL)
        worker = Worker(place).enter()
        Metrics(worker.registry)
        total = math.fsum(numbers)
        for _ in range(2):
            assert counted(worker) == (total, total, 4.0, total, 4.0), (step, counted(worker))
        assert worker.shown("jobs") == 0.0
        worker.die()


SCENARIOS: dict[str, Callable[[Path], None]] = {
    scenario.__name__: scenario
    for scenario in (
        preload,
        child_joins,
        child_resets,
        child_stays_away,
        under_load,
        killed_while_it_counts,
        killed_while_it_folds,
    )
}

if __name__ == "__main__":
    with patient():
        SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
