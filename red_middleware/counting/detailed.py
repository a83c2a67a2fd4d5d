"""One request of which options ask more than `exchange` remembers: labels, sizes, its first byte, what is in flight.

It counts as any other one does, by the same methods. Where no option asks for more, no request is of this class.
"""

from .enclosing import Recorder, Source
from .exchange import Exchange, start
from .flights import Flight
from .labels import Headers, is_event_stream
from .layout import LIFETIME_BOUNDS, Key
from .rows import Outcome, Row


class DetailedExchange(Exchange):
    """A request with details."""

    __slots__ = ("awaits_byte", "first_byte", "flight", "given", "is_sized", "received", "sent", "source", "stream_row")

    outcome: Outcome | None
    source: Source | None
    """The environ or scope, until the request is counted."""
    given: dict[str, object]
    """What the application said of the user's own labels."""
    flight: Flight | None
    """What is known of it while it is in flight."""
    is_sized: bool
    """Whether its sizes are counted."""
    received: int
    """The bytes of the request's body that the application got."""
    sent: int | None
    """The bytes of the response's body that the server took; `None` before it comes for any."""
    awaits_byte: bool
    """Whether it is to be said when the first byte of the response's body is sent."""
    first_byte: float | None
    """When that was; `None` before, and where nobody asks."""
    stream_row: Row | None
    """What counts it among the event streams, while it is one."""

    def respond(self, status: object, route: str | None, headers: Headers = ()) -> None:
        _respond(self, status, route, headers)
        if self.method.table.knows_streams:
            try:
                if is_event_stream(headers):
                    self.stream()
            except Exception as fault:
                self.recorder.fault("response headers", fault)

    def stream(self) -> None:
        """Say that the response that has begun is an event stream, which lasts as it likes."""
        table = self.method.table
        if self.flight is not None and table.flights is not None:
            table.flights.stream(self.flight)
        if table.has_streams and not self.finished and self.outcome is not None and self.stream_row is None:
            row = table.admit(table.regions["stream"], self.outcome.row.key[:2])
            row.table.add(row, "begun")
            self.stream_row = row
            table.streams.in_progress.append(None)

    def label(self, name: str, value: object) -> None:
        """Say which value one of the user's own labels has. The last one holds, until the request is counted."""
        self.given[name] = value

    def leave_sizes(self) -> None:
        """Count no sizes for this request. Due before it is finished: as soon as its route is known, say."""
        self.is_sized = False

    def begin_body(self) -> None:
        """Say that the first byte of the body is about to be sent. Only while `awaits_byte` says so."""
        self.awaits_byte = False
        self.first_byte = self.recorder.now()

    def finish(self, complete: bool = True) -> None:
        if self.finished:
            return
        outcome = self.outcome
        labels = self.recorder.labels
        if labels is not None and outcome is not None and self.apart is None and complete:
            values = labels.read(self, False)  # else it is labelled when it is known how it ends
            self.outcome = outcome.beside.get(values) or self._label(outcome, values)
        stream_row = self.stream_row
        _finish(self, complete)
        self.source = None  # as `_let_go`, without the call
        flight = self.flight
        if flight is not None:
            self.flight = None
            self.method.table.flights.end(flight)  # type: ignore[union-attr]  # they began it
        row = self.outcome.row  # type: ignore[union-attr]  # it has been counted
        if self.is_sized and (sizes := row.table.size_cells) is not None:
            sent = 0 if self.method.label == "HEAD" else self.sent  # the server drops what an app says to HEAD
            sizes.count(row, self.received, sent or 0)
        if self.first_byte is not None:
            seconds = self.first_byte - self.started
            row.table.observe(row, seconds, self.recorder.bounds, "first_byte_seconds", "first_byte_buckets")
        if stream_row is not None:
            self._let_go()
            stream_row.table.observe(stream_row, self.recorder.now() - self.answered, LIFETIME_BOUNDS)

    def _labelled(self, outcome: Outcome, failed: bool) -> Outcome:
        labels = self.recorder.labels
        if labels is None:
            return outcome
        values = labels.read(self, failed)
        return outcome.beside.get(values) or self._label(outcome, values)

    def _label(self, outcome: Outcome, values: Key) -> Outcome:
        """Return what counts the same status with values that are new, or have no room."""
        row = outcome.row.table.labelled(outcome.row, values)
        found = row.table.outcome(row, outcome.code or self.status)
        if outcome.row.beside.get(values) is row and outcome.code == found.code:  # else more than rows would bound them
            outcome.beside[values] = found
        return found

    def _count_session(self, route: str) -> None:
        super()._count_session(route)
        self.is_sized = False
        self.first_byte = None

    def _leave(self) -> None:
        super()._leave()
        self._let_go()

    def _let_go(self) -> None:
        """End what is known of it while it is in flight; more than once does no harm."""
        self.source = None  # which holds this exchange
        flight = self.flight
        if flight is not None:
            self.flight = None
            self.method.table.flights.end(flight)  # type: ignore[union-attr]  # they began it
        if self.stream_row is not None:
            self.stream_row = None
            try:
                self.method.table.streams.in_progress.pop()
            except IndexError:  # begun before a fork, ended in the child
                pass


def start_detailed(recorder: Recorder, method: object, source: Source, path: str = "") -> DetailedExchange | None:
    """Begin a request with details. See `exchange.start`."""
    found = start(recorder, method, source, path, DetailedExchange)
    exchange: DetailedExchange | None = found  # type: ignore[assignment]  # it is of this class
    if exchange is not None:
        known = exchange.method
        table = known.table
        exchange.source = source
        exchange.given = {}  # made here: several threads of a request may say a label each
        exchange.sent = exchange.first_byte = exchange.stream_row = None
        exchange.received = 0
        exchange.is_sized = table.size_cells is not None
        exchange.awaits_byte = table.has_first_byte and known.label != "HEAD"
        flights = table.flights
        exchange.flight = None if flights is None else flights.begin(exchange)
    return exchange


_respond, _finish = Exchange.respond, Exchange.finish  # `super()` would cost more
