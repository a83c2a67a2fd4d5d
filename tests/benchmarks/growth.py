"""What many instances of a shop cost a Prometheus: series, bytes, and memory by its own figures.

One server on loopback stands for all instances: each is a target of its own, with a path and a label `instance`, and
answers with what `exposed` kept of the real package. A real Prometheus scrapes them a few times. Nothing of that takes
more than 4 GB. What would is calculated: memory grows with the series, by as much for each as in the largest run.
`python -m tests.benchmarks growth`.
"""

import math
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import Group, rule_groups

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
CHUNK_SCRAPES: Final = 130
"""More than the 120 samples of a chunk: Prometheus then has a full one of each series, and a new one."""
CHUNK_INSTANCES: Final = 100
SAMPLES_PER_SECOND: Final = 300_000
"""So many can two cores store while they serve the targets, and have time left."""
SHORTEST_SECONDS: Final = 0.1
INTERVAL_SECONDS: Final = 15
"""Between two scrapes, in what the tables tell. In a run it is shorter: memory depends on the number of scrapes."""
SERIES_OF_SCRAPE: Final = 5
"""What Prometheus adds for each target: up, and four on the scrape itself."""
COLLECTIONS: Final = 5
"""Of garbage, of which the best counts. The others meet more scrapes that are just being read."""
JOB: Final = "shop"
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
    """`go_memstats_next_gc_bytes`, just after garbage was collected: the heap grows so large until the next time."""
    resident_bytes: float
    """`process_resident_memory_bytes`"""
    scrapes: int = SCRAPES


class Package(NamedTuple):
    """What was measured of one package.

    Args:
        exposed: What one instance shows.
        idle: Prometheus without any target.
        runs: From few instances to many.
        longer: A run with more scrapes.
        recorded: How many series the recording rules make, whatever the number of instances.
    """

    exposed: Exposed
    idle: Run
    runs: Sequence[Run] = ()
    longer: Run | None = None
    recorded: int = 0

    def series(self, instances: int) -> int:
        """Return how many series Prometheus has of so many instances."""
        return _series(self.exposed.answers, instances)

    @property
    def bytes_per_series(self) -> float:
        """What a series adds to Prometheus's heap, with the garbage that Go lets lie."""
        largest = self.runs[-1]
        return (largest.grown_heap_bytes - self.idle.grown_heap_bytes) / largest.series

    def run_bytes(self, instances: int) -> float:
        """Return the resident memory that a run is expected to need, as far as there were others."""
        added = [(run.resident_bytes - self.idle.resident_bytes) / run.series for run in self.runs[-1:]]
        return self.idle.resident_bytes + sum(added) * self.series(instances)

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
    """And what else there is to say."""


class Fleet:
    """Answers as all instances of a shop, each at a path that is its number, until it is left.

    Args:
        answers: Of an instance, to one scrape after the other. After the last it begins anew, as after a restart.
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
        number = self.scrapes[instance]
        self.scrapes[instance] = number + 1
        return self.answers[number % len(self.answers)]


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
    """Measure all packages that are installed, the first of which is ours, and tell of one instance and of many."""
    if shutil.which("prometheus") is None:
        raise NotInstalledError("prometheus: apt-get install prometheus")
    shown, missing = [], []
    for name in packages:
        try:
            shown.append(exposed(name, SCRAPES))
        except NotInstalledError as error:
            missing.append(f"{name} is not installed, and not compared ({error})")
    yield one(shown, missing)
    idle = scraped([], 0)
    ours, *peers = (Package(each, idle) for each in shown)
    ours = _measured(ours)
    answers = ours.exposed.answers
    longer = scraped(answers, CHUNK_INSTANCES, CHUNK_SCRAPES)
    yield many(ours._replace(longer=longer, recorded=recorded(answers, CHUNK_INSTANCES)))
    yield beside([ours, *map(_measured, peers)])


def _measured(package: Package) -> Package:
    """Run Prometheus with more and more instances, as far as it goes."""
    ours = package.exposed.name == OURS
    for instances in MEASURED[OURS] if ours else PEERS_MEASURED:
        if package.run_bytes(instances) > MOST_BYTES:
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
    with _scraping(answers, instances, scrapes) as prometheus:
        found = figures(prometheus.port)
        grown_heap_bytes = min(_grown_heap_bytes(prometheus.port) for _ in range(COLLECTIONS))
    series = _series(answers, instances)
    if found["prometheus_tsdb_head_series"] != series:
        raise RuntimeError(f"Prometheus has {found['prometheus_tsdb_head_series']:,.0f} series, not {series:,}")
    return Run(
        instances, series, int(found["prometheus_tsdb_head_chunks"]), found["go_memstats_heap_inuse_bytes"],
        grown_heap_bytes, found["process_resident_memory_bytes"], scrapes,
    )  # fmt: skip


def _grown_heap_bytes(port: int) -> float:
    """Have Prometheus collect its garbage, and return how large its heap becomes until the next time."""
    get(f"http://127.0.0.1:{port}/debug/pprof/heap?gc=1")
    return figures(port)["go_memstats_next_gc_bytes"]


def recorded(answers: Sequence[Answer], instances: int) -> int:
    """Return how many series the recording rules make of so many instances of our app."""
    rules = rule_groups(shop_installation())
    names = {rule["record"] for group in rules for rule in group["rules"]}
    with _scraping(answers, instances, 3, rules) as prometheus:
        found = f'count by (__name__) ({{__name__=~"job.*:.*", job="{JOB}"}})'
        poll("all rules", lambda: {labels["__name__"] for labels, _ in prometheus.ask(found)} == names)
        return int(prometheus.number(f"sum({found})") or 0)


def shop_installation() -> Installation:
    """Return what the shop exposes with our defaults, as rules are made for it."""
    return Installation(JOB, recorder_of(RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)).options)


@contextmanager
def _scraping(
    answers: Sequence[Answer], instances: int, scrapes: int, rules: Sequence[Group] = ()
) -> Iterator[Prometheus]:
    """Run a Prometheus that has scraped each instance so often, and goes on."""
    every = f"{round(interval_seconds(_series(answers, instances)) * 1000)}ms"
    with TemporaryDirectory() as directory, Fleet(answers, instances) as fleet:
        job = {"static_configs": fleet.targets, "scrape_interval": every, "scrape_timeout": every}
        with Prometheus(Path(directory), {JOB: fleet.port}, {JOB: job}, rules) as prometheus:
            poll("all scrapes", lambda: min(fleet.scrapes, default=scrapes) >= scrapes, LONGEST_SECONDS)
            yield prometheus


def _series(answers: Sequence[Answer], instances: int) -> int:
    """Return how many series Prometheus has of so many instances; none of no answers."""
    return instances * sum(answer.series + SERIES_OF_SCRAPE for answer in answers[-1:])


def interval_seconds(series: int) -> float:
    """Return how often so many series can be scraped here."""
    return max(SHORTEST_SECONDS, math.ceil(10 * series / SAMPLES_PER_SECOND) / 10)


def figures(port: int) -> dict[str, float]:
    """Return what Prometheus says of itself, by name and labels."""
    lines = get(f"http://127.0.0.1:{port}/metrics").decode().splitlines()
    return {name: float(text) for name, _, text in (line.rpartition(" ") for line in lines if line[0] != "#")}


def one(shown: Sequence[Exposed], missing: Sequence[str] = ()) -> GrowthTable:
    """Tell of one instance."""
    head = [
        "one instance", "series", "bytes of a scrape", "bytes on the wire",
        f"samples a second, every {INTERVAL_SECONDS} s", f"series after {2 * HOSTILE:,} hostile requests",
    ]  # fmt: skip
    rows = []
    for each in shown:
        last = each.answers[-1]  # its counters have the most digits
        samples = _series(each.answers, 1) / INTERVAL_SECONDS
        rows.append(
            [
                each.name, f"{last.series:,}", f"{len(last.text):,}", f"{len(last.body):,}", f"{samples:,.0f}",
                f"{each.series_after_hostile:,}",
            ]
        )  # fmt: skip
    title = f"Growth: {ROUTES} routes, {ITEMS} items of each, {len(STATUSES)} statuses"
    return GrowthTable(title, head, rows, missing=missing)


def many(package: Package) -> GrowthTable:
    """Tell of many instances of one package. What was measured stands beside what is calculated."""
    every = f"every {INTERVAL_SECONDS} s"
    head = [
        "instances", "series", f"samples a second, {every}", f"kB/s on the wire, {every}", "scrapes", "chunks",
        "heap, MB", "resident, MB", "resident, calculated, MB",
    ]  # fmt: skip
    runs: dict[int, list[Run]] = {instances: [] for instances in INSTANCES}
    for each in package.runs if package.longer is None else [*package.runs, package.longer]:
        runs[each.instances].append(each)
    rows = []
    for instances in INSTANCES:
        series = package.series(instances)
        wire = instances * len(package.exposed.answers[-1].body) / INTERVAL_SECONDS
        first = [f"{instances:,}", f"{series:,}", f"{series / INTERVAL_SECONDS:,.0f}", f"{wire / 1e3:,.1f}"]
        last = _mb(rounded(package.memory_bytes(instances)))
        rows += [
            [*first, str(each.scrapes), f"{each.chunks:,}", _mb(each.heap_bytes), _mb(each.resident_bytes), last]
            for each in runs[instances]
        ] or [[*first, "", "", "", "", last]]
    notes = [f"{package.recorded:,} recorded series of the job, whatever the number of instances"]
    return GrowthTable(
        f"Growth: Prometheus, {package.exposed.name}", head, rows, missing=notes if package.recorded else []
    )


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
