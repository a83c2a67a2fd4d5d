"""One request of which options ask more than `exchange` remembers: the user's labels, sizes, what is in flight.

It counts as any other one does, by the same methods. Where no option asks for more, no request is of this class.
"""

from .enclosing import Recorder, Source
from .exchange import Exchange, start
from .flights import Flight
from .labels import Headers, is_event_stream
from .layout import Key
from .rows import Outcome


def start_detailed(recorder: Recorder, method: object, source: Source, path: str = "") -> Exchange | None:
    """Begin a request with details. See `exchange.start`."""
    exchange = start(recorder, method, source, path)
    if exchange is not None:
        table = exchange.method.table
        exchange.__class__ = DetailedExchange
        exchange.source = source
        exchange.given = None
        exchange.received = 0
        exchange.sent = None
        exchange.is_sized = table.size_cells is not None
        flights = table.flights
        exchange.flight = None if flights is None else flights.begin(exchange)
    return exchange


class DetailedExchange(Exchange):
    """A request with details. The slots that it fills are those of `Exchange`, whose class it is made as."""

    __slots__ = ()

    outcome: Outcome | None
    source: Source | None
    flight: Flight | None

    def respond(self, status: object, route: str | None, headers: Headers = ()) -> None:
        _respond(self, status, route, headers)
        if self.flight is not None and self.flight.flights.has_ages:
            try:
                if is_event_stream(headers):
                    self.flight.stream()
            except Exception as fault:
                self.recorder.fault("response headers", fault)

    def finish(self, complete: bool = True) -> None:
        if self.finished:
            return
        outcome = self.outcome
        if outcome is not None and self.apart is None and complete:  # else it is labelled when it is known how it ends
            self.outcome = self._labelled(outcome, failed=False)
        _finish(self, complete)
        self._let_go()
        outcome = self.outcome
        if self.is_sized and outcome is not None and (sizes := outcome.row.table.size_cells) is not None:
            sent = 0 if self.method.label == "HEAD" else self.sent  # the server drops what an app says to HEAD
            sizes.count(outcome, self.received, sent or 0)

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

    def _leave(self) -> None:
        super()._leave()
        self._let_go()

    def _let_go(self) -> None:
        """End what is known of it while it is in flight; more than once does no harm."""
        self.source = None  # which holds this exchange
        flight = self.flight
        if flight is not None:
            self.flight = None
            flight.end()


_respond, _finish = Exchange.respond, Exchange.finish  # `super()` would cost more
