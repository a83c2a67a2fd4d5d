"""Recorder: what one or several handles and mountings feed. It holds one table at a time, and says when to begin.

`exchange` counts requests by it; `exposition` and `RedMetrics` read it. Before the first request or scrape is answered
it lets every mounting declare its routes, and then decides with `workers.membership` whether other workers share the
numbers. Nothing here raises at request time.
"""

import logging
import math
import os
import time
import weakref
from _thread import RLock
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Final, Protocol

from prometheus_client import CollectorRegistry

from .counting.enclosing import LabelReader, Source
from .counting.layout import CAPACITY, Kind, layout
from .counting.rows import Method
from .counting.table import Table
from .families import Bound, Family, Reading, bound
from .families import families as families_of
from .faults import Faults, log
from .labelling import Labels
from .options import Options
from .own_metrics.sharing import OwnMetrics
from .routes import FRAMEWORKS, DeclaredRoutes
from .workers import Membership, find_slots

IS_ONE_CLOCK: Final = (
    time.get_clock_info("perf_counter").implementation == time.get_clock_info("monotonic").implementation
)
"""Whether `perf_counter` is `monotonic`, as on Linux, where it is CLOCK_MONOTONIC."""

ROUTES_KNOWN: Final = "none of the routes that the app declares serves it; route_of= can name it"
ROUTES_UNKNOWN: Final = (
    f"no route is known. Routes are read from {FRAMEWORKS}; for anything else, routes= or route_of= names the route"
)
"""Why a good answer has no route, and what to do, by whether the app has declared any."""

PATIENCE_SECONDS: Final = 1.0
"""How long a request waits for another one that begins."""


class Mounted(Protocol):
    """A mounting, which feeds a recorder."""

    def learn(self, source: Source) -> None:
        """Declare the routes behind it. `source` is the environ or scope at hand, which may be another mounting's."""


class Recorder:
    """What one or several handles and mountings feed.

    Args:
        options: The options, checked.
        registry: Where handles on it are registered.
        kinds: The layout of the rows; by default that of the options.
        families: What the rows are shown as; by default what the options ask for.
    """

    def __init__(
        self,
        options: Options,
        registry: CollectorRegistry,
        kinds: Sequence[Kind] | None = None,
        families: Sequence[Family] | None = None,
    ) -> None:
        self.options = options
        self.registry: weakref.ref[CollectorRegistry] = weakref.ref(registry)
        self.clock: Callable[[], float] = options.clock
        self.bounds: tuple[float, ...] = options.bounds
        self.first_bound: float = self.bounds[0]
        # Of other clocks than this nothing says that all processes of the host have the same one.
        shared = perf_counter if IS_ONE_CLOCK else time.monotonic
        self.host_clock: Callable[[], float] = shared if self.clock is perf_counter else self.clock
        self.declared_routes: DeclaredRoutes = DeclaredRoutes()
        self.declared_route: Callable[[str, str], str | None] = self.declared_routes.find
        choices = options.choices()
        self.kinds: Sequence[Kind] = kinds or layout(choices)
        self.families: Sequence[Family] = families or families_of(choices)
        self.names: list[str] = [self.full_name(family) for family in self.families]
        self.faults: Faults = Faults(lambda: self.table.add(self.table.own, "faults"))
        self.fault: Callable[[str, BaseException], None] = self.faults.fault
        self.labels: LabelReader | None = (
            Labels(options.labels, choices.is_otel, self.fault) if options.reads_labels() else None
        )
        self.own: OwnMetrics = OwnMetrics(self.registry, choices.own_series, self.faults)
        self.membership: Membership = Membership(options, self.kinds, self.faults, self.own)
        self.methods: Mapping[object, Method] = {}  # the table's from `begin` on, so that the first request meets it
        self._mountings: list[weakref.ref[Mounted]] = []  # those that have not declared their routes yet
        self._knows_routes = False
        self._beginning = RLock()
        self._is_beginning = False
        self._announced_rows = 0
        _recorders.add(self)

    @property
    def table(self) -> Table:
        """The table in use. It is another one from when this process joins its group."""
        return self.membership.table

    def mount(self, mounting: Mounted) -> None:
        """Let a mounting declare its routes before the next request or scrape is answered."""
        self._mountings.append(weakref.ref(mounting))
        self._knows_routes = True
        self.methods = {}

    def begin(self, source: Source | None = None) -> Mapping[object, Method]:
        """Do what is due before a request or a scrape is answered.

        The mountings declare their routes, all of them before the first answer of any. Then this process decides
        whether it shares its numbers with other workers. It does not decide at construction, which may be before the
        workers are forked. Where it could not join its group, a later scrape tries again.

        Args:
            source: The environ or scope of the request at hand; `None` for a scrape by another way.

        Returns:
            The methods of the table.
        """
        if not self._beginning.acquire(timeout=PATIENCE_SECONDS):
            self._learn(source)  # the thread that was waited for may be one that a fork left behind
            return self.table.methods
        try:
            if not self._is_beginning:  # else asked from within, by a handler of the log that asks the app
                self._is_beginning = True
                try:
                    self._begin(source)
                except Exception as error:
                    self.fault("beginning", error)
                finally:
                    self._is_beginning = False
        finally:
            self._beginning.release()
        return self.table.methods

    def learn(self) -> None:
        """Let the mountings declare their routes, which settles the bound, and join no other workers.

        For programs that look at an app without serving it.
        """
        self._is_beginning = True
        try:
            self._learn(None)
        finally:
            self._is_beginning = False
        self.table.settle()

    def _learn(self, source: Source | None) -> None:
        """Let the mountings declare their routes that have not yet."""
        while pending := self._mountings[:1]:  # another thread that waited in vain may be here too
            mounting = pending[0]()
            try:
                if mounting is not None:
                    mounting.learn(source or {})
            finally:  # not before: a child that another thread forks meanwhile has to learn the routes itself
                with suppress(ValueError):  # the other thread was faster
                    self._mountings.remove(pending[0])

    def _begin(self, source: Source | None) -> None:
        self._learn(source)
        # Nobody knows the routes before there is a mounting or a request. A scrape must not settle the capacity then.
        self._knows_routes = may_settle = self._knows_routes or source is not None
        if may_settle and not self.table.settled:
            self.table.settle()
            self._announce()
        before = self.table
        is_decided = self.membership.decide(may_settle)
        if is_decided:  # else this is a master still, say, where a warm-up may ask the app while it is imported
            serving.add(True)
        if self.table is not before:
            self.declare(before.declared.items())  # warns if the group had no room for them
            self._announce()  # the other workers may have raised the bound
        if is_decided and CAPACITY in self.table.regions and not self.membership.is_watcher:
            self.table.say(self.table.regions[CAPACITY].rows[0], "slots", float(find_slots()))
        if is_decided and not self._mountings:
            self.methods = self.table.methods

    def declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        """Reserve rows for routes: templates with their methods, `None` where the app names none."""
        table = self.table
        if self.options.in_progress_by_route:
            routes = [(template, methods and list(methods)) for template, methods in routes]
            self.declared_routes.add(routes)
        late = table.declare(routes)
        if late:
            self.faults.warn_once(
                "late routes",
                "RedMetrics(max_label_sets=%d): no rows left for %d routes declared late; they may count as _overflow",
                self.options.max_label_sets,
                late,
            )
        if not self._is_beginning:
            table.settle()
            self._announce()

    def _announce(self) -> None:
        """Log the bound when it is first known, or raised."""
        found = self.bound()
        if found.rows > max(self._announced_rows, self.options.max_label_sets):
            log(
                logging.WARNING,
                "RedMetrics(max_label_sets=%d): raised to %d, which the declared routes, _unmatched and _overflow "
                "need. No row is left for %s",
                self.options.max_label_sets,
                found.rows,
                "other routes" if self.labels is None else "other routes, nor for values of labels: all are _OTHER",
            )
        if found.rows > self._announced_rows:
            self._announced_rows = found.rows
            log(
                logging.INFO,
                "at most %(series)d time series: %(rows)d label sets, %(cells)d cells",
                found._asdict(),
            )

    def bound(self) -> Bound:
        """Return the most that clients can ever make. See `RedMetrics.bound`."""
        capacities = {name: region.capacity for name, region in self.table.regions.items()}
        return bound(self.families, self.kinds, capacities)

    def read(self) -> Reading:
        """Return what a scrape shows; all that follows is a pure function of it."""
        self.begin()
        counted = self.table.read()
        is_isolated = self.membership.is_isolated()
        return Reading(*counted, self.uptime_seconds(), is_isolated, self.bound().series, self.host_seconds())

    def full_name(self, family: Family) -> str:
        """Return a family's name with the namespace in front."""
        namespace = self.options.namespace
        return f"{namespace}_{family.name}" if namespace else family.name

    def uptime_seconds(self) -> float:
        """Return the seconds since these numbers began, of several workers those of the first."""
        seconds = self.membership.group_seconds()
        return self.now() - self.options.born if seconds is None else seconds

    def now(self) -> float:
        """Return the clock's seconds; NaN if it fails."""
        return self._asked(self.clock)

    def host_seconds(self) -> float:
        """Return the seconds of a clock that all workers share; NaN if it fails."""
        return self._asked(self.host_clock)

    def _asked(self, clock: Callable[[], float]) -> float:
        try:
            return float(clock())
        except Exception as error:
            self.fault("clock", error)
            return math.nan

    def unmatched(self, method: str, path: str, status: object) -> None:
        """Say once how to name the routes of an app whose router is not read, or what else answers in its place."""
        if method == "OPTIONS":  # a preflight, which is answered before any router
            return
        why = ROUTES_KNOWN if self.table.declared else ROUTES_UNKNOWN
        message = "%s %r was answered %s, and counts as _unmatched: %s"
        self.faults.warn_once("unmatched", message, method, path, status, why)

    def restart(self) -> None:
        """Begin anew in a forked child. The tables restart by themselves."""
        self._beginning = RLock()
        self._is_beginning = False
        self.membership.restart()
        self.methods = {}


serving: Final[set[bool]] = set()
"""Not empty from this process's first request or scrape on, unless that comes to one that is no worker yet."""

_recorders: "weakref.WeakSet[Recorder]" = weakref.WeakSet()


def _restart_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    serving.clear()
    for recorder in list(_recorders):
        recorder.restart()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_restart_all)
