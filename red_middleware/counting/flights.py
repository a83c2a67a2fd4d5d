"""What is in flight: the requests that have begun and not ended, by route and by age.

`detailed` begins and ends a `Flight` where an option asks for it; `table` has one `Flights`, and gives it its cells.
The requests form a ring in the order in which they began. What changes it calls nothing, and makes no object that the
garbage collector knows: where CPython has its GIL, neither a thread nor a finaliser comes in between. Elsewhere there
is a lock.
"""

import math
from _thread import RLock
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Final

from .labels import OTHER, route_label, scheme_label
from .layout import FLIGHT, WORKER
from .rows import IS_LOCKED, Row

if TYPE_CHECKING:
    from .detailed import DetailedExchange
    from .table import Region, Table

EARLIEST: Final = math.ulp(0.0)
"""Stands for a clock that says 0: that is what a cell says where nothing is in flight."""


class Flight:
    """One request in flight. `Flights.begin` fills it: an `__init__` would cost as much as all of that."""

    __slots__ = ("following", "preceding", "ring", "row", "started")

    ring: "Flight | None"
    """That of its `Flights` when it began; `None` when it has ended. After a fork the child's is another one."""
    preceding: "Flight"
    following: "Flight"
    """Those that began before it and after it. An event stream, which stands in no ring, has itself here."""
    row: Row | None
    """What counts those of its method and route, if an option asks for it."""
    started: float
    """When it began, on the clock that all workers share."""


class Flights:
    """The requests in flight of one table. A worker's cells say when its oldest one began, and whether it has any.

    Args:
        table: Whose they are.
    """

    def __init__(self, table: "Table") -> None:
        self.table = table
        self.routes: Region | None = table.regions.get(FLIGHT)
        self.worker: Region | None = table.regions.get(WORKER)
        offsets = {} if self.worker is None else self.worker.kind.offsets
        self.oldest_cell: int = offsets.get("oldest", 0)
        self.busy_cell: int = offsets.get("busy", 1)
        offsets = {} if self.routes is None else self.routes.kind.offsets
        self.begun_offset: int = offsets.get("begun", 0)
        self.in_progress_offset: int = offsets.get("in_progress", 1)
        self.restart()

    def restart(self) -> None:
        """Begin anew: in a forked child, which has none of its parent's requests."""
        self.lock: RLock = RLock()
        self.ring: Flight = Flight()
        self.ring.preceding = self.ring.following = self.ring
        self.ring.started = 0.0  # what is published where nothing is in flight
        self.streams: int = 0
        self.cells: MutableSequence[float] = [0.0, 0.0]  # which nobody reads where no option asks for ages
        if self.worker is not None:
            self.cells = self.worker.cells
            self.worker.holders[0] = self  # its only row

    def move(self, cells: MutableSequence[float]) -> None:
        """Publish in these cells from now on. See `table.Holder`."""
        with self.lock:
            self.cells = cells
            self._publish()

    def begin(self, exchange: "DetailedExchange") -> Flight | None:
        """Begin a request; `None` where that fails, and it is counted without this."""
        recorder = exchange.recorder
        try:
            row = None if self.routes is None else self._row(self.routes, exchange)
            started = exchange.started if recorder.clock is recorder.host_clock else recorder.host_seconds()
        except Exception as error:
            recorder.fault("requests in flight", error)
            return None
        return self.add(row, started or EARLIEST)

    def add(self, row: Row | None, started: float) -> Flight:
        """Take one more. See `Flight`."""
        flight = Flight()
        flight.row = row
        flight.started = started
        if IS_LOCKED:
            self.lock.acquire()
        try:
            flight.ring = flight.following = ring = self.ring
            flight.preceding, ring.preceding.following, ring.preceding = ring.preceding, flight, flight
            if ring.following is flight:  # else an older one is shown
                cells = self.cells
                cells[self.oldest_cell] = started
                cells[self.busy_cell] = 1.0
        finally:
            if IS_LOCKED:
                self.lock.release()
        if row is not None:
            self._count(row, 1.0)
        return flight

    def stream(self, flight: Flight) -> None:
        """Say that one is an event stream, which lasts as it likes: its age says nothing."""
        with self.lock:
            if flight.ring is self.ring and flight.following is not flight:
                self.streams += 1
                flight.preceding.following, flight.following.preceding = flight.following, flight.preceding
                flight.preceding = flight.following = flight
                self._publish()

    def end(self, flight: Flight) -> None:
        """Say that one has ended. One that began before a fork and ends in the child was never the child's."""
        if IS_LOCKED:
            self.lock.acquire()
        try:
            ring, flight.ring = flight.ring, None
            if ring is not self.ring:
                return
            is_shown = ring.following is flight
            if flight.following is flight:
                self.streams -= 1
                is_shown = True
            else:
                flight.preceding.following, flight.following.preceding = flight.following, flight.preceding
            if is_shown:
                self._publish()
        finally:
            if IS_LOCKED:
                self.lock.release()
        if flight.row is not None:
            self._count(flight.row, -1.0)

    def _publish(self) -> None:
        """Show when the oldest began, and whether there is any."""
        cells, oldest = self.cells, self.ring.following
        cells[self.oldest_cell] = oldest.started
        cells[self.busy_cell] = 0.0 if oldest is self.ring and not self.streams else 1.0

    def _count(self, row: Row, amount: float) -> None:
        """Add to the requests in flight of a method and route."""
        region = row.table.regions[FLIGHT]
        begun, in_progress = row.start + self.begun_offset, row.start + self.in_progress_offset
        if IS_LOCKED:
            row.lock.acquire()
        try:  # from here on without a call, as in `Exchange.finish`
            cells = region.cells  # not before: `Table.use` exchanges them
            cells[begun] = 1.0  # from now on it is shown, be there any or not
            cells[in_progress] += amount
        finally:
            if IS_LOCKED:
                row.lock.release()

    def _row(self, routes: "Region", exchange: "DetailedExchange") -> Row:
        method = exchange.method
        rows = method.flights
        known = rows.get(exchange.path)  # a template without parameters is the path itself
        if known is not None:
            return known
        if routes.kind.is_closed:
            return routes.index[method.label, scheme_label(exchange.source or {})]
        template = exchange.recorder.declared_route(method.label, exchange.path)
        known = rows.get(template)
        if known is not None:
            return known
        label, name = method.label, route_label(template)
        declared = self.table.declared.get(name)
        row = self.table.admit(routes, (label if declared is None or label in declared else OTHER, name))
        if row.table is self.table and row.key[1] == name:  # else there may be room later
            rows[template] = row
        return row


def flights_of(table: "Table") -> Flights | None:
    """Return what a table needs to tell what is in flight; `None` where no option asks for it."""
    return Flights(table) if FLIGHT in table.regions or WORKER in table.regions else None
