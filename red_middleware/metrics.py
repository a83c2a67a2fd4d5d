"""RedMetrics, the options and the numbers of one mounting. `start` begins a request; what follows is in `exchange`.

It is also a collector of its registry, and decides at the first request whether it shares its numbers with other
workers. Nothing here raises at request time: a fault of the instrumentation is logged once per kind, counted, and kept
from the application.
"""

import logging
import math
import os
import threading
import time
import weakref
from _thread import RLock
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, NoReturn

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from . import options, workers
from .exchange import BRIEF_SECONDS, KEY, Apart, Exchange, counts, excludes, unfinished
from .families import FAMILIES, Bound, Family, bound, sample_text, samples
from .labels import method_label
from .table import FAULTS, Method, Table

DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds, as OpenTelemetry advises for `http.server.request.duration`."""

LAYOUT: Final = 2
"""To be raised when cells change their meaning: workers of two versions of this library are no group."""

DIRECTORY: Final = "RED_MULTIPROCESS_DIR"
"""Of the environment: what `multiprocess_dir="auto"` stands for."""

logger = logging.getLogger("red_middleware")


def log(level: int, message: str, *arguments: object, error: BaseException | None = None) -> None:
    """Log, unless a handler or filter of the user's raises: no request is to fail for it."""
    try:
        logger.log(level, message, *arguments, exc_info=error)
    except Exception:
        pass


class RedMetrics(Collector):
    """The numbers that one or several middlewares feed, registered as one prometheus_client collector.

    A second one on the same registry and namespace shares the first one's numbers if its options are equal. The two
    are equal then, and either unregisters them.

    Args:
        registry: Where the families are registered, and what the endpoint shows.
        namespace: Prefix of every family: `shop` makes `shop_http_requests_total`.
        buckets: Upper bounds of the latency histogram, seconds, strictly increasing, > 0; +Inf is implied. Each adds
            one series to every row.
        slo_seconds: Objectives, seconds > 0; each becomes an exact bucket boundary, so that the share of requests
            within it is exact.
        max_label_sets: Rows of the table, one a (method, route), 1 to 1,000,000; raised where declared routes need
            more, beside the 22 of `_unmatched` and `_overflow`. See `bound` for the series they can make.
        multiprocess_dir: Where prefork workers keep the files that they share, a directory; `"auto"`: shared memory, or
            where the environment variable `RED_MULTIPROCESS_DIR` says, an absolute path; `None`: every worker has
            numbers of its own.
        multiprocess_name: Makes workers of all processes of this user that give the same name, by whomever they were
            started; by default the environment variable `RED_MULTIPROCESS_NAME`, else the server that runs the app
            tells.
        clock: Monotonic seconds, as a finite float. Called once here, then three times a request. For tests.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: An option has a wrong value, differs from those of the `RedMetrics` that it would share, or a
            family's name is taken in the registry.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry = REGISTRY,
        namespace: str = "",
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        slo_seconds: Sequence[float] = (),
        max_label_sets: int = 1000,
        multiprocess_dir: str | os.PathLike[str] | None = "auto",
        multiprocess_name: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        options.check_type("RedMetrics", "registry", registry, CollectorRegistry)
        options.check_namespace("RedMetrics", namespace)
        options.check_count("RedMetrics", "max_label_sets", max_label_sets, options.MAX_LABEL_SETS)
        self.born = options.first_seconds("RedMetrics", "clock", clock)
        self.registry = registry
        self.namespace = namespace
        self.max_label_sets = max_label_sets
        self.clock = clock
        self.buckets = options.bucket_bounds("RedMetrics", buckets)
        self.slo_seconds = options.objectives("RedMetrics", slo_seconds)
        self.bounds = tuple(sorted({*self.buckets, *self.slo_seconds}))
        self.multiprocess_dir = options.directory("RedMetrics", "multiprocess_dir", multiprocess_dir)
        if self.multiprocess_dir == "auto":
            options.directory_of_environment(DIRECTORY)
        if multiprocess_name is not None:
            options.check_type("RedMetrics", "multiprocess_name", multiprocess_name, str)
        self.multiprocess_name = multiprocess_name
        self.brief = min(self.bounds[0], BRIEF_SECONDS)
        self.table = Table(self.bounds, max_label_sets)
        self.methods: Mapping[object, Method] = {}  # the table's from `begin` on, so that the first request meets it
        self._beginning = RLock()
        self._deciding = False
        self._alone: Table | None = None  # of a worker that has no group, or had none for a while
        self._warned: set[str] = set()
        self._announced = False
        self._identity = object()
        self._register()
        _live.add(self)

    def _register(self) -> None:
        key = (id(self.registry), self.namespace)
        with _registering:
            try:
                self.registry.register(self)
            except ValueError as taken:
                first = _registered.get(key)
                if first is None or first.registry is not self.registry or not first._is_registered():
                    raise options.refusal(
                        ValueError, "RedMetrics", "namespace", self.namespace,
                        f"{taken}: held by another metric; choose another namespace=",
                    ) from taken  # fmt: skip
                self._check_equal(first)
                self.__dict__ = first.__dict__  # from here on the same object under another name
            else:
                _registered[key] = self
                self._layout = _layout(self)

    def _is_registered(self) -> bool:
        """Tell whether the registry still holds this, or one that shares its numbers: it may have been unregistered."""
        held = getattr(self.registry, "_collector_to_names", None)
        return held is None or self in held

    def _check_equal(self, first: "RedMetrics") -> None:
        names = ["max_label_sets", "multiprocess_dir", "multiprocess_name", "clock"]
        if self.bounds != first.bounds:  # an objective that is a bucket as well is the same either way
            names = ["buckets", "slo_seconds", *names]
        for name in names:
            ours, theirs = getattr(self, name), getattr(first, name)
            if ours != theirs:
                raise options.refusal(
                    ValueError, "RedMetrics", name, ours,
                    f"the registry holds a RedMetrics with {name}={theirs!r}; pass that one as metrics=, "
                    "or choose another registry= or namespace=",
                )  # fmt: skip

    def begin(self) -> Mapping[object, Method]:
        """Decide, at this process's first request or scrape, whether it shares its numbers with other workers.

        Not at construction, which may be before the workers are forked. Where that failed, a later scrape tries again.
        """
        if workers.is_master():
            return self.table.methods
        with self._beginning:
            if not self.methods and workers.is_booting():
                self._alone = self.table  # what is counted now comes along
            elif not self._deciding:  # else asked from within, by a handler of the log
                self._deciding = True
                _serving.add(True)
                try:
                    sharing = self.table.sharing
                    if sharing is not None and sharing.left:
                        self._alone = self.table
                    if not self.methods or self._alone is self.table:
                        self._join()
                    if self._alone not in (None, self.table):  # also what ended since the last scrape
                        workers.carry(self._alone, self.table)
                except Exception as error:
                    self.fault("numbers of a worker alone", error)
                finally:
                    self.methods = self.table.methods
                    self._deciding = False
        return self.table.methods

    def _join(self) -> None:
        if self.multiprocess_dir is None:
            return
        base: str | None = self.multiprocess_dir
        name = self.multiprocess_name or os.environ.get("RED_MULTIPROCESS_NAME")
        try:
            if self._layout is None:
                self.table.isolated = workers.find_group(name or None) is not None
                if self.table.isolated:
                    self.warn_once(
                        "late metrics",
                        "a RedMetrics was made for a registry of its own when this process had begun to serve: other "
                        "workers cannot tell which of theirs it is, and it counts for this one alone; make it on "
                        "import, or give it a namespace= or multiprocess_name= of its own",
                    )
                return
            if base == "auto":
                base = options.directory_of_environment(DIRECTORY)
            shared = workers.join(self.table, self._layout, base, name or None, self.fault)
        except Exception as error:
            self._alone = self.table
            self.table.isolated = True
            self.warn_once("workers", "this worker's numbers are its own, not those of its group", error=error)
            return
        if shared is not None:
            if self._alone is not None and self._alone.isolated:
                log(logging.INFO, "this worker's numbers are those of its group now, with all that it counted alone")
            routes, self.table = self.table.declared, shared
            self.declare(routes.items())  # which were declared in the group: says so if there was no room for them

    def start(self, method: object, source: MutableMapping[str, Any], path: str = "") -> Exchange | None:
        """Begin a request.

        Args:
            method: Its method as the client wrote it.
            source: Its environ or scope, in which the exchange is left for middlewares further in.
            path: Its path, relative to the mounting.

        Returns:
            The exchange; `None` if one that encloses this counts the request already, or excludes it.
        """
        try:
            entry = self.methods[method]
        except (KeyError, TypeError):  # the first request, or a method outside of its closed set, or none at all
            entry = (self.methods or self.begin())[method_label(method)]
        apart = None
        if KEY in source:
            outer = unfinished(source[KEY])
            if counts(outer, self.table) or excludes(source[KEY], self.table, path):
                return None
            apart = Apart(outer)
        clock = self.clock
        try:
            started = clock()
        except Exception as error:
            self.fault("clock", error)
            started = math.nan
        exchange = source[KEY] = Exchange()  # filled here: an __init__ would cost as much as all of this
        exchange.metrics = self
        exchange.method = entry
        exchange.path = path
        exchange.started = started
        exchange.apart = apart
        exchange.outcome = None
        exchange.finished = False
        entry.in_progress.append(None)
        return exchange

    def exclude(self, source: MutableMapping[str, Any], path: str) -> None:
        """Leave word for middlewares further in that a request is not counted. See `start`."""
        exchange = Exchange()
        exchange.metrics = self
        exchange.path = path
        exchange.apart = Apart(unfinished(source.get(KEY)))
        exchange.apart.forgotten = exchange.finished = True
        exchange.outcome = None
        source[KEY] = exchange

    def declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        """Reserve rows for routes, and log the bound when it is first known or raised.

        Args:
            routes: Templates with their methods, `None` where the app names none. See `Table.declare`.
        """
        table = self.table
        before = table.capacity if self._announced else self.max_label_sets
        homeless = table.declare(routes)
        if table.capacity > before:
            log(
                logging.WARNING,
                "RedMetrics(max_label_sets=%d): raised to %d, which the declared routes, _unmatched and _overflow need",
                self.max_label_sets,
                table.capacity,
            )
        if homeless:
            self.warn_once(
                "late routes",
                "RedMetrics(max_label_sets=%d): no rows left for %d routes declared late; they may count as _overflow",
                self.max_label_sets,
                homeless,
            )
        if not self._announced or table.capacity > before:
            self._announced = True
            log(
                logging.INFO,
                "at most %(series)d time series: %(rows)d label sets, %(cells)d cells",
                self.bound()._asdict(),
            )

    def bound(self) -> Bound:
        """Return the most that clients can ever make: rows (label sets), cells (numbers), series.

        series = rows x (buckets + 21) + 277, buckets counted without +Inf: a row shows its buckets and +Inf, sum,
        count, errors, disconnects and 16 statuses; 277 are 257 exceptions, 11 methods in progress and 9 of our own.
        """
        return bound(self.table)

    def collect(self) -> Iterator[Metric]:
        """Yield the families for any prometheus_client writer."""
        self.begin()
        for family, found in samples(self.table, self.uptime_seconds()).items():
            metric = _metric(family, self.namespace)
            for suffix, labels, value in found:
                metric.add_sample(self.full_name(family) + suffix, dict(labels), value)
            yield metric

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples: a registry asks for their names."""
        return (_metric(family, self.namespace) for family in FAMILIES)

    def snapshot(self) -> dict[str, float]:
        """Return every sample by the text that the endpoint shows for it. For tests.

        Returns:
            For instance `{'http_requests_total{method="GET",route="/hello",status="200"}': 1.0, ...}`.
        """
        self.begin()
        return {
            sample_text(self.full_name(family) + sample.suffix, sample.labels): sample.value
            for family, found in samples(self.table, self.uptime_seconds()).items()
            for sample in found
        }

    def clear(self) -> None:
        """Set to zero all that was counted. For tests: a counter must never go backwards.

        Of several workers only what this one counted. Requests in progress stay so, and the uptime goes on.
        """
        self.table.clear()

    def full_name(self, family: Family) -> str:
        """Return a family's name with the namespace in front."""
        return f"{self.namespace}_{family.name}" if self.namespace else family.name

    def uptime_seconds(self) -> float:
        """Return the seconds since these numbers began, of several workers those of the first."""
        sharing = self.table.sharing
        return self.now() - self.born if sharing is None else time.monotonic() - sharing.born

    def now(self) -> float:
        """Return the clock's seconds; NaN if it fails."""
        try:
            return float(self.clock())
        except Exception as error:
            self.fault("clock", error)
            return math.nan

    def fault(self, kind: str, error: BaseException) -> None:
        """Count a fault of the instrumentation, and log the first of its kind with its traceback."""
        self.table.add(FAULTS)
        self.warn_once(kind, "instrumentation fault (%s); the response is not touched", kind, error=error)

    def warn_once(self, kind: str, message: str, *arguments: object, error: BaseException | None = None) -> None:
        """Log a warning, the first time that its kind comes up."""
        if kind not in self._warned:
            self._warned.add(kind)
            log(logging.WARNING, message, *arguments, error=error)

    def __eq__(self, other: object) -> bool:
        """Tell whether the two share their numbers: to a registry they are one collector, and either unregisters it."""
        return isinstance(other, RedMetrics) and self._identity is other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __copy__(self) -> "RedMetrics":
        return self

    def __deepcopy__(self, memo: object) -> "RedMetrics":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("RedMetrics cannot be pickled: its numbers belong to this process")


def _layout(metrics: RedMetrics) -> str | None:
    """Return what makes the cells of two tables differ in meaning, or belong to different registries of one app.

    Registries are told apart by their order, which is the same in all workers while they import the app. Later it
    follows the requests that a worker happens to get: then only a name tells, else `None`.
    """
    layout = repr((LAYOUT, metrics.namespace, metrics.bounds, metrics.max_label_sets))
    if metrics.registry is REGISTRY:
        return layout
    _layouts[layout] += 1
    is_named = metrics.multiprocess_name or (metrics.namespace and _layouts[layout] == 1)
    if _serving and not is_named:
        return None
    return f"{layout} {_layouts[layout]}"


def _metric(family: Family, namespace: str) -> Metric:
    name = f"{namespace}_{family.name}" if namespace else family.name
    return Metric(name.removesuffix("_total"), family.help, family.kind)


def _restart_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    _serving.clear()
    for metrics in list(_live):
        metrics._beginning = RLock()
        metrics._deciding = False
        metrics._alone = None
        metrics.methods = {}


_layouts: Counter[str] = Counter()
_serving: set[bool] = set()
"""Not empty from this process's first request or scrape on."""

_live: "weakref.WeakSet[RedMetrics]" = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_restart_all)

_registering = threading.Lock()
_registered: "weakref.WeakValueDictionary[tuple[int, str], RedMetrics]" = weakref.WeakValueDictionary()
