"""What many instances of a shop cost a Prometheus: series, bytes, and memory by its own figures.

One server on loopback stands for all instances: each is a target of its own, with a path and a label `instance`, and
answers with what `exposed` kept of the real package. A real Prometheus scrapes them a few times. Nothing of that takes
more than 4 GB. What would is calculated: memory grows with the series, by as much for each as in the largest run.
`python -m tests.benchmarks growth`.
"""

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from ..e2e.prometheus import Prometheus
from ..e2e.servers import get, poll
from .exposed import HOSTILE, ITEMS, PACKAGES, ROUTES, STATUSES, Answer, Exposed, exposed
from .peers import NotInstalledError
from .tables import OURS, Target

INSTANCES: Final = (1, 10, 100, 1_000, 10_000)
"""Of how many the tables tell."""
MEASURED: Final = {OURS: (1, 10, 100, 1_000)}
PEERS_MEASURED: Final = (10, 100)
MOST_BYTES: Final = 4_000_000_000
"""A run for which Prometheus would need more memory is left out."""
MOST_SERIES_OF_PEER: Final = 500_000
"""A run of a peer with more is left out: it would show the same memory for each series, and take a minute more."""
SCRAPES: Final = 20
"""Of each target. After fewer, Prometheus's heap has not settled."""
SAMPLES_PER_SECOND: Final = 350_000
"""So many can two cores store while they serve the targets."""
SHORTEST_SECONDS: Final = 0.1
INTERVAL_SECONDS: Final = 15
"""Between two scrapes, in what the tables tell. In a run it is shorter: memory depends on the number of scrapes."""
SERIES_OF_SCRAPE: Final = 5
"""What Prometheus adds for each target: up, and four on the scrape itself."""
LONGEST_SECONDS: Final = 300.0
DIGITS: Final = 3
"""How many digits of a calculated figure mean something."""


class Run(NamedTuple):
    """Some instances, scraped; the figures are Prometheus's own."""

    instances: int
    series: int
    """`prometheus_tsdb_head_series`"""
    chunks: int
    """`prometheus_tsdb_head_chunks`"""
    heap_bytes: float
    """`go_memstats_heap_inuse_bytes`"""
    grown_heap_bytes: float
    """`go_memstats_next_gc_bytes`: the heap becomes so large before garbage is collected, and no larger."""
    resident_bytes: float
    """`process_resident_memory_bytes`"""


class Package(NamedTuple):
    """What was measured of one package.

    Args:
        exposed: What one instance shows.
        idle: Prometheus without any target.
        runs: From few instances to many.
    """

    exposed: Exposed
    idle: Run
    runs: Sequence[Run] = ()

    @property
    def answer(self) -> Answer:
        """The last one: its counters have the most digits."""
        return self.exposed.answers[-1]

    def series(self, instances: int) -> int:
        """Return how many series Prometheus has of so many instances."""
        return instances * (self.answer.series + SERIES_OF_SCRAPE)

    @property
    def bytes_per_series(self) -> float:
        """What a series adds to Prometheus's heap, with the garbage that Go lets lie."""
        largest = self.runs[-1]
        return (largest.grown_heap_bytes - self.idle.grown_heap_bytes) / largest.series

    def memory_bytes(self, instances: int) -> float:
        """Return the resident memory to which Prometheus grows, calculated."""
        return self.idle.resident_bytes + self.bytes_per_series * self.series(instances)


class GrowthTable(NamedTuple):
    """A table, ready to be printed."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = ()
    missing: Sequence[str] = ()


class Fleet:
    """Answers as all instances of a shop, each at a path that is its number, until it is left.

    Args:
        answers: Of an instance, to one scrape after the other; the last one to all that come later.
        instances: How many there are.
    """

    def __init__(self, answers: Sequence[Answer], instances: int) -> None:
        self.answers = answers
        self.scrapes = [0] * instances
        self.server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> "Fleet":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def targets(self) -> list[Mapping[str, object]]:
        """What Prometheus is to scrape, as `static_configs`."""
        return [
            {
                "targets": [f"127.0.0.1:{self.port}"],
                "labels": {"instance": f"shop-{number}:8000", "__metrics_path__": f"/{number}"},
            }
            for number in range(len(self.scrapes))
        ]

    def answer(self, instance: int) -> Answer:
        """Return what an instance answers to its next scrape. Nobody asks one instance twice at a time."""
        self.scrapes[instance] += 1
        return self.answers[min(self.scrapes[instance], len(self.answers)) - 1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: Prometheus closes its connections when it ends."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, fleet: Fleet, *connection: object) -> None:
        self.fleet = fleet
        super().__init__(*connection)  # type: ignore[arg-type]  # as socketserver calls it

    def do_GET(self) -> None:
        answer = self.fleet.answer(int(self.path[1:]))
        self.send_response(200)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_request(self, *_: object) -> None:
        """Say nothing."""


def growth(packages: Sequence[str] = tuple(PACKAGES)) -> Iterator[GrowthTable]:
    """Measure all packages that are installed, and tell of one instance and of many."""
    idle, found, missing = scraped([], 0), [], []
    for name in packages:
        try:
            package = Package(exposed(name, SCRAPES), idle)
        except NotInstalledError as error:
            missing.append(f"{name} is not installed, and not compared ({error})")
        else:
            found.append(_measured(package))
    yield one(found, missing)
    yield many(found[0])
    yield beside(found)


def _measured(package: Package) -> Package:
    """Run Prometheus with more and more instances, as far as it goes."""
    ours = package.exposed.name == OURS
    for instances in MEASURED[OURS] if ours else PEERS_MEASURED:
        if package.runs and package.memory_bytes(instances) > MOST_BYTES:
            break
        if package.runs and not ours and package.series(instances) > MOST_SERIES_OF_PEER:
            break
        package = package._replace(runs=[*package.runs, scraped(package.exposed.answers, instances)])
    return package


def scraped(answers: Sequence[Answer], instances: int, scrapes: int = SCRAPES) -> Run:
    """Let a new Prometheus scrape so many instances so often, and ask it what it has and takes.

    Raises:
        RuntimeError: It has not as many series as the instances show: some scrapes have failed.
    """
    series = sum(answer.series + SERIES_OF_SCRAPE for answer in answers[-1:]) * instances
    with TemporaryDirectory() as directory, Fleet(answers, instances) as fleet:
        every = f"{round(interval_seconds(series) * 1000)}ms"
        job = {"static_configs": fleet.targets, "scrape_interval": every, "scrape_timeout": every}
        with Prometheus(Path(directory), {"shop": fleet.port}, {"shop": job}) as prometheus:
            poll("all scrapes", lambda: min(fleet.scrapes, default=scrapes) >= scrapes, LONGEST_SECONDS)
            found = figures(prometheus.port)
    if found["prometheus_tsdb_head_series"] != series:
        raise RuntimeError(f"Prometheus has {found['prometheus_tsdb_head_series']:,.0f} series, not {series:,}")
    return Run(
        instances, series, int(found["prometheus_tsdb_head_chunks"]), found["go_memstats_heap_inuse_bytes"],
        found["go_memstats_next_gc_bytes"], found["process_resident_memory_bytes"],
    )  # fmt: skip


def interval_seconds(series: int) -> float:
    """Return how often so many series can be scraped here."""
    return max(SHORTEST_SECONDS, math.ceil(10 * series / SAMPLES_PER_SECOND) / 10)


def figures(port: int) -> dict[str, float]:
    """Return what Prometheus says of itself, by name and labels."""
    lines = get(f"http://127.0.0.1:{port}/metrics").decode().splitlines()
    return {name: float(text) for name, _, text in (line.rpartition(" ") for line in lines if line[0] != "#")}


def one(packages: Sequence[Package], missing: Sequence[str] = ()) -> GrowthTable:
    """Tell of one instance."""
    head = [
        "one instance", "series", "bytes of a scrape", "bytes on the wire",
        f"samples a second, every {INTERVAL_SECONDS} s", f"series after {2 * HOSTILE:,} hostile requests",
    ]  # fmt: skip
    rows = [
        [
            package.exposed.name, f"{package.answer.series:,}", f"{len(package.answer.text):,}",
            f"{len(package.answer.body):,}", f"{package.series(1) / INTERVAL_SECONDS:,.0f}",
            f"{package.exposed.series_after_hostile:,}",
        ]
        for package in packages
    ]  # fmt: skip
    title = f"Growth: {ROUTES} routes, {ITEMS} items of each, {len(STATUSES)} statuses"
    return GrowthTable(title, head, rows, missing=missing)


def many(package: Package) -> GrowthTable:
    """Tell of many instances of one package. What was measured stands beside what is calculated."""
    head = [
        "instances", "series", f"samples a second, every {INTERVAL_SECONDS} s", "kB/s on the wire", "chunks", "heap, MB",
        f"resident after {SCRAPES} scrapes, MB", "resident, calculated, MB",
    ]  # fmt: skip
    runs = {run.instances: run for run in package.runs}
    rows = []
    for instances in INSTANCES:
        series = package.series(instances)
        wire = instances * len(package.answer.body) / INTERVAL_SECONDS
        run = runs.get(instances)
        measured = [f"{run.chunks:,}", _mb(run.heap_bytes), _mb(run.resident_bytes)] if run else ["", "", ""]
        rows.append(
            [
                f"{instances:,}", f"{series:,}", f"{series / INTERVAL_SECONDS:,.0f}", f"{wire / 1e3:,.1f}", *measured,
                _mb(rounded(package.memory_bytes(instances))),
            ]
        )  # fmt: skip
    return GrowthTable(f"Growth: Prometheus, {package.exposed.name}", head, rows)


def beside(packages: Sequence[Package]) -> GrowthTable:
    """Tell of the memory that Prometheus needs for many instances of each package."""
    head = [
        "resident memory, calculated, MB", *(f"{instances:,}" for instances in INSTANCES), "bytes a series",
        "measured up to",
    ]  # fmt: skip
    rows = [
        [
            package.exposed.name, *(_mb(rounded(package.memory_bytes(instances))) for instances in INSTANCES),
            f"{package.bytes_per_series:,.0f}", f"{package.runs[-1].instances:,}",
        ]
        for package in packages
    ]  # fmt: skip
    return GrowthTable("Growth: Prometheus, beside the peers' defaults", head, rows)


def rounded(number: float) -> float:
    """Return a calculated figure with as many digits as mean something."""
    return float(f"{number:.{DIGITS}g}")


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.0f}"
