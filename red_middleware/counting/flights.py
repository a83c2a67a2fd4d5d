"""What is in flight: the requests that have begun and not ended, by route and by age.

`detailed` begins and ends a `Flight` where an option asks for it; `table` has one `Flights`, and gives it its cells.
The requests form a ring in the order in which they began. What changes it calls nothing, and makes no object that the
garbage collector knows: where CPython 3.11 or later has its GIL, neither a thread nor a finaliser comes in between.
Elsewhere there is a lock.
"""

import math
import sys
from _thread import RLock
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Final

from .labels import OTHER, route_label, scheme_label
from .layout import FLIGHT, WORKER
from .rows import IS_LOCKED, Row

if TYPE_CHECKING:
    from .detailed import DetailedExchange
    from .table import Region, Table

TAKES_LOCK: Final = IS_LOCKED or sys.version_info < (3, 11)
"""CPython 3.10 lets other threads in not only at a call, but also where a condition jumps."""

EARLIEST: Final = math.ulp(0.0)
"""Stands for a clock that says 0: that is what a cell says where nothing is in flight."""


class Place:
    """Where the requests in flight of one method and route are counted.

    Args:
        row: Their row, which is one of requests in flight.
    """

    __slots__ = ("begun_cell", "in_progress_cell", "region", "row")

    def __init__(self, row: Row) -> None:
        self.row: Row = row
        self.region: Region = row.table.regions[FLIGHT]
        self.begun_cell: int = row.cell("begun")
        self.in_progress_cell: int = row.cell("in_progress")


class Flight:
    """One request in flight. `Flights.add` fills it: an `__init__` would cost as much as all of that."""

    __slots__ = ("following", "place", "preceding", "ring", "started")

    ring: "Flight | None"
    """That of its `Flights` when it began; `None` when it has ended. After a fork the child's is another one."""
    preceding: "Flight"
    following: "Flight"
    """Those that began before it and after it. An event stream, which stands in no ring, has itself here."""
    place: Place | None
    """Where those of its method and route are counted, if an option asks for it."""
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
        self.restart()

    def restart(self) -> None:
        """Begin anew: in a forked child, which has none of its parent's requests."""
        earlier = self.table.earlier.flights if self.table.earlier is not self.table else None
        self.lock: RLock = RLock() if earlier is None else earlier.lock  # a place may be one of the earlier table
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
            place = None if self.routes is None else self._place(self.routes, exchange)
            started = exchange.started if recorder.clock is recorder.host_clock else recorder.host_seconds()
        except Exception as error:
            recorder.fault("requests in flight", error)
            return None
        return self.add(place, started or EARLIEST)

    def add(self, place: Place | None, started: float) -> Flight:
        """Take one more. See `Flight`."""
        flight = Flight()
        flight.place = place
        flight.started = started
        if TAKES_LOCK:
            self.lock.acquire()
        try:
            flight.ring = flight.following = ring = self.ring
            flight.preceding, ring.preceding.following, ring.preceding = ring.preceding, flight, flight
            if ring.following is flight:  # else an older one is shown
                cells = self.cells
                cells[self.oldest_cell] = started
                cells[self.busy_cell] = 1.0
            if place is not None:
                cells = place.region.cells  # not before: `Table.use` exchanges them
                cells[place.begun_cell] = 1.0  # from now on it is shown, be there any or not
                cells[place.in_progress_cell] += 1.0
        finally:
            if TAKES_LOCK:
                self.lock.release()
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
        if TAKES_LOCK:
            self.lock.acquire()
        try:
            ring, flight.ring = flight.ring, None
            if ring is not self.ring:
                return
            following = flight.following  # a stream has itself there, so that the next line changes nothing
            flight.preceding.following, following.preceding = following, flight.preceding
            if following is flight:
                self.streams -= 1
                flight.preceding = flight.following = ring  # else it would stay until a collection of garbage
            place = flight.place
            if place is not None:
                place.region.cells[place.in_progress_cell] -= 1.0
            if ring.following is following or following is flight:  # else an older one is shown still
                oldest = ring.following
                cells = self.cells
                cells[self.oldest_cell] = oldest.started
                if oldest is ring and not self.streams:
                    cells[self.busy_cell] = 0.0
        finally:
            if TAKES_LOCK:
                self.lock.release()

    def _publish(self) -> None:
        """Show when the oldest began, and whether there is any."""
        cells, oldest = self.cells, self.ring.following
        cells[self.oldest_cell] = oldest.started
        cells[self.busy_cell] = 0.0 if oldest is self.ring and not self.streams else 1.0

    def _place(self, routes: "Region", exchange: "DetailedExchange") -> Place:
        method = exchange.method
        places = method.places
        label = method.label
        if routes.kind.is_closed:
            scheme = scheme_label(exchange.source or {})
            return places.get(scheme) or places.setdefault(scheme, Place(routes.index[label, scheme]))
        known = places.get(exchange.path)  # a template without parameters is the path itself
        if known is not None:
            return known
        template = exchange.recorder.declared_route(label, exchange.path)
        known = places.get(template)
        if known is not None:
            return known
        name = route_label(template)
        declared = self.table.declared.get(name)
        row = self.table.admit(routes, (label if declared is None or label in declared else OTHER, name))
        place = Place(row)
        if row.table is self.table and row.key[1] == name:  # else there may be room later
            places[template] = place
        return place


def flights_of(table: "Table") -> Flights | None:
    """Return what a table needs to tell what is in flight; `None` where no option asks for it."""
    return Flights(table) if FLIGHT in table.regions or WORKER in table.regions else None
