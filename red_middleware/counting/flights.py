"""What is in flight: the requests that have begun and not ended, by route and by age.

`detailed` begins and ends a `Flight` where an option asks for it; `table` has one `Flights`, and gives it its cells.
Whatever is published here is right once every thread is through: who changes something looks again after it wrote, so
no lock is needed where CPython has its GIL, and a finaliser may come in between at any line.
"""

import math
from _thread import RLock
from collections import OrderedDict
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Final

from .labels import OTHER, route_label, scheme_label
from .layout import FLIGHT, WORKER
from .rows import IS_LOCKED, Row

if TYPE_CHECKING:
    from .exchange import Exchange
    from .table import Region, Table

EARLIEST: Final = math.ulp(0.0)
"""Stands for a clock that says 0: that is what a cell says where nothing is in flight."""


class Flight:
    """One request in flight.

    Args:
        flights: Where it is one of several.
        row: What counts those of its method and route, if an option asks for it.
        started: When it began, on the clock that all workers share.
    """

    __slots__ = ("flights", "row", "started")

    def __init__(self, flights: "Flights", row: Row | None, started: float) -> None:
        self.flights: Flights = flights
        self.row: Row | None = row
        self.started: float = started

    def stream(self) -> None:
        """Say that it is an event stream, which lasts as it likes: its age says nothing."""
        self.flights.stream(self)

    def end(self) -> None:
        """Say that it has ended. One that began before a fork and ends in the child was never the child's."""
        flights = self.flights
        if flights.remove(self) and self.row is not None:
            flights.count(self.row, -1.0)


class Flights:
    """The requests in flight of one table. A worker's cells say when its oldest one began, and whether it has any.

    The order of insertion is that of age, so the first one is the oldest. It is an `OrderedDict` because a plain one
    looks at every place that was emptied before its first key.

    Args:
        table: Whose they are.
    """

    def __init__(self, table: "Table") -> None:
        self.table = table
        self.routes: Region | None = table.regions.get(FLIGHT)
        self.worker: Region | None = table.regions.get(WORKER)
        self.has_ages: bool = self.worker is not None
        self.rows: dict[tuple[str, str | None], Row] = {}
        """By method and declared template. There are no more of them than declared routes and methods."""
        if self.worker is not None:
            self.oldest_cell: int = self.worker.kind.offsets["oldest"]
            self.busy_cell: int = self.worker.kind.offsets["busy"]
        if self.routes is not None:
            self.begun_offset: int = self.routes.kind.offsets["begun"]
            self.in_progress_offset: int = self.routes.kind.offsets["in_progress"]
        self.restart()

    def restart(self) -> None:
        """Begin anew: in a forked child, which has none of its parent's requests."""
        self.lock: RLock = RLock()
        self.requests: OrderedDict[Flight, None] = OrderedDict()
        self.streams: set[Flight] = set()
        self.shown: Flight | None = None
        self.cells: MutableSequence[float] = []
        if self.worker is not None:
            self.cells = self.worker.cells
            self.worker.holders[0] = self  # its only row

    def move(self, cells: MutableSequence[float]) -> None:
        """Publish in these cells from now on. See `table.Holder`."""
        self.cells = cells
        self._publish()

    def begin(self, exchange: "Exchange") -> Flight | None:
        """Begin a request; `None` where that fails, and it is counted without this."""
        recorder = exchange.recorder
        try:
            row = None if self.routes is None else self._row(self.routes, exchange)
            started = exchange.started if recorder.clock is recorder.host_clock else recorder.host_seconds()
            flight = Flight(self, row, started or EARLIEST)
        except Exception as error:
            recorder.fault("requests in flight", error)
            return None
        self.add(flight)
        if row is not None:
            self.count(row, 1.0)
        return flight

    def count(self, row: Row, amount: float) -> None:
        """Add to the requests in flight of a method and route."""
        region = row.table.regions[FLIGHT]
        begun, in_progress = row.start + self.begun_offset, row.start + self.in_progress_offset
        with row.lock:
            cells = region.cells  # not before: `Table.use` exchanges them
            cells[begun] = 1.0  # from now on it is shown, be there any or not
            cells[in_progress] += amount

    def _row(self, routes: "Region", exchange: "Exchange") -> Row:
        method = exchange.method.label
        if routes.kind.is_closed:
            return routes.index[method, scheme_label(exchange.source or {})]
        template = exchange.recorder.declared_route(method, exchange.path)
        known = self.rows.get((method, template))
        if known is not None:
            return known
        name = route_label(template)
        declared = self.table.declared.get(name)
        row = self.table.admit(routes, (method if declared is None or method in declared else OTHER, name))
        if row.table is self.table and row.key[1] == name:  # else there may be room later
            self.rows[method, template] = row
        return row

    def add(self, flight: Flight) -> None:
        """Take one more."""
        requests = self.requests
        requests[flight] = None
        if self.has_ages and (len(requests) == 1 or self._oldest() is flight):  # else an older one is shown
            self._publish()

    def remove(self, flight: Flight) -> bool:
        """Let one go, and tell whether it was there."""
        try:
            del self.requests[flight]
        except KeyError:
            if flight not in self.streams:
                return False
            self.streams.discard(flight)
            self._publish()
        else:
            if self.shown is flight:
                self._publish()
        return True

    def stream(self, flight: Flight) -> None:
        """Leave one out of what has an age."""
        if flight in self.requests:
            self.streams.add(flight)
            del self.requests[flight]
            self._publish()

    def _oldest(self) -> Flight | None:
        while True:
            try:
                return next(iter(self.requests), None)
            except RuntimeError:  # another thread took or added one between the two calls
                continue

    def _publish(self) -> None:
        """Show when the oldest began, and whether there is any."""
        while True:
            cells, requests, streams = self.cells, self.requests, len(self.streams)
            oldest = self._oldest() if requests else None
            self.shown = oldest
            cells[self.oldest_cell] = 0.0 if oldest is None else oldest.started
            cells[self.busy_cell] = 0.0 if oldest is None and not streams else 1.0
            is_still = not requests if oldest is None else oldest is self._oldest()
            if is_still and cells is self.cells and streams == len(self.streams):
                return


class LockedFlights(Flights):
    """The same where threads run at once: what one of them stores may reach the others after it looked again."""

    def add(self, flight: Flight) -> None:
        with self.lock:
            super().add(flight)

    def remove(self, flight: Flight) -> bool:
        with self.lock:
            return super().remove(flight)

    def stream(self, flight: Flight) -> None:
        with self.lock:
            super().stream(flight)

    def _publish(self) -> None:
        with self.lock:
            super()._publish()


def flights_of(table: "Table") -> Flights | None:
    """Return what a table needs to tell what is in flight; `None` where no option asks for it."""
    if FLIGHT not in table.regions and WORKER not in table.regions:
        return None
    return (LockedFlights if IS_LOCKED else Flights)(table)
