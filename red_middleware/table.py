"""The bounded table: an index of label sets, and rows of float64 cells. The only place where numbers live.

`metrics` looks rows up and adds to their cells; `families` and `exposition` read them. This room knows closed labels,
and nothing of requests, frameworks or text. Cells are one flat sequence of floats, fixed cells first, then one run of
cells a row in the order of the index, so that a mapped file can take the list's place and tables add up as vectors.

Every locked section below is subscripts, comparisons and assignments only: a call inside could start the garbage
collector, whose finalisers may record here. The locks are re-entrant because CPython 3.14 may collect between a
lock's `__enter__` and the first line under it; that a section has no call keeps re-entry from splitting an update.
They are the interpreter's own even where gevent has patched `threading`: no section switches greenlets, and a lock
written in Python can be interrupted half-taken.
"""

import os
import weakref
from _thread import RLock
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .labels import METHODS, OTHER, OVERFLOW, UNDECLARED_METHODS, UNMATCHED, method_label, route_label

STATUS_CELLS: Final = 16
"""Status cells of a row: its first 15 codes, then `_OTHER`."""

EXCEPTION_PAIRS: Final = 256
"""Pairs of (route, exception class) that are told apart; one more cell takes the rest."""

# Fixed cells, in front of the rows.
EXCEPTIONS: Final = 0
FAULTS: Final = EXCEPTIONS + EXCEPTION_PAIRS + 1
SCRAPES: Final = FAULTS + 1
SCRAPE_SECONDS: Final = SCRAPES + 1
FIXED_CELLS: Final = SCRAPE_SECONDS + 1

SENTINEL_ROWS: Final = 2 * len(METHODS)
"""Rows kept for `_unmatched` and `_overflow`, one of each a method."""


class Method:
    """One value of the label `method`: its rows, by route as the readers name it, their lock, its gauge.

    A lock a method, not a row: with the GIL no section is ever contended. The gauge is the length of `in_progress`:
    a list's `append` and `pop` need no lock on any build, and a lock is the dearest part of a request.
    """

    __slots__ = ("in_progress", "label", "lock", "rows")

    def __init__(self, label: str) -> None:
        self.label = label
        self.lock = RLock()
        self.in_progress: list[None] = []
        self.rows: dict[object, Row] = {}


class _Methods(dict[object, Method]):
    """Every `Method` by its label; anything else is `_OTHER`."""

    def __missing__(self, method: object) -> Method:
        return self[OTHER]


class Row:
    """One label set, and where its cells lie in `Table.cells`."""

    __slots__ = ("answers", "buckets", "codes", "disconnects", "errors", "lock", "method", "number", "other", "route",
                 "seconds", "statuses")  # fmt: skip

    def __init__(self, number: int, method: Method, route: str, bucket_cells: int) -> None:
        self.number = number
        self.method = method
        self.lock = method.lock
        self.route = route
        self.buckets = FIXED_CELLS + number * row_cells(bucket_cells)
        self.seconds = self.buckets + bucket_cells
        self.errors = self.seconds + 1
        self.disconnects = self.seconds + 2
        self.other = self.seconds + 2 + STATUS_CELLS
        self.codes: tuple[int, ...] = ()  # the codes of the first status cells, in order
        self.statuses = {0: self.other}  # code to cell
        self.answers: dict[object, int] = {}  # status as an app says it to cell: of `STATUS_CODES`, no error


class Reading(NamedTuple):
    """One consistent look at the table: plain copies that a scrape may take its time over."""

    rows: Sequence[Row]
    cells: Sequence[float]
    pairs: Sequence[tuple[str, str]]
    in_progress: Sequence[int]


class Table:
    """Rows of cells for a bounded number of label sets.

    Args:
        bounds: Upper bounds of the latency buckets, in seconds, without +Inf.
        max_label_sets: Rows that the table holds at least; declared routes may raise it, once.
    """

    def __init__(self, bounds: Sequence[float], max_label_sets: int) -> None:
        self.bounds = tuple(bounds)
        self.bucket_cells = len(self.bounds) + 1
        self.lock = RLock()
        self.capacity = max(max_label_sets, SENTINEL_ROWS)
        self.reserved = SENTINEL_ROWS
        self.free = self.capacity - SENTINEL_ROWS  # rows for label sets that nothing reserved
        self.declared: dict[str, frozenset[str]] = {}
        self.homeless: set[tuple[str, str]] = set()  # of declared routes, methods that came too late
        self.cells = [0.0] * self.size(self.capacity)
        self.rows: list[Row] = []  # append-only: a row's position is its number
        self.used = 0
        self.index: dict[tuple[str, str], Row] = {}
        self.pairs: list[tuple[str, str]] = []
        self.pair_cells: dict[tuple[str, str], int] = {}
        self.paired = 0
        self.other = Method(OTHER)
        self.methods = _Methods({label: Method(label) for label in METHODS[:-1]})
        self.methods[OTHER] = self.other
        _tables.add(self)

    def size(self, rows: int) -> int:
        """Return the number of cells of a table of `rows` rows."""
        return FIXED_CELLS + rows * row_cells(self.bucket_cells)

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
        while True:
            known, free = self.declared, self.free
            declared, spare, homeless = dict(known), free, 0
            late = set(self.homeless)
            for route, labels in wanted.items():
                taken = known.get(route, frozenset())
                need = sum((label, route) not in self.index for label in labels - taken)
                if known and need > spare:
                    homeless += 1
                    late |= {(label, route) for label in labels - taken if taken}
                else:
                    spare -= need
                    declared[route] = taken | labels
            capacity = self.capacity + max(0, -spare)
            reserved = self.reserved + free - spare
            self.cells.extend([0.0] * (self.size(capacity) - len(self.cells)))
            with self.lock:
                if self.declared is known and self.free == free:
                    self.capacity = capacity
                    self.reserved = reserved
                    self.free = 0 if spare < 0 else spare
                    self.declared = declared
                    self.homeless = late
                    return homeless

    def row(self, method: Method, route: object) -> Row:
        """Return the row for a route that `method.rows` does not hold, admitting its label set where there is room.

        Nothing is refused: what finds no room is counted in the row of `_overflow`. The answer is remembered under
        no more names than the rows and the declared routes bound.
        """
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
        if route is None or (route in (name, name[1:]) and (declared or row.route == name)):
            method.rows[route] = row
        return row

    def _admit(self, method: Method, route: str) -> Row:
        label_set = (method.label, route)
        while True:
            known = self.index.get(label_set)
            if known is not None:
                return known
            used, free = self.used, self.free
            cost = 0 if route in (UNMATCHED, OVERFLOW) or method.label in self.declared.get(route, ()) else 1
            if cost > free:
                return self._admit(method, OVERFLOW)
            row = Row(used, method, route, self.bucket_cells)
            addition = (row,)
            with self.lock:
                if self.used == used and self.free == free:
                    self.free = free - cost
                    self.used = used + 1
                    self.rows += addition
                    self.index[label_set] = row
                    return row

    def status_cell(self, row: Row, code: int) -> int:
        """Return the cell of a code that `row.statuses` may not hold; `row.other` when the row's cells are taken."""
        while True:
            cell = row.statuses.get(code)
            if cell is not None:
                return cell
            codes = row.codes
            if len(codes) == STATUS_CELLS - 1:
                return row.other
            longer = (*codes, code)
            cell = row.disconnects + len(longer)
            with row.method.lock:
                if row.codes is codes:
                    row.codes = longer
                    row.statuses[code] = cell
                    return cell

    def pair_cell(self, route: str, exception: str) -> int:
        """Return the cell that counts one exception class on one route; the last one when the pairs are taken."""
        pair = (route, exception)
        while True:
            cell = self.pair_cells.get(pair)
            if cell is not None:
                return cell
            paired = self.paired
            if paired == EXCEPTION_PAIRS:
                return EXCEPTIONS + EXCEPTION_PAIRS
            addition = (pair,)
            cell = EXCEPTIONS + paired
            with self.lock:
                if self.paired == paired:
                    self.paired = paired + 1
                    self.pairs += addition
                    self.pair_cells[pair] = cell
                    return cell

    def add(self, cell: int, amount: float = 1.0) -> None:
        """Add to one of the rare cells, those that belong to no row and no method."""
        cells = self.cells
        with self.lock:
            cells[cell] += amount

    def read(self) -> Reading:
        """Copy what a scrape needs, without a lock: it never stalls a request."""
        rows = self.rows[: self.used]
        pairs = self.pairs[: self.paired]
        in_progress = [len(method.in_progress) for method in self.methods.values()]
        return Reading(rows, self.cells[: self.size(len(rows))], pairs, in_progress)

    def clear(self) -> None:
        """Set every cell to zero. For tests: counters never go backwards."""
        self.cells[:] = [0.0] * len(self.cells)

    def restart(self) -> None:
        """Begin anew in a forked child: another thread may have held any lock, and the parent's counts stay its."""
        self.lock = RLock()
        for method in self.methods.values():
            method.lock = RLock()
            method.in_progress = []
        for row in self.rows:
            row.lock = row.method.lock
        self.clear()


def row_cells(bucket_cells: int) -> int:
    """Return the cells of one row: buckets, sum of seconds, errors, disconnects, statuses."""
    return bucket_cells + 3 + STATUS_CELLS


_tables: "weakref.WeakSet[Table]" = weakref.WeakSet()


def _restart_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    for table in list(_tables):
        table.restart()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_restart_all)
