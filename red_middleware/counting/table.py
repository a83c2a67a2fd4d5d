"""The bounded table: an index of label sets, and their rows of float64 cells. The only place where numbers live.

`exchange` looks rows up and adds to their cells; `families` read them. This room knows closed labels and a layout, and
nothing of requests, frameworks or text. Each kind of row has a region: its rows in the order of their admission, and
one flat sequence of cells.

Every addition to the index is a `Change`. A table that is alone makes it itself. Among several workers (`Sharing`) the
cells are mapped from a file, and changes stand in a log that each worker replays in order. So what a method named
`_add_...` or `_declare` makes of a change follows from the changes before it alone.

A locked section below holds subscripts, comparisons and assignments only. A call inside could start the garbage
collector, whose finalisers may record here. `Table.use` is the exception: what a finaliser records in the middle of it
goes to the cells before or to the new ones, and counts in either. The locks are re-entrant because CPython 3.14 may
collect between a lock's `__enter__` and the first line under it; since a section has no call, re-entry never splits an
update. The locks are the interpreter's own, even where gevent has patched `threading`: no section switches greenlets,
and a lock written in Python can be interrupted half-taken.
"""

import math
import os
import weakref
from _thread import RLock
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import ExitStack
from typing import Final, Literal, NamedTuple, Protocol

from .flights import Flights, flights_of
from .labels import (
    METHODS,
    OTHER,
    OVERFLOW,
    SERVER_ERROR,
    UNDECLARED_METHODS,
    UNMATCHED,
    WEBSOCKET,
    method_label,
    route_label,
    status_class,
)
from .layout import OWN_STATE, Extent, Key, Kind, Unit, extent
from .rows import IS_LOCKED, LockedPublishedList, Method, Open, Outcome, PublishedList, Row
from .sizes import SizeCells, size_cells

Change = (
    tuple[Literal["declare"], dict[str, list[str]]]
    | tuple[Literal["row"], str, Key]
    | tuple[Literal["rows"], str, Sequence[Key]]
    | tuple[Literal["code"], str, int, int]
)
"""Routes with their method labels; the kind and the key of a row; those of several; the kind and the number of a row,
and a code."""


class Found(NamedTuple):
    """The cells of all workers."""

    parts: Sequence[Sequence[float]]
    """By kind, added up; of `OWN_STATE` what the dead left."""
    workers: int
    """How many live."""
    states: Sequence[tuple[int, Sequence[float]]] = ()
    """The cells of `OWN_STATE` of each that lives, with its pid."""
    each: Sequence[tuple[int, Sequence[float]]] = ()
    """What each that lives says of itself (`Unit.EACH`), with its pid."""


class Holder(Protocol):
    """Who adds to the cells of a row without asking the table."""

    def move(self, cells: MutableSequence[float]) -> None:
        """Add to these cells from now on."""


class Sharing(Protocol):
    """With whom a table shares its numbers: the other workers of its group, or nobody (`Alone`)."""

    @property
    def is_behind(self) -> bool:
        """Whether the others could not be told of a change at the moment, but can be later."""

    def change(self, table: "Table", change: Change) -> None:
        """Replay what the others changed, then make this change if the table still lacks it.

        Where that is not possible within a short time, the table stays as it is.
        """

    def catch_up(self, table: "Table") -> bool:
        """Replay what the others changed; tell whether that was possible."""

    def read(self, table: "Table", extent: Extent) -> Found:
        """Add up the cells of all workers."""

    def abandon(self) -> None:
        """Let go, in a forked child, of what belongs to the parent."""


class Alone:
    """Shares with nobody: the table's own cells are all there is."""

    is_behind = False

    def change(self, table: "Table", change: Change) -> None:
        table.apply(change)

    def catch_up(self, table: "Table") -> bool:
        return True

    def read(self, table: "Table", extent: Extent) -> Found:
        for kind, number, counted in table.in_progress():
            table.regions[kind].cells[number] = len(counted.in_progress)
        return table.alone(extent)

    def abandon(self) -> None:
        pass


ALONE: Final = Alone()


class Region:
    """The rows of one kind, and their cells."""

    __slots__ = ("capacity", "cells", "free", "holders", "index", "kind", "reserved", "rows", "used", "values")

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.capacity: int = kind.capacity
        self.free: int = self.capacity - len(kind.sentinels)  # rows for keys that nothing reserved
        self.reserved: frozenset[Key] = frozenset()
        self.rows: list[Row] = []  # append-only: a row's position is its number
        self.used: int = 0
        self.index: dict[Key, Row] = {}
        self.cells: MutableSequence[float] = []
        self.holders: dict[int, Holder] = {}  # by the number of their row
        self.values: tuple[frozenset[str], ...] = tuple(frozenset() for _ in kind.most_values)
        """Of each label that may have so many values, those that rows have."""

    def fits(self, key: Key) -> bool:
        """Tell whether no label gets more values by this key than it may have."""
        return all(map(self._has_value, range(len(self.values)), key))

    def _has_value(self, label: int, value: str) -> bool:
        """Tell whether a label has a value, or may have one more."""
        most, known = self.kind.most_values[label], self.values[label]
        return not most or value in known or value in self._free(label) or len(known) < most

    def _free(self, label: int) -> tuple[str, str]:
        """Return the values that a label has beside those that may come."""
        return OTHER, self.kind.in_order[0][label]

    def values_with(self, key: Key) -> tuple[frozenset[str], ...]:
        """Return the values that labels have once there is a row for a key."""
        return tuple(
            known | {value} if most and value not in known and value not in self._free(label) else known
            for label, (most, known, value) in enumerate(zip(self.kind.most_values, self.values, key, strict=False))
        )

    def folded(self, key: Key) -> Key:
        """Return the key that counts in place of one that finds no room."""
        if self.fits(key):
            return self.kind.fallback(key)
        number = len(self.values)
        return (*(key[n] if self._has_value(n, key[n]) else OTHER for n in range(number)), *key[number:])

    def cost(self, key: Key) -> int:
        """Return how many free rows a new key takes: none if one is reserved for it."""
        return 0 if key in self.reserved or key in self.kind.sentinels else 1


class Counted(NamedTuple):
    """One consistent look at a table, by the kind of rows: copies that a scrape may take its time over."""

    rows: Mapping[str, Sequence[Row]]
    cells: Mapping[str, Sequence[float]]
    workers: int
    """How many processes are added up here."""
    states: Sequence[tuple[int, Sequence[float]]]
    each: Sequence[tuple[int, Sequence[float]]]
    """Both as in `Found`."""
    unreserved: int
    """How many rows of requests have keys that nothing reserved."""
    unreserved_limit: int
    """How many of these there can be."""


class Table:
    """Rows of cells for a bounded number of label sets.

    Args:
        kinds: The layout of the rows, see `layout.layout`.
        sharing: The other workers. The caller then replays the log, and gives the table its cells by `use`.
        earlier: What this process counted by before there were others. It still counts what began there, and what the
            others cannot be told of at the moment, until `workers.carry` brings that here.
    """

    def __init__(self, kinds: Sequence[Kind], sharing: Sharing = ALONE, earlier: "Table | None" = None) -> None:
        self.kinds = kinds
        self.sharing: Sharing = sharing
        self.earlier = earlier or self
        self.lock: RLock = RLock()
        self.settled: bool = False  # whether routes that are declared can no longer raise a capacity
        self.declared: dict[str, frozenset[str]] = {}  # routes, with the labels of their methods
        self.regions: dict[str, Region] = {kind.name: Region(kind) for kind in kinds}
        self.http: Region = self.regions["http"]
        self.methods: dict[object, Method] = {label: Method(self, label) for label in METHODS}
        self.sockets: Open = Open()
        self.streams: Open = Open()
        self.defaults: Key = self.http.kind.in_order[0][2:]
        """What the user's own labels are in a row that has no other value of them."""
        self.has_classes: bool = self.http.kind.field("status").is_classed
        self.has_first_byte: bool = "first_byte_seconds" in self.http.kind.offsets
        self.has_streams: bool = "stream" in self.regions
        self.has_messages: bool = "sent_messages" in self.regions["connection"].kind.offsets
        self.flights: Flights | None = flights_of(self)
        self.knows_streams: bool = self.has_streams or (self.flights is not None and self.flights.worker is not None)
        """Whether it matters that a response is an event stream, beyond its duration."""
        self.size_cells: SizeCells | None = size_cells(self.http.kind)
        if sharing is ALONE:
            self._take_own_cells()
        for region in self.regions.values():
            for key in region.kind.in_order if region.kind.is_closed else ():
                self._add_row(region, key)
        self.own: Row = self.regions["own"].rows[0]
        _tables.add(self)

    def extent(self, used: Iterable[int] | None = None) -> Extent:
        """Return which cells count by now, given how many rows of each kind are used, by default all that are."""
        rows = [region.used for region in self.regions.values()] if used is None else used
        found = list(zip(self.regions.values(), rows, strict=True))
        modes = [
            row.key[2] for region, used in found if region.kind.name == OWN_STATE for row in region.rows[1:used]
        ]  # not of the first one, which stands for those that found no room
        return extent(((region.kind, region.capacity, used) for region, used in found), ["", *modes])

    def declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> int:
        """Reserve rows for the routes that an app declares, before clients can fill the table.

        Until `settle`, routes raise the capacity where they need more than there is. Later ones take free rows; where
        too few are left, they compete with all that nobody declared.

        Args:
            routes: Templates with their methods, `WEBSOCKET` among them; `None` for methods stands for
                `UNDECLARED_METHODS`.

        Returns:
            How many of these routes found no row to reserve.
        """
        wanted: dict[str, set[str]] = {}
        for template, methods in routes:
            route = route_label(template)
            if route != OVERFLOW:
                for method in UNDECLARED_METHODS if methods is None else methods:
                    wanted.setdefault(route, set()).add(method if method == WEBSOCKET else method_label(method))
        change: Change = ("declare", {route: sorted(labels) for route, labels in wanted.items()})
        if self.lacks(change):
            self.sharing.change(self, change)
        if self.earlier is not self:
            self.earlier.declare(wanted.items())
        return sum(self._is_late(route, labels) for route, labels in wanted.items())

    def _is_late(self, route: str, labels: Collection[str]) -> bool:
        """Tell whether a declared route has not got all rows that it needs."""
        return any(
            key not in region.reserved and key not in region.index
            for region in self.regions.values()
            for key in region.kind.keys(route, labels)
        )

    def settle(self) -> None:
        """Say that the routes are known now. Without any, those that are declared first still raise the capacity.

        A group that has settled without any stays settled, since its cells are in files of a fixed size.
        """
        self.settled = self.settled or bool(self.declared)

    def _declare(self, wanted: Mapping[str, Collection[str]]) -> None:
        for region in self.regions.values():
            found = (region.kind.keys(route, labels) for route, labels in wanted.items())
            self._reserve(region, [keys for keys in found if keys])
        while True:
            known = self.declared
            declared = {**known, **{route: known.get(route, frozenset()).union(wanted[route]) for route in wanted}}
            with self.lock:
                if self.declared is known:
                    self.declared = declared
                    return

    def _reserve(self, region: Region, routes: Sequence[Iterable[Key]]) -> None:
        """Reserve rows for the keys of each route: for all that are new, or for none."""
        while True:
            known, free, capacity = region.reserved, region.free, region.capacity
            reserved, spare = set(known), free
            for keys in routes:
                new = [key for key in keys if key not in reserved]
                need = len(new) - len(region.index.keys() & new)
                if need <= spare or not self.settled:
                    spare -= need
                    reserved.update(new)
            missing = max(0, -spare)
            if missing and region.cells:  # those mapped from a file have their size, and without any `use` brings all
                region.cells.extend([0.0] * ((capacity + missing) * region.kind.width - len(region.cells)))
            frozen = frozenset(reserved)
            with self.lock:
                if region.reserved is known and region.free == free:
                    region.capacity = capacity + missing
                    region.reserved = frozen
                    region.free = spare + missing
                    return

    def row(self, method: Method, route: object) -> Row:
        """Return the row of requests for a route that `method.rows` does not hold.

        Nothing is refused: what finds no room is counted in the row of `_overflow`. The answer is remembered under
        no more names than the rows and the declared routes bound. It is a row of `earlier` where the other workers
        cannot be told of a new one at the moment.

        Args:
            method: The request's.
            route: As the readers say it.
        """
        method = self.methods[method.label]  # an exchange from before a fork has one of another table
        name = route_label(route)
        declared = self.declared.get(name, frozenset()) - {WEBSOCKET}
        if not declared or method.label in declared:
            key = (method.label, name)
        elif OTHER in declared:
            key = (OTHER, name)
        else:
            key = (method.label, UNMATCHED)
        row = self.admit(self.http, key + self.defaults)
        if row.key[1] == OVERFLOW or row.table is not self:
            return row  # the next request may find room, or an index that nobody holds
        if route is None or (route in (name, name[1:]) and (declared or row.key[1] == name)):
            method.rows[route] = row
        return row

    def labelled(self, row: Row, values: Key) -> Row:
        """Return the row beside one of `row`, which has these values of the user's own labels.

        Args:
            row: A row of this table.
            values: In the order of the labels.
        """
        found = row.beside.get(values)
        if found is None:
            key = row.key[:2] + values
            found = self.admit(self.http, key)
            if found.key == key and found.table is self:  # else the values are not bounded, or it may find room later
                row.beside[values] = found
        return found

    def admit(self, region: Region, key: Key) -> Row:
        """Return the row of a key, which is admitted where there is room; else that of its fallback.

        It is a row of `earlier` where there is room, but the other workers cannot be told at the moment.
        """
        while True:
            change: Change = ("row", region.kind.name, key)
            if self.lacks(change):
                self.sharing.change(self, change)
                if self.is_untold(change):
                    return self.earlier.admit(self.earlier.regions[region.kind.name], key)
            row = region.index.get(key)
            if row is not None:
                return row
            key = region.folded(key)

    def admit_all(self, kind: str, keys: Sequence[Key]) -> list[Row | None]:
        """Return the rows of several keys, all in one change; `None` for those that find no room.

        It is `None` as well where the other workers cannot be told at the moment.
        """
        change: Change = ("rows", kind, keys)
        if self.lacks(change):
            self.sharing.change(self, change)
        return [self.regions[kind].index.get(key) for key in keys]

    def _add_row(self, region: Region, key: Key) -> None:
        lock = self.methods[key[0]].lock if region.kind.is_by_method else self.lock
        while True:
            used, free = region.used, region.free  # first: what another thread adds from here on is noticed below
            cost = region.cost(key)
            if key in region.index or cost > free or not region.fits(key):
                return
            values = region.values_with(key)
            row = Row(self, region.kind, used, key, lock)
            addition = (row,)
            with self.lock:
                if region.used == used and region.free == free:
                    region.rows += addition
                    region.index[key] = row
                    region.free = free - cost
                    region.values = values
                    region.used = used + 1  # last: who sees it finds the row
                    return

    def outcome(self, row: Row, code: int) -> Outcome:
        """Return what counts a status of a row, one and the same for all who ask.

        It belongs to a row of `earlier` where there is room, but the other workers cannot be told at the moment.
        """
        row, cell = self._coded(row, status_class(code) if self.has_classes else code)
        key = cell, code >= SERVER_ERROR, row.slot(code, cell)
        outcome = row.outcomes.get(key)
        if outcome is None:
            http = row.table.http
            outcome = row.outcomes.setdefault(key, Outcome(row, code, cell, http.cells))
            with row.lock:
                outcome.cells = http.cells  # asked again: `use` may have passed by meanwhile
        return outcome

    def count(self, kind: str, key: Key, code: int) -> Row:
        """Add one to what counts a code in the row of a key, and return the row, to which more can be added."""
        row, cell = self._coded(self.admit(self.regions[kind], key), code)
        row.table._add(row, cell, 1.0)
        return row

    def _coded(self, row: Row, code: int) -> tuple[Row, int]:
        """Return the cell that counts a code, with its row, which may be one of `earlier` as in `outcome`."""
        table = row.table
        cell = table.code_cell(row, code)
        if cell == row.code_cells[0] and table.is_untold(("code", row.kind.name, row.number, code)):
            there = table.earlier.admit(table.earlier.regions[row.kind.name], row.key)
            return table._coded(there, code)
        return row, cell

    def code_cell(self, row: Row, code: int) -> int:
        """Return the cell that counts a code of a row: that of all other codes when the row's cells are taken."""
        known = row.code_cells.get(code)
        if known is not None:
            return known
        change: Change = ("code", row.kind.name, row.number, code)
        if self.lacks(change):
            self.sharing.change(self, change)
        return row.code_cells.get(code, row.code_cells[0])

    def _add_code(self, row: Row, code: int) -> None:
        while True:
            codes = row.codes  # first, as in `_add_row`
            cell = row.next_code_cell()
            if code in row.code_cells or cell is None:
                return
            longer = (*codes, code)
            with row.lock:
                if row.codes is codes:
                    row.code_cells[code] = cell
                    row.codes = longer
                    return

    def lacks(self, change: Change) -> bool:
        """Tell whether a change has an effect."""
        if change[0] == "row":
            return self._has_room(self.regions[change[1]], change[2])
        if change[0] == "rows":
            return any(self._has_room(self.regions[change[1]], key) for key in change[2])
        if change[0] == "code":
            row = self.regions[change[1]].rows[change[2]]
            return change[3] not in row.code_cells and row.next_code_cell() is not None
        return any(not self.declared.get(route, frozenset()).issuperset(change[1][route]) for route in change[1])

    def _has_room(self, region: Region, key: Key) -> bool:
        """Tell whether a key has no row yet, and can have one."""
        return key not in region.index and region.cost(key) <= region.free and region.fits(key)

    def is_untold(self, change: Change) -> bool:
        """Tell whether a change for which there is room is still to be made, since the others could not be told."""
        return self.sharing.is_behind and self.earlier is not self and self.lacks(change)

    def apply(self, change: Change) -> None:
        """Make a change of the log."""
        if change[0] == "row":
            self._add_row(self.regions[change[1]], change[2])
        elif change[0] == "rows":
            for key in change[2]:
                self._add_row(self.regions[change[1]], key)
        elif change[0] == "code":
            self._add_code(self.regions[change[1]].rows[change[2]], change[3])
        else:
            self._declare(change[1])

    def use(self, cells: MutableSequence[float]) -> None:
        """Take a worker's own cells, and publish the gauges in them."""
        with ExitStack() as stack:  # an addition is made to the cells before, or to these, and never between
            locks = [counted.lock for _, _, counted in self.in_progress()]
            if self.flights is not None:
                locks.append(self.flights.lock)
            for lock in (self.lock, *locks):
                stack.enter_context(lock)
            for region, (first, _) in zip(self.regions.values(), self.extent().spans, strict=True):
                before, region.cells = region.cells, cells[first : first + region.capacity * region.kind.width]
                if before:  # what is the case now is the case in the new cells too
                    moving = region.kind.cells(*(unit for unit in Unit if unit.moves))
                    for cell in [row.start + moved for row in region.rows for moved in moving]:
                        region.cells[cell] += before[cell]  # new cells are 0, or have counted what began meanwhile
                for holder in list(region.holders.values()):
                    holder.move(region.cells)
            for outcome in self._outcomes():
                outcome.cells = self.http.cells
        for kind, number, counted in self.in_progress():
            gauges = self.regions[kind].cells
            if isinstance(counted.in_progress, PublishedList):  # no copy, which would miss what ends meanwhile
                counted.in_progress.move(gauges)
            else:
                made = LockedPublishedList if IS_LOCKED else PublishedList
                counted.in_progress = made(counted.in_progress, gauges, number, counted.lock)

    def in_progress(self) -> Iterator[tuple[str, int, Method | Open]]:
        """Yield what counts as in progress, each with the kind and the number of the cell that says how many."""
        for number, method in enumerate(self.methods.values()):
            yield "method", number, method
        yield "socket", 0, self.sockets
        if self.has_streams:
            yield "streams", 0, self.streams

    def _take_own_cells(self) -> None:
        for region in self.regions.values():
            region.holders = {}
            region.cells = [] if region.kind.is_shared else [0.0] * (region.capacity * region.kind.width)
        if self.flights is not None:
            self.flights.restart()

    def add(self, row: Row, field: str, amount: float = 1.0, number: int = 0) -> None:
        """Add to one of the rare cells, those that no exchange adds to itself: the one of this number in its field."""
        self._add(row, row.cell(field) + number, amount)

    def say(self, row: Row, field: str, amount: float) -> None:
        """Set one of the rare gauges."""
        region, cell = self.regions[row.kind.name], row.cell(field)
        with row.lock:
            cells = region.cells  # not before: `use` exchanges them
            cells[cell] = amount

    def _add(self, row: Row, cell: int, amount: float) -> None:
        region = self.regions[row.kind.name]
        with row.lock:
            cells = region.cells  # not before: `use` exchanges them
            cells[cell] += amount

    def observe(
        self,
        row: Row,
        seconds: float,
        bounds: Sequence[float],
        seconds_field: str = "seconds",
        buckets_field: str = "buckets",
    ) -> None:
        """Add a time to a histogram of a row, whose two fields have these names."""
        if not 0.0 < seconds < math.inf:  # no clock, or one that runs backwards
            seconds = 0.0
        offsets = row.kind.offsets
        seconds_cell, bucket_cell = row.start + offsets[seconds_field], row.start + offsets[buckets_field]
        if seconds > bounds[0]:
            bucket_cell += bisect_left(bounds, seconds)
        region = self.regions[row.kind.name]
        if IS_LOCKED:
            row.lock.acquire()
        try:  # from here on without a call, as in `Exchange.finish`
            cells = region.cells  # not before: `use` exchanges them
            cells[seconds_cell] += seconds
            cells[bucket_cell] += 1.0
        finally:
            if IS_LOCKED:
                row.lock.release()

    def count_exception(self, route: str, exception: str) -> None:
        """Count an exception's class on a route, both as their labels."""
        found = self.admit(self.regions["exception"], (route, exception))
        found.table.add(found, "raised")

    def read(self) -> Counted:
        """Copy what a scrape needs: it never stalls a request."""
        self.sharing.catch_up(self)
        region = self.http
        with self.lock:
            capacity = region.capacity
            reserved = region.reserved
            free = region.free
        limit = capacity - len(region.kind.sentinels) - len(reserved)
        rows = {name: region.rows[: region.used] for name, region in self.regions.items()}
        found = self.sharing.read(self, self.extent(map(len, rows.values())))
        cells = dict(zip(rows, found.parts, strict=True))
        return Counted(rows, cells, found.workers, found.states, found.each, limit - free, limit)

    def alone(self, extent: Extent) -> Found:
        """Return the cells of this worker only."""
        parts = {
            kind: region.cells[:length]
            for (kind, region), (_, length) in zip(self.regions.items(), extent.spans, strict=True)
        }
        pid = os.getpid()
        each = [
            region.cells[row.start + cell]
            for region in self.regions.values()
            for cell in region.kind.cells(Unit.EACH)
            for row in region.rows
        ]
        if OWN_STATE not in parts:
            return Found(list(parts.values()), 1, each=[(pid, each)])
        states, parts[OWN_STATE] = parts[OWN_STATE], [0.0] * len(parts[OWN_STATE])
        return Found(list(parts.values()), 1, [(pid, states)], [(pid, each)])

    def clear(self) -> None:
        """Set every cell to zero but the gauges. For tests: counters never go backwards."""
        if self.earlier is not self:
            self.earlier.clear()
        for region in self.regions.values():
            counted = region.kind.cells(Unit.COUNT, Unit.SECONDS)
            for row in region.rows:
                for cell in counted:
                    region.cells[row.start + cell] = 0.0

    def restart(self) -> None:
        """Begin anew in a forked child: another thread may have held any lock, and the parent's counts stay its."""
        sharing, self.sharing = self.sharing, ALONE  # a worker's child may join its own group later
        self.earlier = self
        self._take_own_cells()
        self.lock = RLock()
        for _, _, counted in self.in_progress():
            counted.lock = RLock()
            counted.in_progress = []
        for region in self.regions.values():
            for row in region.rows:
                row.lock = self.methods[row.key[0]].lock if row.kind.is_by_method else self.lock
        for outcome in self._outcomes():
            outcome.cells = self.http.cells
        sharing.abandon()  # last: whatever becomes of its files, the cells of the parent are let go

    def _outcomes(self) -> Iterator[Outcome]:
        for row in self.http.rows:
            yield from list(row.outcomes.values())


_tables: "weakref.WeakSet[Table]" = weakref.WeakSet()


def _restart_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    for table in list(_tables):
        try:
            table.restart()
        except Exception:  # one that another thread was about to make; nobody has seen it
            pass


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_restart_all)
