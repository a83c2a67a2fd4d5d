"""The bounded table: an index of label sets, and rows of float64 cells. The only place where numbers live.

`metrics` looks rows up and adds to their cells; `families` and `exposition` read them. This room knows closed labels,
and nothing of requests, frameworks or text. Cells are one flat sequence of floats, fixed cells first, then one run of
cells a row in the order of the index.

Alone in its process a table is a list and adds to its index itself. Among several workers (`Sharing`, see `workers`)
the cells are mapped from a file, and every addition is a `Change` in a log of which each worker replays all, in order:
what a method named `_add_...` or `_declare` makes of a change follows from the changes before it alone.

Every locked section below is subscripts, comparisons and assignments only: a call inside could start the garbage
collector, whose finalisers may record here. The locks are re-entrant because CPython 3.14 may collect between a
lock's `__enter__` and the first line under it; that a section has no call keeps re-entry from splitting an update.
They are the interpreter's own even where gevent has patched `threading`: no section switches greenlets, and a lock
written in Python can be interrupted half-taken.

The section that counts a common request goes without where CPython has its GIL: threads, signals and collections wait
for the next call there. That is a twelfth of a request's cost, and one lock less that a finaliser could wait for.
"""

import os
import sys
import sysconfig
import weakref
from _thread import RLock
from array import array
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from typing import Final, Literal, NamedTuple, Protocol, SupportsIndex

from prometheus_client import ProcessCollector
from prometheus_client.registry import Collector

from .labels import METHODS, OTHER, OVERFLOW, SERVER_ERROR, UNDECLARED_METHODS, UNMATCHED, method_label, route_label

STATUS_CELLS: Final = 16
"""Status cells of a row: its first 15 codes, then `_OTHER`."""

EXCEPTION_PAIRS: Final = 256
"""Pairs of (route, exception class) that are told apart; one more cell takes the rest."""

# Fixed cells, in front of the rows.
EXCEPTIONS: Final = 0
FAULTS: Final = EXCEPTIONS + EXCEPTION_PAIRS + 1
SCRAPES: Final = FAULTS + 1
SCRAPE_SECONDS: Final = SCRAPES + 1
IN_PROGRESS: Final = SCRAPE_SECONDS + 1
"""First of the gauges, one a method; written among several workers only."""
FIXED_CELLS: Final = IN_PROGRESS + len(METHODS)
GAUGES: Final = range(IN_PROGRESS, FIXED_CELLS)

SECONDS_AT: Final = STATUS_CELLS - 1
"""Where in a row its sum of seconds is: behind the cells of its codes."""

IS_LOCKED: Final = sys.implementation.name != "cpython" or bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
"""Whether a thread may be stopped, or run beside another one, where it calls nothing."""

SENTINEL_ROUTES: Final = (UNMATCHED, OVERFLOW)
SENTINEL_ROWS: Final = len(SENTINEL_ROUTES) * len(METHODS)
"""Rows kept for `_unmatched` and `_overflow`, one of each a method."""


class Method:
    """One value of the label `method`: its rows, by route as the readers name it, their lock, its gauge.

    A lock a method, not a row: with the GIL no section is ever contended. The gauge is the length of `in_progress`:
    a list's `append` and `pop` need no lock on any build, and a lock is the dearest part of a request.
    """

    __slots__ = ("in_progress", "label", "lock", "outcomes", "rows", "table")

    def __init__(self, table: "Table", label: str) -> None:
        self.table = table
        self.label = label
        self.lock = RLock()
        self.in_progress: list[None] = []
        self.rows: dict[object, Row] = {}
        self.outcomes: dict[object, dict[object, Outcome]] = {}  # by status and route as they are said; no errors


class Row:
    """One label set, and where its cells lie in `Table.cells`.

    What a common request adds to lies side by side: the first status, the sum, the first bucket.
    """

    __slots__ = ("buckets", "codes", "disconnects", "errors", "method", "number", "other", "outcomes", "route",
                 "seconds", "statuses")  # fmt: skip

    def __init__(self, number: int, method: Method, route: str, bucket_cells: int) -> None:
        self.number = number
        self.method = method
        self.route = route
        self.seconds = FIXED_CELLS + number * row_cells(bucket_cells) + SECONDS_AT
        self.buckets = self.seconds + 1
        self.errors = self.buckets + bucket_cells
        self.disconnects = self.errors + 1
        self.other = self.errors + 2
        self.codes: tuple[int, ...] = ()  # the codes of the status cells, in order; the first one's is at the end
        self.statuses = {0: self.other}  # code to cell
        self.outcomes: dict[tuple[int, bool], Outcome] = {}  # by status cell, and whether it is an error


class Outcome:
    """How requests of one row end, in one status: all that counting one takes."""

    __slots__ = ("bucket", "cells", "is_error", "row", "seconds", "status")

    def __init__(self, row: Row, status: int, is_error: bool) -> None:
        self.row = row
        self.cells = row.method.table.cells
        self.bucket = row.buckets  # the first
        self.seconds = row.seconds
        self.status = status
        self.is_error = is_error


class Reading(NamedTuple):
    """One consistent look at the table: plain copies that a scrape may take its time over."""

    rows: Sequence[Row]
    cells: Sequence[float]
    pairs: Sequence[tuple[str, str]]
    in_progress: Sequence[float]
    workers: int


class Sharing(Protocol):
    """What several workers offer to the table of each."""

    born: float
    """When the first of them began, in seconds of `time.monotonic`."""
    pids: Sequence[int]
    """Process ids of the living, as `totals` found them."""
    left: bool
    """Whether nothing is shared any more: the group's directory was removed."""

    def change(self, table: "Table", change: "Change") -> None:
        """Replay what the others changed, then make this change unless the table does not lack it (any more).

        Where that is not possible in short time, the table is as before.
        """

    def catch_up(self, table: "Table") -> bool:
        """Replay what the others changed; tell whether that was possible."""

    def totals(self, table: "Table", size: int) -> Sequence[float]:
        """Return the sums of the first cells of all workers."""

    def processes(self, alone: ProcessCollector) -> Collector:
        """Return what tells of all workers' processes as `alone` does of this one."""

    def abandon(self) -> None:
        """Let go of what belongs to the parent, in a forked child."""


Change = (
    tuple[Literal["declare"], dict[str, list[str]]]
    | tuple[Literal["row"], str, str]
    | tuple[Literal["status"], int, int]
    | tuple[Literal["pair"], str, str]
)
"""Routes with their method labels; a label set; the number of a row and a code; a route and an exception's class."""


class Table:
    """Rows of cells for a bounded number of label sets.

    Args:
        bounds: Upper bounds of the latency buckets, in seconds, without +Inf.
        max_label_sets: Rows that the table holds at least; declared routes may raise it, once.
        sharing: The other workers. The caller then replays the log, and gives the table its cells by `use`.
    """

    def __init__(self, bounds: Sequence[float], max_label_sets: int, sharing: Sharing | None = None) -> None:
        self.sharing = sharing
        self.isolated = False  # whether there are other workers, with whom nothing could be shared
        self.bounds = tuple(bounds)
        self.max_label_sets = max_label_sets
        self.bucket_cells = len(self.bounds) + 1
        self.lock = RLock()
        self.capacity = max(max_label_sets, SENTINEL_ROWS)
        self.reserved = SENTINEL_ROWS
        self.free = self.capacity - SENTINEL_ROWS  # rows for label sets that nothing reserved
        self.settled = False  # whether the capacity is what it is
        self.declared: dict[str, frozenset[str]] = {}
        self.homeless: set[tuple[str, str]] = set()  # of declared routes, methods that came too late
        self.cells: MutableSequence[float] = [] if sharing else [0.0] * self.size(self.capacity)
        self.rows: list[Row] = []  # append-only: a row's position is its number
        self.used = 0
        self.index: dict[tuple[str, str], Row] = {}
        self.pairs: list[tuple[str, str]] = []
        self.pair_cells: dict[tuple[str, str], int] = {}
        self.paired = 0
        self.methods: dict[object, Method] = {label: Method(self, label) for label in METHODS}
        self.other = self.methods[OTHER]
        _tables.add(self)

    def size(self, rows: int) -> int:
        """Return the number of cells of a table of `rows` rows."""
        return FIXED_CELLS + rows * row_cells(self.bucket_cells)

    @property
    def seconds(self) -> tuple[slice, slice]:
        """Which cells are sums of seconds; all others count."""
        return (
            slice(SCRAPE_SECONDS, SCRAPE_SECONDS + 1),
            slice(FIXED_CELLS + SECONDS_AT, None, row_cells(self.bucket_cells)),
        )

    def declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> int:
        """Reserve rows for the routes that an app declares, before clients can fill the table.

        The first routes to be declared raise the capacity where they need more than it holds. Later ones take free
        rows; where too few are left, they compete for the table as an undeclared route does.

        Args:
            routes: Templates with their methods; `None` for methods reserves `UNDECLARED_METHODS`.

        Returns:
            How many of these routes found no row to reserve.
        """
        wanted: dict[str, frozenset[str]] = {}
        for template, methods in routes:
            route = route_label(template)
            if route != OVERFLOW:
                labels = frozenset(map(method_label, UNDECLARED_METHODS if methods is None else methods))
                wanted[route] = wanted.get(route, frozenset()) | labels
        if self.sharing is None:
            self._declare(wanted)
        else:
            change: Change = ("declare", {route: sorted(labels) for route, labels in wanted.items()})
            if self.lacks(change):
                self.sharing.change(self, change)
        return sum(not labels <= self.declared.get(route, frozenset()) for route, labels in wanted.items())

    def _declare(self, wanted: Mapping[str, frozenset[str]]) -> None:
        while True:
            known, free = self.declared, self.free
            declared, spare, late = self._declaration(wanted)
            settled = bool(declared)
            capacity = self.capacity + max(0, -spare)
            reserved = self.reserved + free - spare
            if self.sharing is None:
                self.cells.extend([0.0] * (self.size(capacity) - len(self.cells)))
            with self.lock:
                if self.declared is known and self.free == free:
                    self.capacity = capacity
                    self.reserved = reserved
                    self.free = 0 if spare < 0 else spare
                    self.declared = declared
                    self.homeless = late
                    self.settled = settled
                    return

    def _declaration(
        self, wanted: Mapping[str, frozenset[str]]
    ) -> tuple[dict[str, frozenset[str]], int, set[tuple[str, str]]]:
        """Return what would be declared, the rows then free (negative: missing), and what is homeless."""
        declared, spare, late = dict(self.declared), self.free, set(self.homeless)
        for route, labels in wanted.items():
            taken = declared.get(route, frozenset())
            need = sum((label, route) not in self.index for label in labels - taken)
            if self.settled and need > spare:
                late |= {(label, route) for label in labels - taken if taken}
            else:
                spare -= need
                declared[route] = taken | labels
        return declared, spare, late

    def row(self, method: Method, route: object) -> Row:
        """Return the row for a route that `method.rows` does not hold, admitting its label set where there is room.

        Nothing is refused: what finds no room is counted in the row of `_overflow`. The answer is remembered under
        no more names than the rows and the declared routes bound.
        """
        method = self.methods[method.label]  # an exchange from before a fork has one of another table
        name = route_label(route)
        declared = self.declared.get(name)
        if declared is None or method.label in declared:
            row = self._admit(method, name)
        elif (method.label, name) in self.homeless:
            row = self._admit(method, OVERFLOW)
        elif OTHER in declared:
            row = self._admit(self.other, name)
        else:
            row = self._admit(method, UNMATCHED)
        if row.route == OVERFLOW and (method.label, name) not in self.homeless:
            return row  # the next request may find room, or an index that nobody holds
        if route is None or (route in (name, name[1:]) and (declared or row.route == name)):
            method.rows[route] = row
        return row

    def _admit(self, method: Method, route: str) -> Row:
        if self.sharing is None:
            return self._add_row(method, route)
        change: Change = ("row", method.label, route)
        if self.lacks(change):
            self.sharing.change(self, change)
        return self.index.get((method.label, route)) or self.index[method.label, OVERFLOW]

    def _add_row(self, method: Method, route: str) -> Row:
        label_set = (method.label, route)
        while True:
            used, free = self.used, self.free  # first: what another thread adds from here on is noticed below
            known = self.index.get(label_set)
            if known is not None:
                return known
            cost = self._cost(method.label, route)
            if cost > free:
                return self._add_row(method, OVERFLOW)
            row = Row(used, method, route, self.bucket_cells)
            addition = (row,)
            with self.lock:
                if self.used == used and self.free == free:
                    self.rows += addition
                    self.index[label_set] = row
                    self.free = free - cost
                    self.used = used + 1  # last: who sees it finds the row
                    return row

    def _cost(self, method: str, route: str) -> int:
        """Return how many free rows a label set takes: none if one is reserved for it."""
        return 0 if route in SENTINEL_ROUTES or method in self.declared.get(route, ()) else 1

    def status_cell(self, row: Row, code: int) -> int:
        """Return the cell of a code that `row.statuses` may not hold; `row.other` when the row's cells are taken."""
        if self.sharing is None:
            return self._add_status(row, code)
        change: Change = ("status", row.number, code)
        if self.lacks(change):
            self.sharing.change(self, change)
        return row.statuses.get(code, row.other)

    def outcome(self, row: Row, code: int) -> Outcome:
        """Return what counts a code of a row, one and the same for all who ask."""
        cell = self.status_cell(row, code)
        key = (cell, code >= SERVER_ERROR)
        outcome = row.outcomes.get(key)
        if outcome is None:
            outcome = row.outcomes.setdefault(key, Outcome(row, *key))
            outcome.cells = self.cells  # asked again: `use` may have passed by meanwhile
        return outcome

    def _add_status(self, row: Row, code: int) -> int:
        while True:
            codes = row.codes  # first, as in `_add_row`
            cell = row.statuses.get(code)
            if cell is not None:
                return cell
            if len(codes) == STATUS_CELLS - 1:
                return row.other
            longer = (*codes, code)
            cell = row.seconds - len(longer)
            with row.method.lock:
                if row.codes is codes:
                    row.statuses[code] = cell
                    row.codes = longer
                    return cell

    def pair_cell(self, route: str, exception: str) -> int:
        """Return the cell that counts one exception class on one route; the last one when the pairs are taken."""
        if self.sharing is None:
            return self._add_pair(route, exception)
        change: Change = ("pair", route, exception)
        if self.lacks(change):
            self.sharing.change(self, change)
        return self.pair_cells.get((route, exception), EXCEPTIONS + EXCEPTION_PAIRS)

    def _add_pair(self, route: str, exception: str) -> int:
        pair = (route, exception)
        while True:
            paired = self.paired  # first, as in `_add_row`
            cell = self.pair_cells.get(pair)
            if cell is not None:
                return cell
            if paired == EXCEPTION_PAIRS:
                return EXCEPTIONS + EXCEPTION_PAIRS
            addition = (pair,)
            cell = EXCEPTIONS + paired
            with self.lock:
                if self.paired == paired:
                    self.pairs += addition
                    self.pair_cells[pair] = cell
                    self.paired = paired + 1
                    return cell

    def lacks(self, change: Change) -> bool:
        """Tell whether a change has an effect."""
        if change[0] == "row":
            label_set = change[1:]
            return label_set not in self.index and self._cost(*label_set) <= self.free
        if change[0] == "status":
            row = self.rows[change[1]]
            return change[2] not in row.statuses and len(row.codes) < STATUS_CELLS - 1
        if change[0] == "pair":
            return change[1:] not in self.pair_cells and self.paired < EXCEPTION_PAIRS
        declared, _, late = self._declaration(_label_sets(change[1]))
        return declared != self.declared or late != self.homeless

    def apply(self, change: Change) -> None:
        """Make a change of the log."""
        if change[0] == "row":
            self._add_row(self.methods[change[1]], change[2])
        elif change[0] == "status":
            self._add_status(self.rows[change[1]], change[2])
        elif change[0] == "pair":
            self._add_pair(change[1], change[2])
        else:
            self._declare(_label_sets(change[1]))

    def use(self, cells: MutableSequence[float]) -> None:
        """Take a worker's own cells, and publish the gauges in them."""
        self.cells = cells
        for outcome in self._outcomes():
            outcome.cells = cells
        for number, method in enumerate(self.methods.values(), IN_PROGRESS):
            if isinstance(method.in_progress, _Published):  # no copy, which would miss what ends meanwhile
                method.in_progress.move(cells)
            else:
                method.in_progress = _Published(method.in_progress, cells, number)

    def add(self, cell: int, amount: float = 1.0) -> None:
        """Add to one of the rare cells, those that belong to no row and no method."""
        cells = self.cells
        with self.lock:
            cells[cell] += amount

    def read(self) -> Reading:
        """Copy what a scrape needs, without a lock: it never stalls a request."""
        if self.sharing is not None:
            self.sharing.catch_up(self)
        rows = self.rows[: self.used]
        pairs = self.pairs[: self.paired]
        size = self.size(len(rows))
        if self.sharing is None:
            in_progress: Sequence[float] = [len(method.in_progress) for method in self.methods.values()]
            return Reading(rows, self.cells[:size], pairs, in_progress, workers=1)
        totals = self.sharing.totals(self, size)
        return Reading(rows, totals, pairs, totals[IN_PROGRESS:FIXED_CELLS], len(self.sharing.pids))

    def clear(self) -> None:
        """Set every cell to zero but the gauges. For tests: counters never go backwards."""
        cells = self.cells
        for counted in (slice(IN_PROGRESS), slice(FIXED_CELLS, len(cells))):
            cells[counted] = array("d", bytes(8 * len(cells[counted])))

    def restart(self) -> None:
        """Begin anew in a forked child: another thread may have held any lock, and the parent's counts stay its."""
        sharing, self.sharing = self.sharing, None  # a worker's child may join its own group later
        self.cells = [0.0] * self.size(self.capacity)
        self.lock = RLock()
        for method in self.methods.values():
            method.lock = RLock()
            method.in_progress = []
        for outcome in self._outcomes():
            outcome.cells = self.cells
        if sharing is not None:  # last: whatever becomes of its files, the cells of the parent are let go
            sharing.abandon()

    def _outcomes(self) -> Iterator[Outcome]:
        for row in self.rows:
            yield from list(row.outcomes.values())


class _Published(list[None]):
    """Requests in progress, whose number other workers see in a cell."""

    __slots__ = ("cells", "number")

    def __init__(self, requests: Iterable[None], cells: MutableSequence[float], number: int) -> None:
        super().__init__(requests)
        self.number = number
        self.move(cells)

    def move(self, cells: MutableSequence[float]) -> None:
        """Show the number in these cells from now on."""
        self.cells = cells
        self._publish()

    def append(self, request: None) -> None:
        _append(self, request)
        self.cells[self.number] = length = len(self)
        if length != len(self):
            self._publish()

    def pop(self, index: SupportsIndex = -1) -> None:
        _pop(self, index)
        self.cells[self.number] = length = len(self)
        if length != len(self):
            self._publish()

    def _publish(self) -> None:
        length = -1
        while length != len(self):  # another thread may change the list between the two, and store first
            self.cells[self.number] = length = len(self)


_append, _pop = list.append, list.pop  # `super()` would cost as much as all of the rest


def _label_sets(routes: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {route: frozenset(labels) for route, labels in routes.items()}


def row_cells(bucket_cells: int) -> int:
    """Return the cells of one row: statuses, sum of seconds, buckets, errors, disconnects."""
    return bucket_cells + 3 + STATUS_CELLS


_tables: "weakref.WeakSet[Table]" = weakref.WeakSet()


def _restart_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    for table in list(_tables):
        try:
            table.restart()
        except Exception:  # one that another thread was about to make; nobody has seen it
            pass


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_restart_all)
