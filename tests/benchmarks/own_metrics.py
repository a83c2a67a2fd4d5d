"""What the application's own prometheus_client metrics cost: an increment, and the scrape of many workers.

They are kept in memory, in the cells that our workers share, or in prometheus_client's multiprocess mode, which the
environment chooses before its import. So each way has a process of its own, and the processes are measured in turn.
`python -m tests.benchmarks own`.
"""

import os
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier, Event, Lock
from statistics import median
from tempfile import TemporaryDirectory
from time import thread_time
from timeit import Timer
from typing import Any, Final, NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from red_middleware import RedMetrics, RedWSGIMiddleware
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.workers import State

from .driving import null_wsgi, serve_wsgi
from .rounds import middle
from .tables import OURS, Effort, Target, with_lines, writing
from .workers import LIVING, VARIABLE

MEMORY: Final = "in memory"
SHARED: Final = OURS
MULTIPROCESS: Final = "multiprocess mode"
WAYS: Final = (MEMORY, SHARED, MULTIPROCESS)

LABELS: Final = ("shop", "kind")
STATEMENTS: Final = {
    "counter.inc()": "app_counter_total",
    "child.inc()": 'app_child_total{kind="retail",shop="north"}',
    'named.labels("north", "retail").inc()': 'app_named_total{kind="retail",shop="north"}',
    "gauge.inc()": "app_gauge",
    "level.set(3.0)": "app_level",
    "histogram.observe(0.3)": "app_histogram_count",
}
"""What is timed, and the sample that tells how often it was done: of `level` it is what was set."""
LEVEL: Final = 3.0
GROUPS: Final = 5
"""In so many groups of three processes increments are measured, each with a fifth of the rounds."""

COUNTERS: Final = 4_000
HISTOGRAMS: Final = 340
GAUGES: Final = 20
BOUNDS: Final = tuple(float(bound) for bound in range(1, 15))
"""And +Inf: with its count and its sum, a histogram is 17 series. All of these are 9,800."""
AMOUNTS: Final = (0.5, 3.25, 7.125, 20.0)
"""What is observed. Sums of these are exact, so that all ways must show the same."""

MERGING: Final = "MultiProcessCollector.collect(), no text"
FIRST: Final = "the first scrape, once"


class Increment(NamedTuple):
    """What one statement costs in each way: microseconds, and the ratio to memory, give or take a margin."""

    statement: str
    memory: float
    shared: float
    shared_ratio: float
    shared_margin: float
    multiprocess: float
    multiprocess_ratio: float
    multiprocess_margin: float


class Scrape(NamedTuple):
    """What a scrape costs: milliseconds of CPU, and the ratio to ours, give or take a margin."""

    name: str
    milliseconds: float
    ratio: float
    margin: float


class OwnTable(NamedTuple):
    """Increments or scrapes, measured."""

    title: str
    rows: Sequence[Increment] | Sequence[Scrape]
    targets: Sequence[Target]
    missing: Sequence[str] = ()


def own_metrics(effort: Effort) -> Iterator[OwnTable]:
    """Compare increments and a scrape in each of the ways."""
    groups = [_apart(_increments, effort._replace(rounds=max(5, effort.rounds // GROUPS))) for _ in range(GROUPS)]
    rows = [_middle(runs) for runs in zip(*groups, strict=True)]
    targets = [Target(f"{row.statement}, {SHARED} / {MEMORY}", row.shared_ratio, 1.6) for row in rows]
    yield OwnTable("The application's own metrics, increments", rows, targets)
    yield _apart(_scrapes, effort)


def _apart(compare: "Callable[[Mapping[str, _Process], Effort], Any]", effort: Effort) -> Any:
    """Compare new processes, one for each way."""
    with ExitStack() as stack:
        return compare({way: stack.enter_context(_Process(way)) for way in WAYS}, effort)


class _Process:
    """A process that keeps its metrics in one way, and what asks it."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.directory = TemporaryDirectory()
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (way, self.directory.name))

    def __enter__(self) -> "_Process":
        before = os.environ.pop(VARIABLE, None)
        if self.way == MULTIPROCESS:
            os.environ[VARIABLE] = self.directory.name  # a spawned process has it before it imports anything
        try:
            self.ask("samples")
        finally:
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.ask("leave")
        self.pool.shutdown()
        self.directory.cleanup()

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the process's `_Kept`."""
        return self.pool.submit(_asked, method, arguments).result()


class _Kept:
    """The metrics of a process, and what is done with them there.

    Args:
        way: How they are kept.
        directory: Where workers share them.
    """

    def __init__(self, way: str, directory: str) -> None:
        self.way = way
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the multiprocess mode has none
        registry = self.registry = CollectorRegistry()
        named = partial(Counter, labelnames=LABELS, registry=registry)
        self.statements: dict[str, Any] = {
            "counter": Counter("app_counter", "A counter.", registry=registry),
            "child": named("app_child", "A counter with labels.").labels("north", "retail"),
            "named": named("app_named", "A counter with labels."),
            "gauge": Gauge("app_gauge", "A gauge.", registry=registry),
            "level": Gauge("app_level", "A gauge.", registry=registry),
            "histogram": Histogram("app_histogram", "A histogram.", registry=registry),
        }
        self.sales = named("app_sales", "Many of them.")
        self.sizes = Histogram("app_sizes", "Many of them.", LABELS, registry=registry, buckets=BOUNDS)
        self.stocks = Gauge("app_stocks", "Some of them.", LABELS, registry=registry, multiprocess_mode="livesum")
        self.leaving: Event = get_context("fork").Event()
        self.writers: dict[str, Callable[[], bytes]] = {}
        if way == SHARED:
            self.red = RedMetrics(registry=registry, multiprocess_dir=directory, multiprocess_name="own")
            self._prepare_ours()
        elif way == MULTIPROCESS:
            shown = CollectorRegistry()
            MultiProcessCollector(shown, directory)  # type: ignore[no-untyped-call]  # it has no annotations
            self.write = partial(generate_latest, shown)
            self.writers = {
                "MultiProcessCollector, generate_latest": self.write,
                MERGING: lambda: bytes(len(list(shown.collect()))),
            }
        else:
            self.write = partial(generate_latest, registry)
            self.writers = {"generate_latest, one process with the sums of all": self.write}

    def _prepare_ours(self) -> None:
        def written(accept: str) -> bytes:
            return answer(self.red, Request(headers={"accept": accept})).body

        self.write = partial(written, "text/plain")
        self.writers = {OURS: self.write, f"{OURS}, OpenMetrics": partial(written, "application/openmetrics-text")}

    def join(self) -> None:
        """Join the group of workers, as ours do with their first request."""
        if self.way == SHARED:
            serve_wsgi(RedWSGIMiddleware(null_wsgi, metrics=self.red, routes=["/"]), ["/"])(1)
            if recorder_of(self.red).membership.state is not State.JOINED:
                raise RuntimeError("the application's metrics are not shared, and there is nothing to compare")

    def run(self, statement: str, times: int) -> float:
        """Execute a statement so many times, and return the seconds of CPU that it took."""
        return Timer(statement, timer=thread_time, globals=self.statements).timeit(times)

    def work(self) -> None:
        """Count in many workers, of which this process is one; those that are alone count what all of them count."""
        if self.way == MEMORY:
            for worker in range(LIVING):
                self.count(worker)
            return
        context = get_context("fork")
        turn, entered = context.Lock(), context.Barrier(LIVING)
        for worker in range(1, LIVING):
            context.Process(target=self._live, args=(worker, turn, entered), daemon=True).start()
        self._enter(0, turn, entered)

    def _enter(self, worker: int, turn: Lock, entered: Barrier) -> None:
        """Count in turn with the other workers: who waits too long for them shares the rest when it is scraped."""
        with turn:
            self.join()
            self.count(worker)
        entered.wait()

    def _live(self, worker: int, turn: Lock, entered: Barrier) -> None:
        """Be a worker: count, and stay until told to leave."""
        self._enter(worker, turn, entered)
        self.leaving.wait()

    def count(self, worker: int) -> None:
        """Count in all series what one worker counts."""
        for n in range(COUNTERS):
            self.sales.labels(f"shop-{n // 10}", f"kind-{n % 10}").inc(worker + n)
        for n in range(HISTOGRAMS):
            for amount in AMOUNTS[: 1 + (worker + n) % len(AMOUNTS)]:
                self.sizes.labels(f"shop-{n // 10}", f"kind-{n % 10}").observe(amount)
        for n in range(GAUGES):
            self.stocks.labels(f"shop-{n}", "all").inc(worker + n)

    def leave(self) -> None:
        """Let the workers go."""
        self.leaving.set()

    def samples(self) -> dict[str, float]:
        """Return the application's samples that are shown, without the pid that the multiprocess mode gives gauges."""
        text = re.sub(r'\{pid="\d+"\}', "", self.write().decode())
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("app_")]
        return {name: float(value) for name, _, value in lines}

    def names(self) -> list[str]:
        """Return what can be written."""
        return [name if name == MERGING else with_lines(name, write) for name, write in self.writers.items()]

    def scrape(self, number: int) -> float:
        """Write one of these, and return the seconds of CPU that it took."""
        return writing(list(self.writers.values())[number])(1)


_kept: list[_Kept] = []


def _begin(way: str, directory: str) -> None:
    _kept.append(_Kept(way, directory))


def _asked(method: str, arguments: Sequence[object]) -> Any:
    return getattr(_kept[0], method)(*arguments)


def _increments(processes: "Mapping[str, _Process]", effort: Effort) -> list[Increment]:
    """Measure each statement in one group of processes, and check what all have counted."""
    for process in processes.values():
        process.ask("join")
    rows, done = [], {}
    shuffle = random.Random(1).shuffle
    order = list(processes.items())
    for statement in STATEMENTS:
        times = 1_000
        seconds = min(processes[MEMORY].ask("run", statement, times) for _ in range(5))
        for process in (processes[SHARED], processes[MULTIPROCESS]):
            process.ask("run", statement, 5 * times)
        chunk = max(times, int(times * effort.chunk_seconds / max(seconds, 1e-9)))
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(effort.rounds):
            shuffle(order)
            for way, process in order:
                process.ask("run", statement, times)  # what the others left in the processor's caches is not its to pay
                found[way].append(process.ask("run", statement, chunk) / chunk * 1e6)
        done[STATEMENTS[statement]] = 5 * times + effort.rounds * (times + chunk)
        ratios = {way: [mine / least for mine, least in zip(found[way], found[MEMORY], strict=True)] for way in WAYS}
        shared, multiprocess = ((median(found[way]), *middle(ratios[way])) for way in (SHARED, MULTIPROCESS))
        rows.append(Increment(statement, median(found[MEMORY]), *shared, *multiprocess))
    expected = {**done, STATEMENTS["level.set(3.0)"]: LEVEL}
    for way, process in processes.items():
        samples = process.ask("samples")
        shown = {name: samples.get(name) for name in expected}
        if shown != expected:
            raise RuntimeError(f"{way} shows {shown} of {expected}")
    return rows


def _middle(runs: Sequence[Increment]) -> Increment:
    """Return the medians of several groups of processes; a margin is half of the way from the lowest to the highest."""
    statement, *columns = zip(*runs, strict=True)
    memory, shared, shared_ratio, _, multiprocess, multiprocess_ratio, _ = map(median, columns)
    spread = [(max(column) - min(column)) / 2 for column in columns]
    return Increment(statement[0], memory, shared, shared_ratio, spread[2], multiprocess, multiprocess_ratio, spread[5])


def _scrapes(processes: "Mapping[str, _Process]", effort: Effort) -> OwnTable:
    """Measure scrapes in turn, after all ways have shown the same."""
    for process in processes.values():
        process.ask("work")
    first = Scrape(f"{OURS}, {FIRST}", processes[SHARED].ask("scrape", 0) * 1e3, 0.0, 0.0)
    shown = {way: process.ask("samples") for way, process in processes.items()}
    for way in (SHARED, MULTIPROCESS):
        if shown[way] != shown[MEMORY]:
            wrong = sorted(shown[way].items() ^ shown[MEMORY].items())
            raise RuntimeError(f"{way} shows something else than one process that counts all: {wrong[:6]}")
    asked = [
        (name, partial(processes[way].ask, "scrape", number))
        for way in (SHARED, MULTIPROCESS, MEMORY)
        for number, name in enumerate(processes[way].ask("names"))
    ]
    found: dict[str, list[float]] = {name: [] for name, _ in asked}
    for _ in range(max(5, effort.rounds // 3)):
        for name, scrape in asked:
            found[name].append(scrape() * 1e3)
    ours, *_ = found.values()
    rows = [
        Scrape(name, median(each), *middle([other / mine for other, mine in zip(each, ours, strict=True)]))
        for name, each in found.items()
    ]
    first = first._replace(ratio=first.milliseconds / rows[0].milliseconds)
    theirs = next(row for row in rows if row.name.startswith("MultiProcessCollector, "))
    targets = [Target(f"{theirs.name} / {OURS}", theirs.ratio, 20.0, at_least=True)]
    series = len(shown[MEMORY])
    title = f"The application's own metrics, scrape of {LIVING} workers with {series:,} series each"
    return OwnTable(f"{title}, in milliseconds", [first, *rows], targets)
