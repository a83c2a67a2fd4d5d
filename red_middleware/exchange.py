"""Exchange, one request on its way through the application. The hot path is `respond` and `finish`.

The adapters speak its verbs: respond, fail, raised, disconnect, finish, forget. Only they know when each is due; this
room knows neither WSGI nor ASGI nor any framework. Nothing here raises at request time: a fault of the instrumentation
is told to `metrics`, and kept from the application.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Protocol

from .labels import SERVER_ERROR, STATUS_CODES, Headers, exception_label, is_event_stream, status_code
from .table import IS_LOCKED, Method, Outcome, Row, Table

KEY: Final = "red_middleware.exchange"
"""Where a request's outermost exchange stands in its environ or scope."""

CLIENT_GONE: Final = 499
"""The status of a request whose client left before a response began; nginx's number."""

BRIEF_SECONDS: Final = 0.005
"""Of a response that took no longer than this, nobody asks whether it was an event stream."""

INTERIM: Final = frozenset(range(100, 200)) - {101}
"""Statuses that announce a response and are none (RFC 9110, 15.2)."""


class Numbers(Protocol):
    """What an exchange is counted in: `RedMetrics`."""

    table: Table
    clock: Callable[[], float]
    bounds: tuple[float, ...]
    brief: float
    """Seconds that are in the first bucket, and too few for anything but the common case."""

    def now(self) -> float:
        """Return the clock's seconds; NaN if it fails."""

    def fault(self, kind: str, error: BaseException) -> None:
        """Count a fault of the instrumentation."""


class Exchange:
    """One request on its way through the application, from `RedMetrics.start` to `finish`."""

    __slots__ = ("answered", "apart", "finished", "headers", "method", "metrics", "outcome", "path", "started")

    metrics: Numbers
    method: Method
    path: str
    """The path on arrival; mounts on the way in shorten what the environ or scope holds."""
    started: float
    answered: float
    """When the response began."""
    headers: Headers
    """Of the response, as the adapter has them: looked at only where the request took long."""
    outcome: Outcome | None
    """Where it is to be counted; `None` until a response begins."""
    apart: "Apart | None"
    """What happened beyond the common case, a response that is sent to its end."""
    finished: bool

    def __copy__(self) -> "Exchange":
        return self

    def __deepcopy__(self, memo: object) -> "Exchange":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # an app may pickle its scope; the request stays here

    @property
    def outer(self) -> "Exchange | None":
        """The one that encloses this, of other metrics."""
        return None if self.apart is None else self.apart.outer

    @property
    def gone(self) -> bool:
        """Whether the client was seen to be gone."""
        return self.apart is not None and self.apart.gone

    def respond(self, status: object, route: str | None, headers: Headers = ()) -> None:
        """Say that the response begins. The last call before `finish` holds.

        Args:
            status: See `labels.status_code`; anything but 100 to 599 counts as `_OTHER`.
            route: The template that serves the request, or `None` where no declared one was known.
            headers: The response's. The duration of an event stream ends here: its lifetime is no latency, unless it is
                over within `BRIEF_SECONDS`.
        """
        self.headers = headers
        clock = self.metrics.clock
        try:
            self.outcome = self.method.outcomes[status][route]
            self.answered = clock()
        except Exception:  # a label that is new, or a clock that fails
            self._respond_anew(status, route)

    def fail(self) -> None:
        """Say that the server sends a 500 in place of the response that had begun, of which no byte was sent."""
        row = self.outcome.row  # type: ignore[union-attr]  # one had begun
        self.outcome = self.method.table.outcome(row, SERVER_ERROR)
        self._set_apart()

    def raised(self, error: BaseException) -> None:
        """Say that an exception left the application, or that its framework made a response of it.

        Of several before `finish`, the first is counted, unless the client left before it. One that comes later is
        counted at once, unless it is the same.
        """
        found = (id(error), exception_label(error))
        apart = self._set_apart()
        if not self.finished:
            apart.error = apart.error or (None if apart.gone else found)
        elif self.outcome is not None and apart.error != found and not apart.forgotten:
            apart.error = found
            self._count_exception(self.outcome.row, found[1])

    def disconnect(self) -> None:
        """Say that the client was seen to be gone. It wins over an error; without a response the status is 499."""
        if not self.finished:
            apart = self._set_apart()
            apart.unanswered = apart.unanswered or (self.outcome is None and not apart.gone)
            apart.gone = True

    def finish(self, complete: bool = True) -> None:
        """Count the request, once. Later calls do nothing.

        Args:
            complete: Whether the response reached its end; one that did not is an error, unless the client left.
        """
        if self.finished:
            return
        outcome = self.outcome
        if outcome is None or self.apart is not None or not complete:
            self._finish_apart(complete)
            return
        self.finished = True
        metrics = self.metrics
        clock = metrics.clock
        try:
            seconds = clock() - self.started
            if 0.0 <= seconds <= metrics.brief:  # where the cost counts most
                bucket = outcome.bucket
            else:
                seconds, bucket = self._observation(outcome.row, seconds)
        except Exception as error:
            metrics.fault("clock", error)
            seconds, bucket = 0.0, outcome.bucket
        cells = outcome.cells
        if IS_LOCKED:
            with outcome.row.method.lock:
                cells[bucket] += 1.0
                cells[outcome.seconds] += seconds
                cells[outcome.status] += 1.0
        else:  # no other thread runs before the next call: see `table`
            cells[bucket] += 1.0
            cells[outcome.seconds] += seconds
            cells[outcome.status] += 1.0
        try:  # as `_leave`, without the call
            self.method.in_progress.pop()
        except IndexError:
            pass

    def forget(self, path: str) -> None:
        """Leave the request, and what encloses it, uncounted: it was for an endpoint or is excluded further in.

        Args:
            path: Its path there. Mounts only shorten a path from the left: another one is of another request, which
                the application asked itself with a copy of its environ or scope.
        """
        exchange: Exchange | None = self
        while exchange is not None and str(exchange.path).endswith(path):
            if not exchange.finished:
                exchange.finished = True
                exchange._set_apart().forgotten = True
                exchange._leave()
            exchange = exchange.outer

    def _respond_anew(self, status: object, route: str | None) -> None:
        """Respond with a row, or with a status of it, that is new, or with an error."""
        code = status_code(status)
        if code in INTERIM:
            return
        method = self.method
        table = method.table
        try:
            row = method.rows.get(route) or table.row(method, route)
        except Exception as error:
            self.metrics.fault("route label", error)
            route = None
            row = table.row(method, route)
        self.answered = self.metrics.now()
        self.outcome = outcome = table.outcome(row, code)
        if outcome.is_error:
            self._set_apart()
        elif outcome.status != row.other and status in STATUS_CODES and method.rows.get(route) is row:
            method.outcomes.setdefault(status, {})[route] = outcome

    def _finish_apart(self, complete: bool) -> None:
        """Count what is not the common case: an error, a disconnect, half a response."""
        self.finished = True
        metrics = self.metrics
        table = self.method.table
        apart = self._set_apart()
        outcome = self.outcome
        if outcome is None:  # never answered
            self.headers = ()
            self.outcome = outcome = table.outcome(table.row(self.method, None), SERVER_ERROR)
        failed = 1.0 if not apart.gone and (outcome.is_error or not complete) else 0.0
        left = 1.0 if apart.gone else 0.0
        row = outcome.row
        if apart.unanswered:
            outcome = table.outcome(row, CLIENT_GONE)
        try:
            seconds, bucket = self._observation(row, metrics.clock() - self.started)
        except Exception as error:
            metrics.fault("clock", error)
            seconds, bucket = 0.0, outcome.bucket
        cells = outcome.cells
        with row.method.lock:
            cells[bucket] += 1.0
            cells[outcome.seconds] += seconds
            cells[outcome.status] += 1.0
            cells[row.errors] += failed
            cells[row.disconnects] += left
        self._leave()
        if apart.error is not None:
            self._count_exception(row, apart.error[1])

    def _observation(self, row: Row, seconds: float) -> tuple[float, int]:
        """Return the duration as it enters the row's sum, and the cell of its bucket."""
        try:
            if is_event_stream(self.headers):
                seconds = self.answered - self.started
        except Exception as error:
            self.metrics.fault("response headers", error)
        if not 0.0 < seconds < math.inf:  # no clock, or one that runs backwards
            return 0.0, row.buckets
        return seconds, row.buckets + bisect_left(self.metrics.bounds, seconds)

    def _leave(self) -> None:
        try:
            self.method.in_progress.pop()
        except IndexError:  # begun before a fork, ended in the child
            pass

    def _set_apart(self) -> "Apart":
        if self.apart is None:
            self.apart = Apart()
        return self.apart

    def _count_exception(self, row: Row, exception: str) -> None:
        table = row.method.table
        table.add(table.pair_cell(row.route, exception))


class Apart:
    """What happened to a request beyond the common case."""

    __slots__ = ("error", "forgotten", "gone", "outer", "unanswered")

    def __init__(self, outer: Exchange | None = None) -> None:
        self.outer = outer
        self.error: tuple[int, str] | None = None
        self.gone = False
        self.unanswered = False  # when the client left
        self.forgotten = False  # not counted, nor are its exceptions: it may still respond and fail


def counts(exchange: Exchange | None, table: Table) -> bool:
    """Tell whether one of these requests is counted in this table already."""
    while exchange is not None:
        if exchange.metrics.table is table and not exchange.finished:
            return True
        exchange = exchange.outer
    return False


def excludes(exchange: Exchange | None, table: Table, path: str) -> bool:
    """Tell whether the request is not to be counted in this table; a path tells it from one with the same environ."""
    if exchange is None or exchange.apart is None or not exchange.apart.forgotten:
        return False
    return exchange.metrics.table is table and exchange.path.endswith(path)


def unfinished(exchange: Exchange | None) -> Exchange | None:
    """Return the nearest exchange that still counts: an environ that is used again holds finished ones."""
    while exchange is not None and exchange.finished:
        exchange = exchange.outer
    return exchange
